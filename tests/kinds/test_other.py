"""labels with `other: true`: inputs unlike all of train, a threshold chosen by leaving labels of train out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rung.climbing.climb import climb
from rung.climbing.project import Project
from rung.data.check import check
from rung.data.load import load
from rung.data.split import make_splits
from rung.errors import DataError, RungError, TaskError
from rung.export.source import _check
from rung.lm.base import Prompt
from rung.lm.engines import Engines
from rung.lm.inference.encoder import EncoderEngine, OtherLabel, load_head, log_odds, save_head
from rung.methods.base import Run
from rung.methods.linear_head import LabelTexts, fit_head
from rung.methods.other_label import Chosen, LeftOut, choose_once, choose_other
from rung.task import load_task
from rung.types import Example

WORDS = {"refund": "money back", "delay": "parcel late", "damage": "arrived broken", "login": "cannot sign in"}


class Silent:
    planned = began = ended = progress = staticmethod(lambda *what: None)


def write(folder: Path, more: str = "", labels: str = "[refund, delay, damage, login]", others: int = 0, rows: int = 30) -> Any:
    lines = [f"{words} number {i},{label}" for i in range(rows) for label, words in WORDS.items()]
    lines += [f"what is the weather {i},other" for i in range(others)]
    (folder / "rows.csv").write_text("input,output\n" + "\n".join(lines) + "\n")
    named = f"labels: {labels}\n" if labels else ""
    (folder / "rung.yaml").write_text(
        f"task: Name the topic.\nkind: classify\nother: true\n{named}data: {{examples: rows.csv}}\nbase: fake\n"
        f"encoder: fake\ngoal: {{at_least: 0.3}}\n{more}"
    )
    return load_task(folder)


def test_other_is_a_label_that_no_row_needs(tmp_path: Path) -> None:
    for labels in ("[refund, delay, damage, login]", ""):
        task = write(tmp_path, labels=labels)
        start = Project(task).start
        assert start.labels[-1] == start.other == "other" and start.descriptions[-1] == "none of these"
        assert len(start.labels) == 5 and set(start.labels[:-1]) == set(WORDS)
        assert not {one.code for one in check(make_splits(task), task)} & {"few-rows-per-class", "labels-unseen-in-train"}
    described = write(tmp_path, labels="{refund: '', delay: '', damage: '', login: '', other: not about an order}")
    assert Project(described).start.descriptions[-1] == "not about an order"
    assert load(write(tmp_path, others=3)).train[-1].output == "other"
    path = tmp_path / "rung.yaml"
    path.write_text(path.read_text().replace("other: true\n", ""))
    with pytest.raises(DataError, match="label 'other' is not one of refund"):
        load(load_task(tmp_path))


def test_a_wrong_key_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    text = (tmp_path / "rung.yaml").read_text()
    (tmp_path / "rung.yaml").write_text(text.replace("other: true", "other: maybe"))
    with pytest.raises(TaskError, match="line 3: 'other' is 'maybe'"):
        load_task(tmp_path)
    (tmp_path / "rung.yaml").write_text(text.replace("other: true", "other: true\nmultilabel: true"))
    with pytest.raises(TaskError, match="`other` needs kind: classify with one label a row"):
        load_task(tmp_path)


def blobs(labels: int, rows: int, seed: int, centres: Any) -> tuple[Any, list[str]]:
    rng = np.random.default_rng(seed)
    found = np.concatenate([centres[k] + 0.15 * rng.normal(size=(rows, centres.shape[1])) for k in range(labels)])
    return found / np.linalg.norm(found, axis=1, keepdims=True), [f"label{k}" for k in range(labels) for _ in range(rows)]


def fit(vectors: Any, outputs: Any) -> tuple[Any, Any]:
    head = fit_head(vectors, outputs, (30.0,), (0.0,), LabelTexts((), np.zeros((0, 0))), 0)
    return head.weight, head.bias


def test_the_threshold_of_left_out_labels_holds_for_new_ones() -> None:
    centres = np.eye(24)[:, :24]
    vectors, outputs = blobs(16, 20, 0, centres)
    chosen = choose_other(vectors, outputs, "other", fit, 0)
    assert isinstance(chosen, Chosen) and chosen.auc > 0.9 and chosen.rule.slope < 0 and chosen.rows > len(outputs)
    weight, bias = fit(vectors, outputs)
    known, _ = blobs(16, 20, 1, centres)
    new, _ = blobs(8, 20, 2, centres[16:])
    lost, found = ((chosen.rule.chance(log_odds(some @ weight.T + bias)) >= 0.5).mean() for some in (known, new))
    assert found == pytest.approx(chosen.found, abs=0.12) and lost == pytest.approx(chosen.lost, abs=0.12)
    assert found > 0.8 and lost < 0.2


def test_rows_labelled_other_are_never_trained_on_as_known() -> None:
    centres = np.eye(12)
    vectors, outputs = blobs(8, 20, 0, centres)
    seen: list[set[str]] = []

    def spied(some: Any, labels: Any) -> tuple[Any, Any]:
        seen.append(set(labels))
        return fit(some, labels)

    strange, _ = blobs(4, 10, 3, centres[8:])
    choose_other(np.concatenate([vectors, strange]), [*outputs, *["other"] * 40], "other", spied, 0)
    assert len(seen) == 5 and all("other" not in one and len(one) < 8 for one in seen), "a fold leaves labels out"


def test_the_same_seed_leaves_the_same_rows_out_in_every_process() -> None:
    """Strings hash differently in each process, and so the order of a set of them differs."""
    code = (
        "from rung.methods.other_label import leave_out\n"
        "for part in leave_out(['refund', 'delay', 'damage', 'login', 'other'] * 9, 'other', 0):\n"
        "    print(part.learn, part.known, part.out)"
    )
    said = [
        subprocess.run(
            [sys.executable, "-c", code], env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in "012"
    ]
    assert said[0] and said == [said[0]] * 3


def test_two_labels_are_too_few() -> None:
    vectors, outputs = blobs(2, 20, 0, np.eye(4))
    assert "fewer than 3 labels" in str(choose_other(vectors, outputs, "other", fit, 0))


def test_a_head_that_is_surer_of_left_out_labels_gives_no_rule() -> None:
    """A threshold would answer `other` for what it is surest of."""
    vectors, outputs = blobs(8, 20, 0, np.eye(12))

    def misled(some: Any, labels: Any) -> tuple[Any, Any]:
        weight, bias = fit(some, labels)
        known = np.isin(outputs, labels)
        away = np.linalg.pinv(vectors) @ np.where(known, 0.0, 50.0)  # a direction that only left-out labels have
        return weight + np.eye(len(weight))[0][:, None] * away, bias

    assert "no less sure of rows of left-out labels" in str(choose_other(vectors, outputs, "other", misled, 0))


def test_the_engine_answers_other_below_the_threshold(tmp_path: Path) -> None:
    logits = np.array([[4.0, 0.0], [0.1, 0.0]])
    rule = OtherLabel("other", -2.0, 2.0)  # even odds at log-odds of 1
    engine = EncoderEngine(lambda texts: logits[: len(texts)], ["a", "b"], rule)
    sure, unsure = engine.choose([Prompt((), "x")] * 2, ["a", "b", "other"])
    assert (sure.label, unsure.label) == ("a", "other")
    assert unsure.confidence == pytest.approx(rule.chance(np.array([0.1]))[0])
    assert sure.confidence == pytest.approx((1 - rule.chance(np.array([4.0]))[0]) * np.exp(4) / (np.exp(4) + 1))
    assert [one.label for one in engine.choose([Prompt((), "x")] * 2, ["a", "b"])] == ["a", "a"]  # a task without `other`
    total = [np.exp(engine.score([Prompt((), "x")] * 2, [label] * 2)) for label in ("a", "b", "other")]
    assert np.sum(total, axis=0) == pytest.approx([1.0, 1.0])

    class Embedder:
        embed = staticmethod(lambda texts: np.eye(2)[: len(texts)])

    save_head(tmp_path, np.eye(2), np.zeros(2), ["a", "b"], rule)
    assert load_head(Embedder(), tmp_path).other == rule  # type: ignore[arg-type]


def test_a_climb_fits_it_and_says_what_it_does_on_train(tmp_path: Path, encoder: Path, home: Path) -> None:
    """A rung that trains an encoder leaves labels out of a training of its own."""
    quick = "methods:\n  encoder-full: {epochs: 12, learning_rate: 3.0e-3}\n"
    rungs = ("encoder", "encoder-contrastive", "encoder-full")
    write(tmp_path, f"rungs: [majority, {', '.join(rungs)}, zero-shot]\n{quick}", others=30)
    text = (tmp_path / "rung.yaml").read_text().replace("encoder: fake", f"encoder: {encoder}")
    (tmp_path / "rung.yaml").write_text(text)
    project = Project(load_task(tmp_path))
    records = {record.rung: record for record in climb(project, Silent(), everything=True).records}
    for rung in rungs:
        [notes] = records[rung].provenance.notes or ()
        assert set(notes["other"]) == {"auc", "found", "lost", "rows"}, notes["other"]
        assert notes["other"]["found"] > notes["other"]["lost"]
        if rung != "encoder-full":  # trained whole, the tiny encoder is surer of these rows than of any that were left out
            assert "other" in (records[rung].scores.outputs if records[rung].scores else ())
    fitted = project.store.fitted((records["encoder-full"].provenance.fits or ("",))[-1])
    assert fitted
    with pytest.raises(RungError, match="may answer 'other' by a threshold beside"):
        _check("encoder-full", fitted)


def test_a_dear_rule_is_remembered_by_a_fit_that_was_killed(tmp_path: Path) -> None:
    rows = [Example(f"{label} {i}", label) for label in WORDS for i in range(10)]

    def killed(part: LeftOut) -> tuple[Any, Any]:
        left = {rows[i].output for i in part.out}
        assert left and not left & {rows[i].output for i in (*part.learn, *part.known)}
        assert set(part.learn).isdisjoint(part.known)
        return np.array([3.0, 2.0, 4.0, 0.4]), np.array([-1.0, 0.5, 0.0])

    run = Run(tmp_path, Engines(say=lambda text: None))
    found = choose_once("other", rows, killed, run)
    assert found and found.slope < 0 and run.notes["other"]["rows"] == 7
    assert choose_once("other", rows, lambda part: pytest.fail("it trains again"), run) == found
    assert choose_once("other", rows[:20], killed, Run(tmp_path / "new", run.engines)) is None, "two labels"
