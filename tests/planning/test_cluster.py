"""Quotes of training on one to many GPUs, and the torchtitan configuration that is written for larger models."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rung.cli.plan_json import write_torchtitan
from rung.climbing.project import Project
from rung.errors import RungError
from rung.lm.models.chat import Chat, tokenizer
from rung.lm.trees.tree import Row
from rung.methods.continued import Continued
from rung.methods.conversations import taught_rows
from rung.methods.full import Full
from rung.methods.pretrain import Pretrain
from rung.planning import cluster, step_floor, torchtitan
from rung.planning import torchtitan_config as config
from rung.planning.machines import by_name
from rung.planning.steps import Step
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


def larger(steps: Sequence[Step], parameters: int) -> list[Step]:
    """The same steps with a base of another size."""
    return [replace(one, base=replace(one.base, facts=replace(one.base.facts, parameters=parameters))) for one in steps]


def test_small_steps_take_the_time_of_their_launches_on_however_many_gpus(project: Callable[..., Project]) -> None:
    step = project("[lora]\nmethods: {lora: {batch: 16}}").plan.steps[0]
    [lora] = step.methods
    [quote] = cluster.quotes([step], "h100x16").rungs
    layers = json.loads((Path(step.base.start.model.name) / "config.json").read_text())["num_hidden_layers"]
    assert layers == step.base.facts.layers > 0
    steps = lora.epochs * -(-step.base.facts.train_rows // lora.batch)  # type: ignore[attr-defined]
    assert quote.on[0].seconds == pytest.approx(steps * step_floor.pass_seconds(layers))
    seconds = [one.seconds for one in quote.on]
    assert seconds == sorted(seconds) and seconds[-1] - seconds[0] == pytest.approx(steps * step_floor.all_reduce_seconds(16))


def test_more_gpus_take_less_time_until_a_step_has_no_more_rows(project: Callable[..., Project]) -> None:
    steps = larger(project("[zero-shot, lora, full]\nmethods: {lora: {batch: 16}}").plan.steps, 3 * 10**12)
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
    assert 3e9 < largest["h100"]["full"] < 80e9 / 16, "weights, gradients and moments alone take 16 bytes each"
    assert all(one.fits and one.split_over == 1 for one in cluster.quotes(steps, "t4").rungs)
    assert {one.rung: one.whole for one in cluster.quotes(steps, "t4").rungs} == {"lora": False, "full": True}


def test_a_large_model_is_split_over_as_many_gpus_as_its_own_states_take(project: Callable[..., Project]) -> None:
    large = larger(project("[lora, full]").plan.steps, 70 * 10**9)
    found = {one.rung: one.split_over for one in cluster.quotes(large, "h100").rungs}
    assert found["full"] == -(-70 * 16 // 64), "float32 weights, gradients and two moments"
    assert 70 * 2 / 64 < found["lora"] <= 70 * 3 / 64 + 1, "frozen weights of 16 bits, and little that is trained"


def test_a_configuration_of_all_weights_has_the_train_rows_and_no_others(project: Callable[..., Project], tmp_path: Path) -> None:
    made = project("[full]")
    found = written(made, tmp_path / "out", "h100x16")
    assert ast.literal_eval(found["initial_load_in_hf"]) is True and ast.literal_eval(found["tensor_parallel_degree"]) == 1
    assert ast.literal_eval(found["global_batch_size"]) == 16 == 16 * ast.literal_eval(found["local_batch_size"])
    rows = [json.loads(line) for line in (tmp_path / "out" / torchtitan.ROWS).read_text().splitlines()]
    start = replace(made.plan.steps[0].base.start, show_labels=False)
    chat = Chat(tokenizer(made.engines.find(start.model.name).folder))
    taught, _ = taught_rows(chat, start, made.inputs.splits.train, made.engines, False)
    assert [(tuple(row["tokens"]), tuple(row["targets"])) for row in rows] == [(one.tokens, one.targets) for one in taught]
    module = (tmp_path / "out" / torchtitan.NAME).read_text()
    assert "--nnodes 2 --nproc-per-node 8" in module
    names: dict[str, Any] = {"IGNORE_INDEX": -100, "ChatDataset": type("ChatDataset", (), {})}
    body = [one for one in ast.parse(module).body if isinstance(one, ast.FunctionDef) and one.name == "_as_written"]
    exec(compile(ast.Module(body, []), torchtitan.NAME, "exec"), names)
    given, labels = names["_as_written"](None, rows[0])
    assert tuple(given) == taught[0].tokens[:-1] and len(labels) == len(given)
    assert chat.decode([one for one in labels if one >= 0]) == made.inputs.splits.train[0].output


def test_steps_follow_from_the_tokens_and_the_rungs_own_options(project: Callable[..., Project], tmp_path: Path) -> None:
    rows = [Row(tuple(range(1001)), (False,) * 1000 + (True,)) for _ in range(640)]
    found = config.of_rows(Full(epochs=4, batch=16), rows)
    assert (found.length, found.steps) == (2048, -(-4 * 640 * 1000 // (16 * 2048)))
    assert config.of_rows(Full(), [Row(tuple(range(2050)), (False,) * 2050)]).length == 4096, "no row is dropped as too long"
    assert config.of_text(Pretrain(steps=70, batch=8, context=256), 10**6).steps == 70
    text = config.of_text(Continued(window=1024, step=8192, epochs=2), 8192 * 10)
    assert (text.batch, text.length, text.steps) == (8, 1024, 20)
    (tmp_path / "text.jsonl").write_text(
        "".join(json.dumps({"text": f"a document about the number {i}"}) + "\n" for i in range(50))
    )
    asked = written(project("[continued]", more=", corpus: text.jsonl"), tmp_path / "out", "h100x8")
    assert ast.literal_eval(asked["seq_len"]) == 1024 and ast.literal_eval(asked["initial_load_in_hf"]) is True


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
    assert config.degrees(8 * 10**9, 16, 16) == config.Degrees(1, 1)
    assert config.degrees(70 * 10**9, 64, 16) == config.Degrees(8, 2)
    assert config.degrees(70 * 10**9, 4, 16).tensor == 1, "never beyond one machine"


@pytest.mark.parametrize(
    ("rungs", "more", "gpus", "error"),
    [
        ("[lora]", "", "h100x8", "of all weights, alone"),
        ("[few-shot+full]", "", "h100x8", "of all weights, alone"),
        ("[continued]\nmethods: {continued: {rank: 8}}", ", corpus: text", "h100x8", "of all weights, alone"),
        ("[continued]", ", corpus: text, general: text", "h100x8", "of all weights, alone"),
        ("[full]", "", "h100x12", "no whole number of machines of 8"),
        ("[full]", "", "h100x64", "16 sequences cannot be divided among 64"),
    ],
)
def test_what_torchtitan_cannot_do_writes_nothing(
    rungs: str, more: str, gpus: str, error: str, project: Callable[..., Project], tmp_path: Path
) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("a text of some words about a number\n" * 100)
    with pytest.raises(RungError, match=error):
        written(project(rungs, more=more), tmp_path / "out", gpus)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_else_is_not_written_into(project: Callable[..., Project], tmp_path: Path) -> None:
    made = project("[full]")
    (tmp_path / torchtitan.ROWS).write_text("mine")
    with pytest.raises(RungError, match="something else, which is not overwritten"):
        written(made, tmp_path, "h100x8")
    assert (tmp_path / torchtitan.ROWS).read_text() == "mine" and not (tmp_path / torchtitan.NAME).exists()
    for _ in range(2):  # its own output it replaces
        written(made, tmp_path / "out", "h100x8")
