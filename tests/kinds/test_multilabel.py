"""kind: classify with several labels a row: read, checked, asked, fitted, scored, refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from rung import label_sets
from rung.climbing.climb import climb
from rung.climbing.project import Project
from rung.data.check import check
from rung.data.load import load
from rung.data.split import make_splits
from rung.errors import DataError, RungError, TaskError
from rung.export.source import source as export_source
from rung.labelling.typed import Answers, read
from rung.lm.base import Decoding, Prompt
from rung.lm.inference.label_sets import load_head, save_head
from rung.methods.few_shot import balanced
from rung.methods.label_set_head import fit_label_set_head
from rung.metrics import METRICS, score
from rung.task import load_task
from rung.types import Example, Prediction

TEXTS = {"refund": "money back", "delay": "came late", "damage": "arrived broken", "login": "cannot sign in"}


class Silent:
    planned = began = ended = progress = staticmethod(lambda *what: None)


def write(folder: Path, cells: list[Any], more: str = "") -> Any:
    rows = [{"text": f"ticket {i}: {_text(cell)}", "tags": cell} for i, cell in enumerate(cells)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "rung.yaml").write_text(
        "task: Name what the ticket is about.\nkind: classify\nmultilabel: true\n"
        f"data: {{examples: rows.jsonl, input: text, output: tags}}\nbase: fake\nencoder: fake\ngoal: {{at_least: 0.3}}\n{more}"
    )
    return load_task(folder)


def _text(cell: Any) -> str:
    return ", ".join(TEXTS.get(str(label), "") for label in (cell if isinstance(cell, list) else label_sets.split(cell)))


def made(count: int) -> list[Any]:
    rng = np.random.default_rng(0)
    names = list(TEXTS)
    return [[names[k] for k in rng.permutation(4)[: rng.integers(1, 4)]] for _ in range(count)]


def outputs(task: Any) -> list[str]:
    return [row.output for row in load(task).train]


def test_cells_are_lists_or_separated_text(tmp_path: Path) -> None:
    cells = [["delay", "refund"], "refund; delay", "refund|delay", "refund, delay", "['refund', 'delay']", "delay", []]
    found = outputs(write(tmp_path, cells))
    assert found == ['["delay", "refund"]'] * 5 + ['["delay"]', "[]"]


def test_labels_of_the_task_set_the_order_and_the_spelling(tmp_path: Path) -> None:
    task = write(tmp_path, ["Delay;refund", "late, or lost"], 'labels: [refund, delay, "late, or lost"]\n')
    assert outputs(task) == ['["refund", "delay"]', '["late, or lost"]']  # a label with a comma is not taken apart
    assert [f.code for f in load(task).findings] == ["labels-joined"]


@pytest.mark.parametrize(
    ("cell", "what"), [("refund;dely", "label 'dely' is not one of"), ([["refund"]], "is not a list of labels"), ("", "is empty")]
)
def test_a_wrong_cell_is_named(tmp_path: Path, cell: Any, what: str) -> None:
    with pytest.raises(DataError, match=what):
        load(write(tmp_path, [["refund"], cell], "labels: [refund, delay]\n"))


def test_one_label_a_row_names_the_key_for_several(tmp_path: Path) -> None:
    task = write(tmp_path, [["refund", "delay"]])
    with pytest.raises(DataError, match="multilabel: true"):
        load(task.model_copy(update={"multilabel": False}))


def test_multilabel_needs_classify(tmp_path: Path) -> None:
    (tmp_path / "rung.yaml").write_text(
        "task: x\nkind: answer\nmultilabel: true\ndata: {examples: a.csv}\ngoal: {at_least: 0.5}\n"
    )
    with pytest.raises(TaskError, match="`multilabel` needs kind: classify, but kind is answer"):
        load_task(tmp_path)


def test_check_counts_labels_and_not_sets(tmp_path: Path) -> None:
    task = write(tmp_path, [*made(100), ["refund", "rare"]])
    splits = make_splits(task)
    found = {f.code: f for f in check(splits, task)}
    assert "few-rows-per-class" in found and found["few-rows-per-class"].count == 1
    assert "rare: 1" in found["few-rows-per-class"].where or "labels-unseen-in-train" in found


def test_scores_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    names = ("a", "b", "c", "d")
    due, said = rng.random((200, 4)) < 0.3, rng.random((200, 4)) < 0.4
    rows = [Example(str(i), label_sets.dump([n for n, on in zip(names, row) if on])) for i, row in enumerate(due)]
    predictions = [Prediction(e.id, label_sets.dump([n for n, on in zip(names, row) if on])) for e, row in zip(rows, said)]
    found = {name: score(METRICS[name], rows, predictions, "dev") for name in ("micro_f1", "macro_f1", "accuracy")}
    assert found["micro_f1"].overall.value == pytest.approx(f1_score(due, said, average="micro"))
    assert found["macro_f1"].overall.value == pytest.approx(f1_score(due, said, average="macro"))
    assert found["accuracy"].overall.value == pytest.approx((due == said).all(axis=1).mean())
    assert set(found["accuracy"].others) == {"macro_f1", "micro_f1"}
    assert found["micro_f1"].overall.low < found["micro_f1"].overall.value < found["micro_f1"].overall.high


def test_micro_f1_interval_covers() -> None:
    """A 95% interval of 40 rows holds the score of many rows about as often as it says."""
    rng = np.random.default_rng(2)
    names, held = ("a", "b", "c"), 0
    for _ in range(60):
        due, flip = rng.random((40, 3)) < 0.4, rng.random((40, 3)) < 0.2
        rows = [Example(str(i), label_sets.dump([n for n, on in zip(names, row) if on])) for i, row in enumerate(due)]
        said = [Prediction(e.id, label_sets.dump([n for n, on in zip(names, row) if on])) for e, row in zip(rows, due ^ flip)]
        found = score(METRICS["micro_f1"], rows, said, "dev").overall
        held += found.low <= 2 * 0.32 / (2 * 0.32 + 0.2) <= found.high  # right 0.4·0.8, wrong 0.6·0.2 and 0.4·0.2
    assert held >= 53


def test_thresholds_come_from_rows_that_the_regression_did_not_see() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(3, 16))
    vectors = rng.normal(size=(600, 16))
    wanted = vectors @ truth.T + rng.normal(size=(600, 3)) > [1.0, 4.0, 8.0]  # ever rarer
    rows = [[n for n, on in zip("abc", row) if on] for row in wanted]
    head = fit_label_set_head(vectors[:400], rows[:400], "abc", (1.0, 10.0), 0)
    scores = vectors[400:] @ head.weight.T + head.bias
    tuned = f1_score(wanted[400:], scores > head.thresholds, average="micro")
    even = f1_score(wanted[400:], scores > 0, average="micro")
    assert tuned > even and (head.thresholds[1:] < 0).all()  # a rare label is worth giving below even odds


def test_a_label_of_every_row_or_of_none_is_constant() -> None:
    vectors = np.random.default_rng(4).normal(size=(30, 4))
    rows = [["all", "some"] if i % 2 else ["all"] for i in range(30)]
    head = fit_label_set_head(vectors, rows, ("all", "none", "some"), (1.0,), 0)
    given = vectors @ head.weight.T + head.bias > head.thresholds
    assert given[:, 0].all() and not given[:, 1].any()


def test_the_saved_head_answers_with_lists(tmp_path: Path) -> None:
    save_head(tmp_path, np.eye(2), np.zeros(2), np.array([0.5, 0.5]), ("a", "b"), always=False)
    engine = load_head(lambda texts: np.array([[1.0, 1.0], [1.0, 0.0], [0.0, 0.1]])[: len(texts)], tmp_path)
    prompts = [Prompt((), "x")] * 3
    found = engine.generate(prompts, Decoding())
    assert [one.text for one in found] == ['["a", "b"]', '["a"]', "[]"]
    a, b = 1 / (1 + np.exp(-1.0)), 1 / (1 + np.exp(0.0))  # of the second row: log-odds of 1 and 0
    assert found[1].confidence == pytest.approx(a * (1 - b))
    engine.always = True
    assert engine.generate(prompts, Decoding())[2].text == '["b"]'


def test_answers_of_models_are_read() -> None:
    known = ("refund", "delay")
    assert label_sets.named('["delay", "refund", "delay"]', known) == '["refund", "delay"]'
    assert label_sets.named("Delay, refund.", known) == '["refund", "delay"]'
    assert label_sets.named('```json\n{"labels": ["delay"]}\n```', known) == '["delay"]'
    assert label_sets.named("[]", known) == "[]"
    assert label_sets.named("I cannot say", known) == "I cannot say"  # no label: wrong, and seen to be


def test_the_prompt_asks_for_a_list_and_decoding_allows_no_other(tmp_path: Path) -> None:
    task = write(tmp_path, made(60), "labels: {refund: money, delay: '', damage: '', login: ''}\n")
    start = Project(task).start
    system = start.render(Example("x", "")).messages[0].content
    assert 'a JSON list such as ["refund", "delay"]' in system and "- refund: money" in system
    shape = json.loads(start.decoding.schema)
    assert shape["items"]["enum"] == ["refund", "delay", "damage", "login"]
    assert (shape["minItems"], shape["maxItems"]) == (1, 3)  # as few and as many as train has


def test_a_climb_tries_what_can_answer_and_refuses_the_rest(tmp_path: Path, encoder: Path) -> None:
    write(tmp_path, made(120), "rungs: [majority, encoder, zero-shot, few-shot, encoder-full, calibrated]\n")
    text = (tmp_path / "rung.yaml").read_text().replace("encoder: fake", f"encoder: {encoder}")
    (tmp_path / "rung.yaml").write_text(text)
    project = Project(load_task(tmp_path))
    skipped = {step.rung: step.skip for step in project.plan.steps if step.skip}
    assert skipped == dict.fromkeys(("encoder-full", "calibrated"), "needs one label a row, which this task does not have")
    report = climb(project, Silent(), everything=True)
    scored = {record.rung: record.scores for record in report.records if record.scores}
    fitted = project.store.predictions(next(one.predictor for one in report.records if one.rung == "encoder"))
    assert all(0 < (one.confidence or 0) < 1 for one in fitted.values())
    facts = project.plan.bases["fake"].facts
    assert (facts.labels, facts.label_set) == (0, 4)
    assert scored["encoder"].overall.value > scored["majority"].overall.value
    assert all(label_sets.parse(one) is not None for one in scored["encoder"].outputs)
    with pytest.raises(RungError, match="gives several labels by thresholds of its own"):
        export_source(project, "encoder")


def test_demonstrations_show_each_label() -> None:
    rows = [Example(f"c{i}", '["common"]') for i in range(50)] + [Example("r", '["common", "rare"]'), Example("s", '["odd"]')]
    shown = balanced(rows, 3, seed=0)
    assert {label for row in shown for label in label_sets.split(row.output)} == {"common", "rare", "odd"}


def test_a_person_types_several() -> None:
    answers = Answers("classify", ("delay", "refund", "login"), closed=True, several=True)
    assert read("1, refund", answers, answers.labels).answer == '["delay", "refund"]'
    assert read("0", answers, answers.labels).answer == "[]"
    assert read("s", answers, answers.labels).command == "skip"
    assert "add it there first" in read("1, +new", answers, answers.labels).fault
    assert read("1, s", answers, answers.labels).fault == "A command stands alone."
