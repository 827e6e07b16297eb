"""`rung check --fix`: what blocks is mended in copies, every row's fate is said, and no original is changed."""

from __future__ import annotations

import csv
import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import command
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.data import cleaned
from rung.data.check import blocking, check
from rung.data.load import load
from rung.data.repair import Repair, read_sources, repair, spellings
from rung.data.split import make_splits
from rung.errors import DataError
from rung.task import Task, load_task

LABELS = ("refund", "order_status", "fault")


def rows(name: str, count: int) -> list[tuple[str, str]]:
    """Rows that are unlike each other."""
    chance = random.Random(name)
    return [(f"{name} {i} {chance.random()}", LABELS[i % 3]) for i in range(count)]


def write(folder: Path, parts: dict[str, list[tuple[str, str]]], **more: Any) -> Task:
    for name, some in parts.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("text", "intent"), *some])
    data = {name: f"{name}.csv" for name in parts} | {"input": "text", "output": "intent"} | more.pop("data", {})
    keys = {"task": "t", "kind": "classify", "data": data, "base": "fake", "rungs": ["majority"], "goal": {"at_least": 0.5}}
    (folder / "rung.yaml").write_text(yaml.safe_dump(keys | more))
    return load_task(folder)


def mended(task: Task, join: bool = True) -> tuple[Repair, cleaned.Cleaned, Task]:
    sources = read_sources(task)
    found = repair(sources, task, spellings(sources, task) if join else ())
    made = cleaned.write(task, sources, found)
    return found, made, made.applied(task)


def inputs(task: Task) -> dict[str, list[str]]:
    splits = make_splits(task)
    parts = {"train": splits.train, "dev": splits.dev, "test": splits.test.open()}
    return {name: [row.input for row in some] for name, some in parts.items()}


def test_leaks_leave_train_first_then_dev(tmp_path: Path) -> None:
    train, dev, test = rows("a", 40), rows("b", 30), rows("c", 30)
    task = write(tmp_path, {"train": [*train, *dev[:9], *test[:2]], "dev": [*dev, *test[5:8]], "test": test})
    assert blocking(check(make_splits(task), task))
    found, made, after = mended(task)
    assert not blocking(check(make_splits(after), after))
    assert inputs(after) == {"train": [a for a, _ in train], "dev": [a for a, _ in dev], "test": [a for a, _ in test]}
    assert {change.did for change in found.changes.values()} == {"removed"} and len(found.changes) == 14
    assert found.changes["train.csv line 42"].why == "asks the same as dev.csv line 2 (dev)"
    assert made.data == {"train": ("train.clean.csv",), "dev": ("dev.clean.csv",)}, "test has no change and no copy"


def test_repeats_keep_their_first_row(tmp_path: Path) -> None:
    train = rows("a", 40)
    again = [(train[3][0].upper() + "!", train[3][1]), train[3], train[5]]
    found, _, after = mended(write(tmp_path, {"train": [*train, *again], "dev": rows("b", 30), "test": rows("c", 30)}))
    assert [change.why for change in found.changes.values()] == ["repeats train.csv line 5"] * 2 + ["repeats train.csv line 7"]
    assert inputs(after)["train"] == [text for text, _ in train]


def test_contradictions_are_set_aside_wherever_they_are(tmp_path: Path) -> None:
    train, dev = rows("a", 40), rows("b", 30)
    train += [(dev[0][0], "fault"), (train[1][0], "refund")]
    found, made, after = mended(write(tmp_path, {"train": train, "dev": dev, "test": rows("c", 30)}))
    assert {(one.split, one.did) for one in found.changes.values()} == {("train", "set aside"), ("dev", "set aside")}
    assert made.set_aside
    with made.set_aside.open(newline="") as file:
        aside = list(csv.DictReader(file))
    assert [(one["set_aside_from"], one["intent"]) for one in aside] == [
        ("train.csv line 3", "order_status"),
        ("train.csv line 42", "fault"),
        ("train.csv line 43", "refund"),
        ("dev.csv line 2", "refund"),
    ]
    assert dev[0][0] not in inputs(after)["train"] + inputs(after)["dev"]


def test_free_answers_may_differ(tmp_path: Path) -> None:
    train = [("what is it", "this"), ("what is it", "that"), *rows("a", 40)]
    parts = {"train": train, "dev": rows("b", 30), "test": rows("c", 30)}
    found, _, _ = mended(write(tmp_path, parts, kind="answer"))
    assert not found.changes


def test_spellings_are_joined_only_where_asked(tmp_path: Path) -> None:
    train = [*rows("a", 60), ("one more", "Order_Status"), ("and one", "order status"), ("the last", "refunt")]
    task = write(tmp_path, {"train": train, "dev": rows("b", 30), "test": rows("c", 30)})
    asked = spellings(read_sources(task), task)
    assert [(one.label, one.into, one.certain) for one in asked] == [
        ("Order_Status", "order_status", True),
        ("order status", "order_status", False),
        ("refunt", "refund", False),
    ]
    found, _, _ = mended(task, join=False)
    assert not found.changes
    found, _, after = mended(task)
    assert {one.label for one in found.changes.values()} == {"order_status", "refund"} and len(found.changes) == 3
    assert {row.output for row in load(after).train} == set(LABELS)
    assert not [one for one in check(make_splits(after), after) if one.code in ("labels-joined", "labels-alike")]


