"""Rows that people marked: read as the judge takes them, faults named, and whether so many could show anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from rung.data.marked import findings, load
from rung.errors import DataError
from rung.metrics.judge import JudgedAnswer, Pair, Pairwise, Rubric

PAIRS = Pairwise(lambda chats, options: [], "m", "Better.")
MARKS = Rubric(lambda chats, options: [], "m", "Good.")


def write(folder: Path, text: str) -> Path:
    (folder / "marked.csv").write_text(text, encoding="utf-8")
    return folder


def test_pairs_and_marks_are_read(tmp_path: Path) -> None:
    write(tmp_path, "input,first,second,better\nq,a,b,2\nq,a,b,Tie\n")
    assert load(tmp_path, ["marked.csv"], PAIRS) == ((Pair("q", "a", "b"), "second"), (Pair("q", "a", "b"), "tie"))
    write(tmp_path, "input,output,reference,mark\nq,a,right,5\nq,a,,1.0\n")
    assert load(tmp_path, ["marked.csv"], MARKS) == ((JudgedAnswer("q", "a", "right"), "5"), (JudgedAnswer("q", "a"), "1"))
    assert load(tmp_path, [], MARKS) == ()


@pytest.mark.parametrize(
    ("text", "judge", "told"),
    [
        ("input,first,second\nq,a,b\n", PAIRS, "no column 'better'"),
        ("input,first,second,better\nq,a,b,both\n", PAIRS, "line 2: better is 'both'"),
        ("input,output,mark\nq,a,3\n", MARKS, "no column 'reference'"),
        ("input,output,reference,mark\nq,a,r,6\nq,a,r,x\n", MARKS, "2 rows are unusable"),
    ],
)
def test_faults_are_named(tmp_path: Path, text: str, judge: Pairwise | Rubric, told: str) -> None:
    with pytest.raises(DataError, match=told):
        load(write(tmp_path, text), ["marked.csv"], judge)


def test_too_few_rows_are_told_before_the_judge_is_asked() -> None:
    def found(rows: int, marks: str = "15") -> list[str]:
        return [one.code for one in findings([(JudgedAnswer("q", "a"), marks[i % len(marks)]) for i in range(rows)], MARKS, 0.4)]

    assert found(0) == found(3) == ["judge-unproven"]
    assert found(60) == []
    assert found(60, "3") == ["judge-unproven"], "one mark throughout says nothing"
