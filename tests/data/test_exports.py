"""Rows as other tools export them: what says that a row is none, that a label is several, or that a file holds something else."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rung import label_sets
from rung.data.check import check
from rung.data.conversations import exchanges
from rung.data.files import READERS, read_rows
from rung.data.folders import shards
from rung.data.load import load
from rung.data.split import make_splits
from rung.errors import DataError
from rung.metrics import METRICS
from rung.task import Task, load_task
from rung.types import Example


def task(folder: Path, rows: list[dict[str, Any]], kind: str = "classify", more: str = "", columns: bool = True) -> Task:
    (folder / "r.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    named = ", input: text, output: label" if columns else ""
    metric = "accuracy" if kind == "classify" else "exact_match"
    data, goal = f"data: {{examples: r.jsonl{named}}}", f"goal: {{metric: {metric}, at_least: 0.5}}"
    (folder / "rung.yaml").write_text(f"task: t\nkind: {kind}\n{data}\nbase: fake\n{goal}\n{more}")
    return load_task(folder)


def outputs(folder: Path, *labels: Any, more: str = "", **further: Any) -> list[str]:
    rows = [{"text": f"text {i}", "label": label, **further} for i, label in enumerate(labels)]
    return [row.output for row in load(task(folder, rows, more=more)).train]


def codes(folder: Path, *labels: Any, kind: str = "classify", more: str = "") -> set[str]:
    rows = [{"text": f"text {i} {label}", "label": label} for i, label in enumerate(labels * 20)]
    made = task(folder, rows, kind, more)
    return {finding.code for finding in check(make_splits(made), made)}


# Labels


@pytest.mark.parametrize("cell", [["a"], "['a']", '["a"]', {"choices": ["a"]}, '{"choices": ["a"]}', "a"])
def test_a_label_in_a_list_or_in_label_studios_choices_is_the_label(tmp_path: Path, cell: Any) -> None:
    assert outputs(tmp_path, cell) == ["a"]


@pytest.mark.parametrize(
    "cell", [{"a": 1.0, "b": 0.0}, '{"name": "a", "id": 7}', {"choices": ["a", "b"]}, "['a', 'b']", ["a", "b"], []]
)
def test_an_object_or_several_labels_are_no_label(tmp_path: Path, cell: Any) -> None:
    with pytest.raises(DataError, match="kind classify needs"):
        outputs(tmp_path, cell)


def test_a_label_that_the_task_names_is_never_taken_apart(tmp_path: Path) -> None:
    assert outputs(tmp_path, "['a', 'b']", "c", more="labels: [\"['a', 'b']\", c]\n") == ["['a', 'b']", "c"]


@pytest.mark.parametrize(
    "text",
    ['["a", "b"]', "['a', 'b']", str(np.array(["a", "b"])), "('a', 'b')", "{'b', 'a'}", "['a'\n 'b']", "a|b", "a; b", "a,b"],
)
def test_several_labels_as_python_and_numpy_write_them(text: str) -> None:
    assert label_sets.split(text) == ("a", "b")


def test_texts_with_quotes_in_an_array_of_numpy() -> None:
    assert label_sets.loaded(str(np.array(["it's", 'say "x"', "c d"]))) == ("it's", 'say "x"', "c d")
    assert label_sets.loaded("('a')") == ("a",) and label_sets.loaded("(a) and (b)") is label_sets.loaded("{'a': 1}") is None
    assert label_sets.loaded("[\"a 'b' 'c'\", 'd']") == ("a 'b' 'c'", "d")


@pytest.mark.parametrize(("output", "reference"), [("(1, 2)", "(2, 1)"), ("{1, 2}", "{2, 1}"), ("['a' 'b']", '["a", "b"]')])
def test_answers_are_compared_as_lists_of_labels_only_where_they_are_lists(output: str, reference: str) -> None:
    assert label_sets.parse(output) != label_sets.parse(reference) or label_sets.parse(output) is None
    assert METRICS["accuracy"].per_row(output, reference, Example("in", reference)) == 0


@pytest.mark.parametrize(
    ("labels", "code"),
    [
        ((True, 1, False, 0), "labels-alike"),
        (("yes", "Y", "no"), "labels-alike"),
        (("0.5", "0.50", "1.5"), "labels-alike"),
        (("0,5", "0.5", "1.5"), "labels-alike"),
        (("R&D", "R&amp;D", "sales"), "labels-alike"),
        (("parking", "p\u0430rking", "wifi"), "labels-alike"),  # a Cyrillic a
        (("a", "b", "a, b"), "labels-compound"),
        (("a/b", "b", "a / c", "a+b"), "labels-compound"),
        (("a", "b", "none", "None"), "missing-as-text"),
        (("a", "b", "N/A"), "missing-as-text"),
        (("a", "b", "#REF!"), "missing-as-text"),
        (("a", "b", "caf\u00c3\u00a9"), "damaged-text"),
        (("a", "b", "caf\ufffd"), "damaged-text"),
    ],
)
def test_labels_that_are_probably_not_what_they_seem(tmp_path: Path, labels: tuple[Any, ...], code: str) -> None:
    assert code in codes(tmp_path, *labels)


@pytest.mark.parametrize(
    "labels",
    [("1", "2", "3"), ("yes", "no"), ("1.10", "1.20"), ("lost and found", "lost and stolen"), ("R&D", "sales"), ("café", "Ã")],
)
def test_labels_that_are_what_they_seem(tmp_path: Path, labels: tuple[str, ...]) -> None:
    assert not codes(tmp_path, *labels) & {"labels-alike", "labels-compound", "missing-as-text", "damaged-text"}


def test_a_label_that_the_task_names_is_not_missing(tmp_path: Path) -> None:
    assert "missing-as-text" not in codes(tmp_path, "a", "none", more="labels: [a, none]\n")


def test_answers_that_are_missing_or_begin_with_reasoning(tmp_path: Path) -> None:
    assert "missing-as-text" in codes(tmp_path, "Paris", "nan", kind="answer")
    assert "reasoning-in-answers" in codes(tmp_path, "<think>\nFrance …\n</think>\n\nParis", "Rome", kind="answer")


# Rows


@pytest.mark.parametrize(
    "further",
    [
        {"_task_hash": 1, "answer": "reject"},
        {"_task_hash": 1, "answer": "ignore"},
        {"label.status": "discarded"},
        {"label.status": ["submitted", "discarded"]},
    ],
)
def test_what_the_annotator_rejected_is_no_row(tmp_path: Path, further: dict[str, Any]) -> None:
    with pytest.raises(DataError, match="did not confirm the label"):
        outputs(tmp_path, "a", **further)


@pytest.mark.parametrize(
    "further", [{"_task_hash": 1, "answer": "accept"}, {"label.status": ["submitted"]}, {"answer": "reject"}]
)
def test_what_the_annotator_accepted_is_a_row(tmp_path: Path, further: dict[str, Any]) -> None:
    assert outputs(tmp_path, "a", **further) == ["a"]


ASKED = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]


@pytest.mark.parametrize(
    ("row", "history"),
    [
        ({"system": "s", "conversations": ASKED}, [("system", "s")]),
        ({"system": "s", "messages": [{"role": "system", "content": "own"}, *ASKED]}, [("system", "own")]),
        (
            {"instruction": "q", "input": "", "output": "a", "system": "s", "history": [["q1", "a1"]]},
            [("system", "s"), ("user", "q1"), ("assistant", "a1")],
        ),
        ({"instruction": "q", "output": "a", "system": "", "history": "[]"}, []),
        (
            {"input": {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]}, "output": "a"},
            [("system", "s")],
        ),
    ],
)
def test_what_stands_beside_the_turns_is_asked_too(tmp_path: Path, row: dict[str, Any], history: list[tuple[str, str]]) -> None:
    (found,) = load(task(tmp_path, [row], "answer", columns=False)).train
    assert (found.input, found.output) == ("q", "a")
    assert [(turn.role, turn.content) for turn in found.history] == history


def conversation(tmp_path: Path, first: int, last: int) -> Example:
    turns = [("user", "q1", 1), ("assistant", "wrong", first), ("user", "q2", 1), ("assistant", "right", last)]
    row = {"messages": [{"role": role, "content": text, "weight": weight} for role, text, weight in turns]}
    return load(task(tmp_path, [row], "answer", columns=False)).train[0]


def test_an_answer_of_weight_0_is_context_alone(tmp_path: Path) -> None:
    found = conversation(tmp_path, 0, 1)
    assert [row.output for row in exchanges(found)] == ["right"] and found.history[1].fields == {
        "role": "assistant",
        "content": "wrong",
    }
    assert [row.output for row in exchanges(conversation(tmp_path, 1, 1))] == ["wrong", "right"]
    with pytest.raises(DataError, match="weight 0"):
        conversation(tmp_path, 1, 0)


# Files


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize(
    ("whole", "says"),
    [
        ({"version": 1, "data": [{"text": "a"}, {"text": "b"}]}, "rows are under 'data'"),
        ({"train": [{"text": "a"}, {"text": "b"}], "test": [{"text": "c"}]}, "rows are under 'train'"),
        ({"text": {"0": "a", "1": "b"}, "label": {"0": "x", "1": "y"}}, "each key holds a column"),
        ({"text": ["a", "b"], "label": ["x", "y"]}, "each key holds a column"),
    ],
)
def test_one_object_around_all_rows_is_not_one_row(tmp_path: Path, whole: Any, says: str, indent: int | None) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(whole, indent=indent))
    with pytest.raises(DataError, match=says):
        list(read_rows(path, "r.json"))


@pytest.mark.parametrize(
    "row", [{"messages": [{"role": "user"}, {"role": "assistant"}]}, {"input": "a", "output": ["x", "y"]}, {"a": {"b": 1}}]
)
def test_one_row_alone_is_one_row(tmp_path: Path, row: Any) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(row))
    assert [found for found, _ in read_rows(path, "r.json")] == [row]


@pytest.mark.parametrize("kind", [pa.float32(), pa.float16()])
def test_a_narrow_float_is_read_as_it_was_written(tmp_path: Path, kind: pa.DataType) -> None:
    narrow = pa.array(np.array([0.1, 2.5], kind.to_pandas_dtype()))
    nested = pa.StructArray.from_arrays([narrow, pa.array(["x", "y"])], ["v", "u"])
    pq.write_table(pa.table({"a": narrow, "b": nested}), tmp_path / "r.parquet")
    assert [row for row, _ in read_rows(tmp_path / "r.parquet", "r")] == [
        {"a": 0.1, "b": {"v": 0.1, "u": "x"}},
        {"a": 2.5, "b": {"v": 2.5, "u": "y"}},
    ]


def test_a_map_is_an_object(tmp_path: Path) -> None:
    maps = pa.array([[("a", 1), ("b", 2)]], pa.map_(pa.string(), pa.int64()))
    pq.write_table(pa.table({"a": maps}), tmp_path / "r.parquet")
    assert [row for row, _ in read_rows(tmp_path / "r.parquet", "r")] == [{"a": {"a": 1, "b": 2}}]


# Folders


def folder(tmp_path: Path, *names: str, card: str = "") -> Path:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("text,label\na,b\n")
    (tmp_path / "README.md").write_text(card)
    return tmp_path


@pytest.mark.parametrize(("train", "test"), [("trainset", "testset"), ("trainData", "testData"), ("my_train", "TEST")])
def test_splits_by_other_names(tmp_path: Path, train: str, test: str) -> None:
    found = shards(folder(tmp_path, f"{train}.csv", f"{test}.csv"), READERS)
    assert {key: [path.stem for path in paths] for key, paths in found.items()} == {"train": [train], "test": [test]}


@pytest.mark.parametrize("name", ["contest", "attest", "retrain", "latest"])
def test_words_that_hold_the_name_of_a_split(tmp_path: Path, name: str) -> None:
    assert list(shards(folder(tmp_path, f"{name}.csv"), READERS)) == [None]


def test_a_part_of_the_files_is_no_sample(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"of the 3 files train-of-00003\.csv 1 are missing: number 1"):
        shards(folder(tmp_path, "train-00000-of-00003.csv", "train-00002-of-00003.csv"), READERS)
    assert len(shards(folder(tmp_path, "train-00001-of-00003.csv"), READERS)["train"]) == 3


def test_several_configs_are_not_one_dataset(tmp_path: Path) -> None:
    card = "---\nconfigs:\n- config_name: en\n  data_files: en/*\n- config_name: de\n  data_files: de/*\n---\n"
    with pytest.raises(DataError, match="the configs en, de"):
        shards(folder(tmp_path, "en/train.csv", "de/train.csv", card=card), READERS)
    assert len(shards(folder(tmp_path, card="---\nconfigs:\n- config_name: en\n---\n"), READERS)["train"]) == 2


def test_places_of_rows_of_a_list_name_their_file_once(tmp_path: Path) -> None:
    made = task(tmp_path, [{"text": "", "label": "a"}] * 3)
    (tmp_path / "r.jsonl").rename(tmp_path / "r.json")
    (tmp_path / "r.json").write_text(json.dumps([{"text": "", "label": "a"}] * 3))
    (tmp_path / "rung.yaml").write_text((tmp_path / "rung.yaml").read_text().replace("r.jsonl", "r.json"))
    with pytest.raises(DataError) as caught:
        load(load_task(made.folder))
    assert caught.value.where == "r.json" and Counter(str(caught.value).split())["r.json"] == 1


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "tools": [{"n": 1}, {"n": 2}]},
        {"input": "an invoice", "output": [{"item": "a"}, {"item": "b"}]},
        {"input": "a question", "passages": [{"id": 1}, {"id": 2}]},
    ],
)
def test_one_row_with_lists_of_objects_is_one_row(tmp_path: Path, row: Any) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(row))
    assert [found for found, _ in read_rows(path, "r.json")] == [row]


@pytest.mark.parametrize("cell", ["[0, 18]", "[18,25]", "[1]", "{1}", "{}", "(1, 2)"])
def test_numbers_in_brackets_are_a_label(tmp_path: Path, cell: str) -> None:
    assert outputs(tmp_path, cell, "b") == [cell, "b"]


def test_decimal_commas_are_no_compound_labels(tmp_path: Path) -> None:
    assert "labels-compound" not in codes(tmp_path, "1", "5", "1,5")


@pytest.mark.parametrize("history", ["No prior illness.", [{"role": "user", "content": "a"}], None])
def test_a_column_history_that_is_no_list_of_pairs_is_not_read(tmp_path: Path, history: Any) -> None:
    rows = [{"instruction": "a", "output": "b", "history": history}]
    assert not load(task(tmp_path, rows, "answer", columns=False)).train[0].history


def names(folder: Path, *files: str, card: str = "") -> set[Any]:
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("text,label\na,b\n")
    if card:
        (folder / "README.md").write_text(card)
    return set(shards(folder, (".csv",)))


def test_shards_with_a_hash_each_are_complete(tmp_path: Path) -> None:
    hashes = ("a09b74b3ef9c3b56", "5c7d5c8f7fe6ad1e")
    assert names(tmp_path, *(f"train-0000{i}-of-00002-{found}.csv" for i, found in enumerate(hashes))) == {"train"}
    (tmp_path / f"train-00000-of-00002-{hashes[0]}.csv").unlink()
    with pytest.raises(DataError, match="1 are missing: number 0"):
        names(tmp_path)


def test_words_within_words_name_no_split(tmp_path: Path) -> None:
    assert names(tmp_path, "DevOps.csv", "BloodTest.csv", "HR.csv") == {None}


def test_a_card_with_two_configs_and_the_files_of_one(tmp_path: Path) -> None:
    card = "---\nconfigs:\n- config_name: en\n- config_name: de\n---\n"
    assert names(tmp_path, "en/train.csv", card=card) == {"train"}
    with pytest.raises(DataError, match="the configs en, de"):
        names(tmp_path, "de/train.csv")