def test_labels_of_rung_yaml_set_the_spelling(tmp_path: Path) -> None:
    train = [*rows("a", 40), ("one more", "REFUND"), ("lost", "nobody knows")]
    task = write(tmp_path, {"train": train, "dev": rows("b", 30), "test": rows("c", 30)}, labels=list(LABELS))
    found, _, after = mended(task)
    assert [(one.did, one.label) for one in found.changes.values()] == [("relabelled", "refund"), ("set aside", "")]
    assert "not one of refund" in list(found.changes.values())[1].why
    assert len(load(after).train) == 41


def test_rows_that_cannot_be_used_are_set_aside(tmp_path: Path) -> None:
    task = write(
        tmp_path, {"train": [*rows("a", 40), ("no label", ""), ("", "fault")], "dev": rows("b", 30), "test": rows("c", 30)}
    )
    done = command("check", tmp_path)
    assert done.returncode == 2 and "--fix` sets such rows aside" in " ".join(done.stderr.split())
    found, _, after = mended(task)
    assert [one.why for one in found.changes.values()] == ["unusable: the output is empty.", "unusable: the input is empty."]
    assert len(load(after).train) == 40


def test_half_a_character_is_set_aside_in_writing(tmp_path: Path) -> None:
    task = write(tmp_path, {"dev": rows("b", 30), "test": rows("c", 30)}, data={"train": "train.jsonl"})
    some = [{"text": text, "intent": label} for text, label in rows("a", 40)] + [{"text": "\ud83d half", "intent": "fault"}]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, some)))
    found, made, _ = mended(task)
    assert "lone surrogate" in found.changes["train.jsonl line 41"].why
    assert made.set_aside and "\\ud83d half" in made.set_aside.read_text()


def test_a_file_that_is_named_twice_is_an_error(tmp_path: Path) -> None:
    write(tmp_path, {"train": rows("a", 40), "test": rows("c", 30)}, data={"dev": "./train.csv"})
    with pytest.raises(DataError, match="names the file more than once"):
        read_sources(load_task(tmp_path))


def test_groups_leave_train_unless_that_takes_most_of_it(tmp_path: Path) -> None:
    def grouped(name: str, groups: str) -> str:
        return "text,intent,customer\n" + "".join(f"{name} {i},{LABELS[i % 3]},{group}\n" for i, group in enumerate(groups))

    for name, groups in (("train", "abcdefghij" * 4), ("dev", "a" + "klmnop" * 5), ("test", "qrstu" * 6)):
        (tmp_path / f"{name}.csv").write_text(grouped(name, groups))
    parts = {"train": "train.csv", "dev": "dev.csv", "test": "test.csv"}
    data = {**parts, "input": "text", "output": "intent", "group": "customer"}
    keys = {"task": "t", "kind": "classify", "data": data, "base": "fake", "goal": {"at_least": 0.5}}
    (tmp_path / "rung.yaml").write_text(yaml.safe_dump(keys))
    found, _, after = mended(load_task(tmp_path))
    assert len(found.changes) == 4 and all("its group 'a' is in dev too" in one.why for one in found.changes.values())
    assert len(load(after).train) == 36
    (tmp_path / "dev.csv").write_text(grouped("dev", "abcdefghij" * 3))
    found, _, _ = mended(load_task(tmp_path))
    assert not found.changes and "40 of 40 train rows are of groups" in found.notes[0]


def test_chosen_rows_leave_dev(tmp_path: Path) -> None:
    task = write(tmp_path, {"train": rows("a", 40), "dev": rows("b", 30), "test": rows("c", 30)})
    head, first, *rest = (tmp_path / "dev.csv").read_text().splitlines()
    lines = [f"{head},rung_drawn", f"{first},doubt", *(f"{one},random" for one in rest)]
    (tmp_path / "dev.csv").write_text("\n".join(lines))
    found, _, after = mended(task)
    assert [one.why for one in found.changes.values()] == ["chosen for training, so no dev row: move it to a train file"]
    assert len(load(after).dev or ()) == 29


def test_originals_and_earlier_copies_are_untouched(tmp_path: Path) -> None:
    train = rows("a", 40)
    task = write(tmp_path, {"train": [*train, train[0]], "dev": rows("b", 30), "test": rows("c", 30)})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    mended(task)
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    _, made, _ = mended(task)
    assert made.data == {"train": ("train.clean.2.csv",)}
    now = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert before.items() <= first.items() <= now.items()
    assert set(now) - set(first) == {"train.clean.2.csv", "fixed.2.csv"}


