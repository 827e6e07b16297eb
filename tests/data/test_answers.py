"""Rows with several right answers, or none: read from each way that they are written, scored by the best, taught by the first."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rung.climbing.project import Project
from rung.data.check import check
from rung.data.load import load
from rung.data.split import make_splits
from rung.errors import DataError
from rung.metrics import METRICS, get, score
from rung.metrics.judge import Pairwise, Rubric
from rung.retrieve.ground import bears, settle
from rung.task import load_task
from rung.types import UNKNOWN, Example, Prediction, Source

SPAN = {"text": ["K1", "Kilo 1", "K1"], "answer_start": [3, 9, 14]}
TASK = "Give the call sign."


def task(folder: Path, file: str, kind: str = "answer", metric: str = "", words: str = TASK, column: str = "a") -> Any:
    goal = f"{{metric: {metric}, at_least: 0.5}}" if metric else "{at_least: 0.5}"
    (folder / "rung.yaml").write_text(
        f"task: {words}\nkind: {kind}\ndata: {{examples: {file}, input: q, output: {column}}}\nbase: fake\nencoder: fake\n"
        f"rungs: [zero-shot]\ngoal: {goal}\n"
    )
    return load_task(folder / "rung.yaml")


def rows(folder: Path, *cells: Any, kind: str = "answer", **columns: Any) -> tuple[Example, ...]:
    lines = [json.dumps({"q": f"buoy {i}?", "a": cell, **columns}) for i, cell in enumerate(cells)]
    (folder / "rows.jsonl").write_text("\n".join(lines))
    return load(task(folder, "rows.jsonl", kind)).train


@pytest.mark.parametrize(
    ("cell", "accepted"),
    [
        (["K1", "Kilo 1"], ("K1", "Kilo 1")),
        (["K1"], ("K1",)),
        (["K1", "K1"], ("K1",)),
        ([1, 2.5], ("1", "2.5")),
        (SPAN, ("K1", "Kilo 1")),
        ({"text": "K1", "answer_start": 3}, ("K1",)),
        ([{"text": "K1", "answer_start": 3}, {"text": "Kilo 1", "answer_start": 9}], ("K1", "Kilo 1")),
        ({"value": "K1", "aliases": ["Kilo 1"], "type": "x"}, ("K1", "Kilo 1")),
        (json.dumps(SPAN), ("K1", "Kilo 1")),
        (str(SPAN), ("K1", "Kilo 1")),
        ('["K1", "Kilo 1"]', ("K1", "Kilo 1")),
        ("K1", ("K1",)),
        ("[sic] K1", ("[sic] K1",)),
        ("[1, 2]", ("[1, 2]",)),
        ({"b": 1}, ('{"b":1}',)),
        ([{"b": 1}], ('[{"b":1}]',)),
        ([], (UNKNOWN,)),
        ({"text": [], "answer_start": []}, (UNKNOWN,)),
        ('{"text": [], "answer_start": []}', (UNKNOWN,)),
        ([""], (UNKNOWN,)),
    ],
)
def test_each_way_to_write_right_answers(tmp_path: Path, cell: Any, accepted: tuple[str, ...]) -> None:
    [row] = rows(tmp_path, cell)
    assert row.accepted == accepted and row.output == accepted[0]
    assert row.unanswerable == (accepted == (UNKNOWN,))
    assert bool(row.references) == (len(accepted) > 1)


def test_parquet_and_csv_say_the_same(tmp_path: Path) -> None:
    pq.write_table(pa.table({"q": ["1?", "2?"], "a": [SPAN, {"text": [], "answer_start": []}]}), tmp_path / "r.parquet")
    with (tmp_path / "r.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("q", "a"), ("1?", json.dumps(SPAN)), ("2?", json.dumps({"text": [], "answer_start": []}))])
    for name in ("r.parquet", "r.csv"):
        assert [row.accepted for row in load(task(tmp_path, name)).train] == [("K1", "Kilo 1"), (UNKNOWN,)]


def test_a_list_in_a_text_cell_is_several_answers_only_where_it_cannot_be_the_answer(tmp_path: Path) -> None:
    cell = '["red", "blue"]'
    (tmp_path / "rows.csv").write_text('q,a\n1?,"[""red"", ""blue""]"\n')
    [one] = load(task(tmp_path, "rows.csv", words="Write the colours as a JSON list.")).train
    assert one.accepted == (cell,)
    (tmp_path / "rows.csv").write_text('q,answers\n1?,"[""red"", ""blue""]"\n')
    [one] = load(task(tmp_path, "rows.csv", words="Write the colours as a JSON list.", column="answers")).train
    assert one.accepted == ("red", "blue")


@pytest.mark.parametrize(
    ("cell", "columns", "told"),
    [
        (["K1", " "], {}, "one of the answers"),
        (["K1", None], {}, "one of the answers"),
        (SPAN, {"is_impossible": True}, "is_impossible is True, but there is an answer"),
        ("K1", {"is_impossible": "true"}, "is_impossible is 'true', but there is an answer"),
        ([], {"is_impossible": False}, "is_impossible is False, but there is no answer"),
        ("{'text': array(['K1']), 'answer_start': array([3])}", {}, "cannot be parsed"),
        (None, {}, "the output is empty"),
        ("", {}, "the output is empty"),
    ],
)
def test_answers_that_cannot_be_meant_are_told_with_their_line(tmp_path: Path, cell: Any, columns: Any, told: str) -> None:
    with pytest.raises(DataError, match=told) as caught:
        rows(tmp_path, cell, **columns)
    assert "rows.jsonl" in str(caught.value)


@pytest.mark.parametrize("cell", [None, "", [], {"text": [], "answer_start": []}])
def test_is_impossible_says_that_there_is_no_answer(tmp_path: Path, cell: Any) -> None:
    [row] = rows(tmp_path, cell, is_impossible=True)
    assert row.unanswerable


def test_labels_and_fields_take_lists_where_they_make_sense(tmp_path: Path) -> None:
    assert rows(tmp_path, ["spam"], kind="classify")[0].output == "spam"
    with pytest.raises(DataError, match="needs one label per row"):
        rows(tmp_path, ["spam", "ham"], kind="classify")
    assert rows(tmp_path, [{"n": 1}], kind="extract")[0].accepted == ('[{"n":1}]',)
    assert rows(tmp_path, ["a", "b"], kind="extract")[0].accepted == ('["a","b"]',)
    assert rows(tmp_path, ['{"n": 1}', '{"n": 2}'], kind="extract")[0].accepted == ('{"n": 1}', '{"n": 2}')
    with pytest.raises(DataError, match="is not valid JSON"):
        rows(tmp_path, ['{"n": 1}', '{"n": '], kind="extract")


# --- scoring ----------------------------------------------------------------------------------------------------------

SEVERAL = Example("which?", "K1", references=("K1", "Kilo one"))
NONE = Example("which?", UNKNOWN)


@pytest.mark.parametrize("name", ["exact_match", "token_f1", "rouge_l", "squad_exact_match", "squad_f1", "rouge_score_l"])
def test_the_best_over_the_right_answers_counts(name: str) -> None:
    metric = METRICS[name]
    assert metric.rate("kilo one.", SEVERAL) == metric.rate("K1", SEVERAL) == 1
    assert metric.rate("bravo", SEVERAL) == 0
    assert metric.rate("", NONE) == metric.rate("I don't know.", NONE) == metric.rate("Unanswerable", NONE) == 1
    assert metric.rate("K1", NONE) == metric.rate("Unknown Pleasures", NONE) == 0
    assert metric.rate("I don't know.", SEVERAL) == 0


def test_fields_and_their_whole_are_held_against_the_nearest_answer() -> None:
    row = Example("x", '{"a": 1, "b": 2}', references=('{"a": 1, "b": 2}', '{"a": 1, "b": 3}'))
    said = [Prediction(row.id, '{"a": 1, "b": 3}')]
    found = score(METRICS["field_f1"], [row], said, "dev")
    assert found.overall.value == found.per_row[0] == found.others["exact_match"].value == 1


def test_a_metric_of_the_teams_own_sees_each_answer_and_all(tmp_path: Path) -> None:
    (tmp_path / "m.py").write_text(
        "def score(output, reference, row):\n"
        "    assert row['output'] == reference and row['references'] == ['K1', 'Kilo one']\n"
        "    return output == reference\n"
    )
    assert get("m.py:score", tmp_path).rate("Kilo one", SEVERAL) == 1


def test_adding_a_right_answer_makes_another_row_and_one_answer_keeps_its_name() -> None:
    assert Example("q", "a").id == Example("q", "a", references=()).id
    assert Example("q", "a", references=("a", "b")).id not in (Example("q", "a").id, Example("q", "a", references=("a", "c")).id)


def test_the_judge_is_shown_all_right_answers_and_an_answer_not_given_in_words() -> None:
    judge = Rubric(lambda chats, options: [], "m", "good")
    assert "K1\nor: Kilo one" in judge.chats(judge.row(SEVERAL, "x"))[0][1].content
    assert judge.row(NONE, "").answer == Pairwise(lambda chats, options: [], "m", "good").row(NONE, "").second == UNKNOWN


def test_passages_bear_any_right_answer_and_none_that_is_not_there() -> None:
    passage = Source("1", "a.md", "", "a.md", "The buoy is called Kilo one.")
    assert bears(SEVERAL, passage) and not bears(NONE, passage)
    assert not settle("Unknown Pleasures is the buoy called Kilo one", [passage]).abstained


def test_abstaining_from_what_cannot_be_answered_is_right() -> None:
    passage = Source("1", "a.md", "", "a.md", "text")
    said = [Prediction(NONE.id, "", sources=(passage,), abstained="too far")]
    found = score(METRICS["exact_match"], [NONE], said, "dev", kind="answer")
    assert found.overall.value == found.others["abstention recall"].value == found.others["abstention precision"].value == 1


# --- a task -----------------------------------------------------------------------------------------------------------


def test_a_task_with_several_answers_is_measured_checked_and_shown(tmp_path: Path) -> None:
    lines = [{"q": f"Buoy {i}: its sign? It is B{i}", "a": [f"K{i}", f"b{i}."]} for i in range(90)]
    lines += [{"q": f"Nobody knows {i}", "a": []} for i in range(10)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)))
    made = task(tmp_path, "rows.jsonl", metric="exact_match")
    found = {one.code: one for one in check(make_splits(made), made)}
    assert found["several-references"].count == 90 and found["unanswerable"].count == 10
    project = Project(made, say=lambda text: None)
    prompt = project.start.render(project.inputs.data.examples[0])
    assert "[" not in prompt.messages[-1].content
    fresh = [row for row in project.inputs.splits.dev if row.references]
    predictions = project.start.predict(fresh, project.engines)
    assert score(project.scoring.metric(), fresh, predictions, "dev").overall.value == 1
    assert set(project.criteria.references) == {row.id for row in project.inputs.splits.dev}
