"""Numbers with a tolerance and units, dates, ordered labels, and right answers in several columns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from rung.climbing.decide import decide
from rung.data.check import check
from rung.data.load import load
from rung.data.split import make_splits
from rung.errors import DataError, TaskError
from rung.metrics import find, get, score
from rung.metrics.metric import Metric
from rung.task import load_task
from rung.types import UNKNOWN, Cost, Example, Prediction, Record


def metric(name: str) -> Metric:
    found = find(name)
    assert found
    return found


def rated(name: str, output: str, *references: str) -> float:
    return metric(name).rate(output, Example("", references[0], references=references if len(references) > 1 else ()))


@pytest.mark.parametrize(
    ("name", "output", "reference", "right"),
    [
        ("within(0.5)", "3.4", "3", True),
        ("within(0.5)", "3.6", "3", False),
        ("within(5%)", "It costs 104 euros.", "100 EUR", True),
        ("within(5%)", "106 EUR", "100 EUR", False),
        ("within(0)", "12.50 USD", "$12.5", True),
        ("within(0)", "12.50 EUR", "$12.5", False),  # money is not converted
        ("within(1%)", "5000 g", "5 kg", True),
        ("within(1%)", "3.107 miles", "5 km", True),
        ("within(1%)", "5 g", "5 kg", False),
        ("within(1%)", "5", "5 kg", False),  # the unit is part of the answer
        ("within(1%)", "5 kg", "5", True),  # and here nobody asked for one
        ("within(100 g)", "4.95 kg", "5 kg", True),
        ("within(0.01)", "51%", "50%", True),
        ("within(0.5)", "of 20 and 4 it is 3", "3", True),  # the last of several
        ("within(1)", "-3", "3", False),
        ("within(1)", "1.234,5", "1234.5", True),
        ("within(1)", "none", "3", False),
        ("within(1)", "1e999", "3", False),
        ("within(2 days)", "3 May 2024", "2024-05-01", True),
        ("within(2 days)", "2024-05-04", "1 May 2024", False),
        ("within(1 week)", "2024-05-08", "2024-05-01", True),
        ("within(2)", "2024-02-31", "2024-03-01", False),
        ("within(2)", "45", "2024-03-01", False),
    ],
)
def test_within(name: str, output: str, reference: str, right: bool) -> None:
    assert metric(name).binary and metric(name).fault(reference) == ""
    assert rated(name, output, reference) == right


def test_a_unit_of_several_words_is_not_known_by_one_of_them() -> None:
    """`hour` and `miles` were once read as miles per hour."""
    assert rated("exact_match", "1 hour", "1 h") == rated("exact_match", "5 miles", "5 mi") == 1
    assert rated("exact_match", "30 miles per hour", "30 mph") == 1


def test_the_error_is_counted_in_tolerances() -> None:
    assert [rated("mae_score(2)", text, "10") for text in ("10", "10.5", "11", "12", "90", "?")] == [1, 0.75, 0.5, 0, 0, 0]
    assert rated("mae_score(50%)", "15", "20") == pytest.approx(0.5)
    assert rated("mae_score(4 days)", "2024-05-02", "1 May 2024") == 0.75
    assert rated("mae_score(2)", "7.5", "10", "8") == 0.75  # the nearest of several right answers


def test_no_answer_is_right_where_there_is_none() -> None:
    assert rated("within(1)", "I don't know.", UNKNOWN) == 1
    assert rated("mae_score(1)", "7", UNKNOWN) == 0


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("within", "needs a tolerance"),
        ("within(much)", "needs a tolerance"),
        ("within(-1)", "needs a tolerance"),
        ("mae_score(0)", "tolerance is 0"),
        ("quadratic_kappa(good)", "two or more labels in order"),
        ("quadratic_kappa(good < good)", "two or more labels in order"),
    ],
)
def test_a_wrong_argument_is_an_error(name: str, what: str) -> None:
    with pytest.raises(TaskError, match=what):
        get(name, Path())


def test_an_unknown_metric_lists_those_with_arguments() -> None:
    with pytest.raises(TaskError, match=r"within\(TOLERANCE\)"):
        get("withn(5)", Path())


def test_kappa_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    due = rng.integers(1, 6, 300)
    said = np.clip(due + rng.integers(-1, 2, 300), 1, 5)
    rows = [Example(str(i), str(label)) for i, label in enumerate(due)]
    found = score(metric("quadratic_kappa"), rows, [Prediction(e.id, f" {label} ") for e, label in zip(rows, said)], "dev")
    assert found.overall.value == pytest.approx(cohen_kappa_score(due, said, weights="quadratic"))
    assert found.overall.low < found.overall.value < found.overall.high
    names = ("bad", "poor", "fair", "good", "best")
    worded = [Example(str(i), names[label - 1]) for i, label in enumerate(due)]
    answers = [Prediction(e.id, names[label - 1].upper()) for e, label in zip(worded, said)]
    again = score(metric(f"quadratic_kappa({' < '.join(names)})"), worded, answers, "dev")
    assert again.overall.value == pytest.approx(found.overall.value)


def test_kappa_of_odd_answers() -> None:
    kappa = metric("quadratic_kappa").corpus
    assert kappa
    assert kappa(["3", "3"], ["3", "3"]) == 1
    assert kappa(["1", "5"], ["5", "1"]) == 0  # under chance counts as 0
    assert kappa(["?", "5"], ["1", "5"]) == kappa(["5", "5"], ["1", "5"])  # no rating is as wrong as can be


def test_the_interval_of_kappa_covers() -> None:
    rng = np.random.default_rng(1)
    due = rng.integers(1, 6, 200_000)
    said = np.clip(due + rng.integers(-1, 2, len(due)), 1, 5)
    truth, held = cohen_kappa_score(due, said, weights="quadratic"), 0
    for k in range(60):
        part = slice(60 * k, 60 * (k + 1))
        rows = [Example(str(i), str(label)) for i, label in enumerate(due[part])]
        answers = [Prediction(e.id, str(label)) for e, label in zip(rows, said[part])]
        found = score(metric("quadratic_kappa"), rows, answers, "dev").overall
        held += found.low <= truth <= found.high
    assert held >= 53


def task(folder: Path, rows: list[dict[str, Any]], kind: str, name: str, more: str = "", data: str = "") -> Any:
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "rung.yaml").write_text(
        f"task: Rate it.\nkind: {kind}\ndata: {{examples: rows.jsonl, input: q, output: a{data}}}\nbase: fake\nencoder: fake\n"
        f"goal: {{metric: '{name}', at_least: 0.5}}\n{more}"
    )
    return load_task(folder)


def test_labels_are_the_order_of_kappa(tmp_path: Path) -> None:
    rows = [{"q": f"meal {i}", "a": ("poor", "fair", "good")[i % 3]} for i in range(90)]
    found = task(tmp_path, rows, "classify", "quadratic_kappa", "labels: [poor, fair, good]\n")
    assert found.goal.metric == "quadratic_kappa(poor < fair < good)"
    assert len(load(found).train) == 90
    text = (tmp_path / "rung.yaml").read_text().replace("labels: [poor, fair, good]\n", "")
    (tmp_path / "rung.yaml").write_text(text)
    with pytest.raises(DataError, match="lowest first"):
        load(load_task(tmp_path))


def test_rows_that_cannot_be_scored_are_named(tmp_path: Path) -> None:
    rows = [{"q": "a", "a": "5 kg"}, {"q": "b", "a": "much"}, {"q": "c", "a": "2024-01-05"}]
    with pytest.raises(DataError) as error:
        load(task(tmp_path, rows, "answer", "within(5%)"))
    assert "'much' states no number, amount or date" in str(error.value) and "whose tolerance is in days" in str(error.value)
    with pytest.raises(DataError, match="'3 m' is not measured in kg"):
        load(task(tmp_path, [{"q": "a", "a": "3 m"}], "answer", "within(2 kg)"))


def test_a_wrong_argument_is_found_before_rows_are_read(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="needs a tolerance"):
        load(task(tmp_path, [{"q": "a", "a": "5"}], "answer", "within(near)"))


def test_what_rows_can_show_is_counted_by_the_metric(tmp_path: Path) -> None:
    rows = [{"q": f"how many are {i}?", "a": str(i)} for i in range(200)]
    for name, severity in (("within(1)", "block"), ("mae_score(1)", "warn")):
        found = task(tmp_path, rows, "answer", name)
        hard = found.model_copy(update={"goal": found.goal.model_copy(update={"at_least": 0.999})})
        hard._folder = tmp_path
        seen = {one.code: one.severity for one in check(make_splits(hard), hard)}
        assert seen["goal-out-of-reach"] == severity  # right-or-wrong rows have exact bounds, graded ones do not


def test_a_graded_rung_is_decided_by_resampling() -> None:
    rows = [Example(str(i), str(i)) for i in range(400)]
    for name, corpus in (("mae_score(4)", False), ("quadratic_kappa", True)):
        scores = score(metric(name), rows, [Prediction(e.id, str(i + i % 2)) for i, e in enumerate(rows)], "dev", kind="answer")
        record = Record("r", "done", scores=scores, cost=Cost(), quote=Cost())
        goal = task_goal(name)
        found = decide([record], goal, references={e.id: e for e in rows})
        assert found.verdict == "meets" and found.rungs[0].verdict == "meets", (name, corpus, found)


def task_goal(name: str) -> Any:
    from rung.task.sections import Goal

    return Goal(metric=name, at_least=0.7)


def test_right_answers_in_further_columns(tmp_path: Path) -> None:
    rows = [{"q": "a", "a": "lift", "b": "elevator", "c": ""}, {"q": "b", "a": "flat", "b": "flat", "c": None}]
    first, second = load(task(tmp_path, rows, "answer", "exact_match", data=", alternatives: [b, c]")).train
    assert (first.output, first.references) == ("lift", ("lift", "elevator")) and not second.references
    assert get("exact_match", tmp_path).rate("Elevator.", first) == 1
    with pytest.raises(DataError, match=r"no column 'd' \(data.alternatives\)"):
        load(task(tmp_path, rows, "answer", "exact_match", data=", alternatives: [d]"))
    with pytest.raises(DataError, match="the question is unanswerable, but"):
        load(task(tmp_path, [{"q": "a", "a": [], "b": "x"}], "answer", "exact_match", data=", alternatives: [b]"))
    with pytest.raises(TaskError, match=r"Remove data.alternatives"):
        task(tmp_path, rows, "classify", "accuracy", data=", alternatives: [b]")