def test_a_copy_has_the_same_rows_and_columns(tmp_path: Path) -> None:
    write(tmp_path, {"dev": rows("b", 30), "test": rows("c", 30)}, data={"train": "train.jsonl"})
    odd = [
        {"text": f"t{i}\n{i}", "intent": LABELS[i % 3], "n": i / 3, "tags": ["x", {"y": None}], "s": "\u200b"} for i in range(40)
    ]
    lines = [json.dumps(row) for row in [*odd, odd[0]]]
    (tmp_path / "train.jsonl").write_text("\n".join(lines))
    _, made, _ = mended(load_task(tmp_path))
    assert made.data == {"train": ("train.clean.jsonl",)}
    assert [json.loads(line) for line in (tmp_path / "train.clean.jsonl").read_text().splitlines()] == odd


def test_a_folder_is_copied_whole(tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    shards = {"train-0": rows("a", 20), "train-1": [*rows("d", 20), rows("b", 1)[0]], "validation": rows("b", 30)}
    for name, some in (shards | {"test": rows("c", 30)}).items():
        lines = [json.dumps({"text": text, "intent": label}) + "\n" for text, label in some]
        (tmp_path / "hf" / f"{name}.jsonl").write_text("".join(lines))
    task = write(tmp_path, {}, data={"examples": "hf"})
    found, made, after = mended(task)
    assert list(found.changes) == ["hf/train-1.jsonl line 21"] and made.data == {"examples": ("hf.clean",)}
    assert {name: len(some) for name, some in inputs(after).items()} == {"train": 40, "dev": 30, "test": 30}


def test_a_workbook_becomes_a_csv(tmp_path: Path) -> None:
    pytest.importorskip("python_calamine")
    from test_workbook import book

    train = [list(row) for row in rows("a", 40)]
    book(tmp_path / "book.xlsx", **{"My rows": [["text", "intent"], *train, train[0]], "Other": [["a"], ["b"]]})
    task = write(tmp_path, {"dev": rows("b", 30), "test": rows("c", 30)}, data={"train": "book.xlsx#My rows"})
    _, made, after = mended(task)
    assert made.data == {"train": ("book.My_rows.clean.csv",)} and len(load(after).train) == 40


ROWS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(["x", "X", "y"])), min_size=1, max_size=12)


Some = list[tuple[str, str]]


@settings(max_examples=25)
@given(train=ROWS, dev=ROWS, test=ROWS)
def test_whatever_the_rows_nothing_is_in_two_splits(
    tmp_path_factory: pytest.TempPathFactory, train: Some, dev: Some, test: Some
) -> None:
    task = write(tmp_path_factory.mktemp("rows"), {"train": train, "dev": dev, "test": test})
    sources = read_sources(task)
    found = repair(sources, task, spellings(sources, task))
    left = [
        (source.split, one.found.input, found.changes[one.where].label if one.where in found.changes else one.found.output)
        for source in sources
        for one in source.rows
        if one.where not in found.changes or found.changes[one.where].did == "relabelled"
    ]
    texts = [text for _, text, _ in left]
    assert len(texts) == len(set(texts)), "each question is once, in one split, with one label"
    labels: dict[str, set[str]] = {}
    for text, label in (*train, *dev, *test):
        labels.setdefault(text, set()).add(label.casefold())
    assert set(texts) == {text for text, some in labels.items() if len(some) == 1}, "no question is lost but contradictory ones"


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_asks_says_and_leaves_the_exit_code_of_the_check(tmp_path: Path, home: Path) -> None:
    dev = rows("b", 30)
    train = [*rows("a", 60), *dev[:5], ("one more", "Refund"), ("and one", "order status")]
    write(tmp_path, {"train": train, "dev": dev, "test": rows("c", 30)})
    assert command("check", tmp_path).returncode == 1
    assert "--fix" in " ".join(command("check", tmp_path).stdout.split())
    done = command("check", tmp_path, "--fix", typed="\nwhat\ny\n")
    said = " ".join(done.stdout.split())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Join Refund (1 row) into refund (" in said and "Join order status (1 row) into order_status" in said
    assert "train.csv line 62 (train) asks the same as dev.csv line 2 (dev)" in said
    assert "5 removed, 2 relabelled" in said and "data: train: train.clean.csv" in said
    found = json.loads(command("check", tmp_path, "--fix", "--json").stdout)
    assert found["data"] == {"train": ["train.clean.2.csv"]} and found["blocking"] is False
    assert {one["did"] for one in found["changes"]} == {"removed"}, "without --yes nothing is joined unasked"
    found = json.loads(command("check", tmp_path, "--fix", "--yes", "--json").stdout)
    assert [one["did"] for one in found["changes"]].count("relabelled") == 2
    assert command("check", tmp_path, "--yes").returncode == 2


def test_nothing_to_mend_writes_nothing(tmp_path: Path, home: Path) -> None:
    write(tmp_path, {"train": rows("a", 60), "dev": rows("b", 30), "test": rows("c", 30)})
    before = {path.name for path in tmp_path.iterdir()}
    assert "no file was written" in command("check", tmp_path, "--fix").stdout
    assert {path.name for path in tmp_path.iterdir()} - before <= {".rung"}
