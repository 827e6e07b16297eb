"""Quotes of training on one to many GPUs, and the torchtitan configuration that is written for larger models."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rung.cli.plan_json import write_torchtitan
from rung.climbing.project import Project
from rung.errors import RungError
from rung.planning import cluster, torchtitan
from rung.planning.machines import by_name
from rung.task import load_task


@pytest.fixture
def project(base: Callable, home: Path, tmp_path: Path) -> Callable[..., Project]:
    def made(rungs: str, machine: str = "h100", more: str = "", text: str = "text") -> Project:
        (tmp_path / "rows.csv").write_text("input,output\n" + "".join(f"{text} {i},{'ab'[i % 2]}\n" for i in range(40)))
        (tmp_path / "rung.yaml").write_text(
            f"task: Name it.\nkind: classify\ndata: {{examples: rows.csv{more}}}\nbase: {base('llama')}\n"
            f"rungs: {rungs}\ngoal: {{at_least: 0.7}}\n"
        )
        return Project(load_task(tmp_path), estimate_for=by_name(machine))

    return made


def written(project: Project, folder: Path, name: str) -> dict[str, ast.expr]:
    """The arguments of the configuration and of what it holds, by name."""
    config, _ = write_torchtitan(project, name, folder)
    module = ast.parse(config.read_text())
    return {key.arg: key.value for node in ast.walk(module) if isinstance(node, ast.Call) for key in node.keywords if key.arg}


def test_more_gpus_take_less_time_until_a_step_has_no_more_rows(project: Callable[..., Project]) -> None:
    steps = project("[zero-shot, lora, full]").plan.steps
    found = cluster.quotes(steps, "h100x24")
    rungs = {one.rung: one for one in found.rungs}
    assert rungs.keys() == {"lora", "full"}
    assert [one.gpus for one in rungs["lora"].on] == [1, 2, 4, 8, 16, 24]
    seconds = [one.seconds for one in rungs["lora"].on]
    assert rungs["lora"].batch == 16 and seconds[:5] == sorted(seconds[:5], reverse=True) and seconds[5] == seconds[4]
    assert seconds[0] / seconds[1] == pytest.approx(1.9)
    assert rungs["lora"].on[-1].usd > rungs["lora"].on[0].usd, "what is idle is paid"


def test_one_gpu_trains_adapters_of_larger_models_than_all_weights(project: Callable[..., Project]) -> None:
    steps = project("[lora, full]").plan.steps
    largest = {kind: {one.rung: one.largest for one in cluster.quotes(steps, kind).rungs} for kind in ("h100", "h200", "t4")}
    assert all(one["full"] < one["lora"] for one in largest.values())
    assert largest["t4"]["full"] < largest["h100"]["full"] < largest["h200"]["full"]
    assert 3e9 < largest["h100"]["full"] < 80e9 / cluster.STATES, "weights, gradients and moments alone take 16 bytes each"
    assert all(one.fits and one.split_over == 1 for one in cluster.quotes(steps, "t4").rungs)


def test_a_configuration_of_all_weights_has_the_train_rows_and_no_others(project: Callable[..., Project], tmp_path: Path) -> None:
    made = project("[full]")
    found = written(made, tmp_path / "out", "h100x32")
    assert ast.literal_eval(found["initial_load_in_hf"]) is True and ast.literal_eval(found["tensor_parallel_degree"]) == 1
    assert ast.literal_eval(found["global_batch_size"]) == 32 * ast.literal_eval(found["local_batch_size"])
    rows = [json.loads(line)["messages"] for line in (tmp_path / "out" / torchtitan.ROWS).read_text().splitlines()]
    train = made.inputs.splits.train
    assert [(row[-2]["content"], row[-1]["content"]) for row in rows] == [(one.input, one.output) for one in train]
    assert "--nnodes 4 --nproc-per-node 8" in (tmp_path / "out" / "rung_torchtitan.py").read_text()


def test_a_configuration_of_raw_text_starts_without_weights_and_has_no_held_out_row(
    project: Callable[..., Project], tmp_path: Path
) -> None:
    long = "a question of more than eight words about the number"
    (tmp_path / "text.jsonl").write_text("".join(json.dumps({"text": f"{long} {i}"}) + "\n" for i in (*range(40), 3)))
    made = project("[pretrain]", more=", corpus: text.jsonl", text=long)
    found = written(made, tmp_path / "out", "h100x8")
    assert ast.literal_eval(found["initial_load_in_hf"]) is False and {"dim", "n_layers", "intermediate_size"} <= found.keys()
    lines = (tmp_path / "out" / torchtitan.CORPUS).read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == [f"{long} {i}" for i in range(40) if f"{long} {i}" in train(made)]
    assert 0 < len(lines) < 40


def train(project: Project) -> set[str]:
    return {row.input for row in project.inputs.splits.train}


def test_tensors_are_split_where_torchtitan_splits_them() -> None:
    assert torchtitan.degrees(8 * 10**9, 64, 16) == torchtitan.Degrees(1, 1, 64)
    assert torchtitan.degrees(70 * 10**9, 64, 16) == torchtitan.Degrees(8, 2, 16)
    assert torchtitan.degrees(70 * 10**9, 4, 16).tensor == 1, "never beyond one machine"


def test_without_a_rung_of_all_weights_nothing_is_written(project: Callable[..., Project], tmp_path: Path) -> None:
    with pytest.raises(RungError, match="trains all weights"):
        written(project("[lora]"), tmp_path / "out", "h100x8")
    assert not (tmp_path / "out").exists()
