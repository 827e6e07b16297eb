"""Labels that are one: which spellings are joined, which are asked about, what the task's own list holds apart."""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.data.check import check
from rung.data.finding import Finding
from rung.data.load import load
from rung.data.spelling import alike_findings, is_missing, join_groups, join_labels, key, match_label
from rung.data.split import make_splits
from rung.errors import DataError
from rung.task import load_task
from rung.types import Example


def labelled(*labels: str) -> tuple[Example, ...]:
    return tuple(Example(f"text {i}", label, where=f"t.csv line {i + 2}") for i, label in enumerate(labels))


def joined(*labels: str, given: list[str] | None = None) -> list[str]:
    (rows,), _ = join_labels([labelled(*labels)], given)
    assert rows is not None
    return [row.output for row in rows]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("wifi", "WIFI"),
        ("wifi", "wifi\u200b"),
        ("wifi", "\ufeffwifi"),
        ("wifi", "wi\u00adfi"),
        ("wifi", "wifi\u200d"),
        ("card lost", "card\u00a0lost"),
        ("card lost", "card\u202flost"),
        ("card lost", "card  lost"),
        ("wifi", "wifi."),
        ("退款", "退款。"),
        ("1", "1.0"),
        ("-1", "-1.00"),
        ("1", "１"),
        ("true", "True"),
        ("TRUE", "true"),
        ("straße", "STRASSE"),
        ("é", "e\u0301"),
        ("ﬁne", "fine"),
    ],
)
def test_spellings_of_one_label(one: str, other: str) -> None:
    assert key(one) == key(other)
    assert len(set(joined(one, one, other))) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("C", "C++"),
        ("+", "-"),
        ("1", "-1"),
        ("+1", "-1"),
        ("1.1", "1.10"),
        ("1", "01"),
        ("1", "10"),
        ("2.5", "2"),
        ("yes", "no"),
        ("yes", "yes!"),
        (".", ","),
        ("1", "true"),
        ("<5", ">5"),
        ("a/b", "ab"),
        ("n/a", "na"),
        ("résumé", "resume"),
    ],
)
def test_labels_that_are_two(one: str, other: str) -> None:
    assert key(one) != key(other)
    assert joined(one, one, other) == [one, one, other]


def test_the_commonest_spelling_holds_without_invisible_signs() -> None:
    assert joined("Wifi\u200b", "Wifi\u200b", "Wifi", "wifi", "wifi") == ["Wifi"] * 5
    assert joined("2.0", "2.0", "2") == ["2"] * 3
    assert joined("2.0", "1.0") == ["2.0", "1.0"]  # a single spelling stays as it is written
    assert joined("b", "B") == ["B", "B"]  # of equally common ones the first, so that order does not matter


def test_the_tasks_own_labels_hold() -> None:
    assert joined("us", "US", "Us", given=["us", "them"]) == ["us"] * 3
    assert joined("us", "US", given=["us", "US"]) == ["us", "US"]
    assert match_label("Us", ["us", "US"]) is None and match_label("them", ["us"]) is None


def test_all_splits_share_one_spelling() -> None:
    (train, dev, test), found = join_labels([labelled("a", "a"), labelled("A"), None], None)
    assert train is not None and dev is not None and test is None
    assert [row.output for row in (*train, *dev)] == ["a"] * 3
    assert found[0].count == 1 and found[0].where == ("t.csv line 2",) and "'a' (also 'A' 1)" in found[0].what


@given(st.text(max_size=12))
def test_a_key_has_itself_as_key(label: str) -> None:
    assert key(key(label)) == key(label) or unicodedata.normalize("NFKC", label) != label


@given(st.lists(st.sampled_from(["a", "A", "a.", "a\u200b", "b", "1", "1.0", "B "]), min_size=1))
def test_joined_once_is_joined(labels: list[str]) -> None:
    once = joined(*labels)
    assert joined(*once) == once
    assert [key(label) for label in once] == [key(label) for label in labels]
    assert sorted(once) == sorted(joined(*reversed(labels)))


def test_groups_are_joined_but_for_case() -> None:
    rows = tuple(Example("q", "a", group=name) for name in ("7", "7.0", "7 ", "A1", "a1", ""))
    (out,), found = join_groups([rows])
    assert out is not None and [row.group for row in out] == ["7", "7", "7", "A1", "a1", ""]
    assert found[0].count == 2
    alone = tuple(Example("q", "a", group="7.0") for _ in range(2))
    assert join_groups([alone]) == ([alone], ())  # a single spelling stays, and so does the place in the splits


@pytest.mark.parametrize("label", ["nan", "NaN", "<NA>", "NaT", " nan "])
def test_what_data_frames_write_for_nothing(label: str) -> None:
    assert is_missing(label)


@pytest.mark.parametrize("label", ["NA", "none", "null", "naan", "n/a", "na"])
def test_words_that_may_be_labels(label: str) -> None:
    assert not is_missing(label)


# As a user sees it


def task_of(folder: Path, content: str, name: str = "t.csv", **more: object) -> Path:
    (folder / name).write_text(content, encoding="utf-8")
    raw = {"task": "t", "kind": "classify", "data": {"examples": name}, "goal": {"at_least": 0.5}, **more}
    (folder / "rung.yaml").write_text(json.dumps(raw))
    return folder


def findings(folder: Path) -> dict[str, Finding]:
    task = load_task(folder)
    return {one.code: one for one in check(make_splits(task), task)}


def test_check_says_what_was_joined(tmp_path: Path) -> None:
    lines = "".join(f"question {i},{'Wifi' if i % 10 else 'WIFI'}\nother {i},desk\n" for i in range(60))
    found = findings(task_of(tmp_path, f"input,output\n{lines}"))["labels-joined"]
    assert found.severity == "warn" and found.count == 6
    assert found.where[:2] == ("t.csv line 2", "t.csv line 22") and "'Wifi' (also 'WIFI' 6)" in found.what


@pytest.mark.parametrize("value", ["NaN", "null", '"nan"', '"<NA>"', '""'])
def test_a_missing_label_is_told_by_line(tmp_path: Path, value: str) -> None:
    rows = f'{{"input": "a", "output": "x"}}\n{{"input": "b", "output": {value}}}\n'
    with pytest.raises(DataError, match=r"^t.jsonl line 2: the output is "):
        load(load_task(task_of(tmp_path, rows, "t.jsonl")))


def test_nan_may_be_a_label_of_the_task(tmp_path: Path) -> None:
    task = load_task(task_of(tmp_path, "input,output\na,nan\nb,naan\n", labels=["nan", "naan"]))
    assert [row.output for row in load(task).train] == ["nan", "naan"]


def test_labels_that_may_be_one_are_asked_about() -> None:
    counts = Counter({"card_lost": 20, "card lost": 5, "refund": 40, "refnud": 1, "type 1": 30, "type 2": 1, "C": 9, "C++": 9})
    (found,) = alike_findings(counts)
    assert found.count == 2 and "'card_lost' (20) and 'card lost' (5); 'refund' (40) and 'refnud' (1)" in found.what
    assert not list(alike_findings(Counter({"+1": 5, "-1": 5, "C": 5, "C++": 5, "positive": 20, "negative": 20})))
