"""Answers that people marked, for a judge to be held to: one answer with a mark, or two and which is better."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rung.data.files import read_rows
from rung.data.finding import Finding
from rung.data.formats import text_of
from rung.data.rows import Row, quoted, together
from rung.data.spelling import key
from rung.errors import DataError
from rung.metrics.judge import AT_LEAST, Answered, Judge, Pair, kappa

Marked = tuple[Pair | Answered, str]
"""A row as the judge takes it, and people's mark."""

PAIR = ("input", "first", "second", "better")
ANSWER = ("input", "output", "reference", "mark")
BETTER = {"first": "first", "1": "first", "second": "second", "2": "second", "tie": "tie", "0": "tie"}


def load(folder: Path, given: Iterable[str], judge: Judge) -> tuple[Marked, ...]:
    """All rows of the files that paths of rung.yaml name, relative to `folder`.

    For a judge of pairs the columns are input, first, second, better (first, second or tie); for one with a rubric input,
    output, reference and mark. The right answer is shown to the judge with every row of the task, so people's rows have it
    too; a cell may be empty. DataError names file, line, value and remedy; several bad rows come in one error.
    """
    out: list[Marked] = []
    for label in given:
        faults: list[DataError] = []
        for row, where in read_rows(folder / label, label):
            try:
                out.append(_answered(row, judge.marks, where) if judge.ordered else _pair(row, where))
            except DataError as fault:
                faults.append(fault)
        if faults:
            raise together(faults, label)
    return tuple(out)


def findings(marked: Sequence[Marked], judge: Judge, at_least: float = AT_LEAST) -> tuple[Finding, ...]:
    """Whether so many rows can show that the judge agrees with people, before it is asked anything."""
    people = [mark for _, mark in marked]
    if people and kappa(people, people, judge.marks, ordered=judge.ordered).low >= at_least:
        return ()
    few = f"{len(people)} rows are marked by people: not even a judge that agrees on each would be shown to reach {at_least:g}."
    return (
        Finding(
            "judge-unproven",
            "warn",
            few if people else "no rows are marked by people, so the judge may decide nothing.",
            "Mark more answers, of several sorts, and name the file under judge.marked. The climb scores and stays undecided.",
            count=len(people),
        ),
    )


def _pair(row: Row, where: str) -> Marked:
    asked, first, second, better = _cells(row, PAIR, where)
    mark = BETTER.get(key(better))
    if mark is None:
        raise DataError(f"better is {quoted(row['better'])}.", where=where, remedy="Write first, second or tie.")
    return Pair(asked, first, second), mark


def _answered(row: Row, marks: Sequence[str], where: str) -> Marked:
    asked, output, reference, mark = _cells(row, ANSWER, where)
    mark = key(mark)  # 4.0, as data frames write whole numbers
    if mark not in marks:
        raise DataError(f"the mark is {quoted(row['mark'])}.", where=where, remedy=f"Write one of {', '.join(marks)}.")
    return Answered(asked, output, reference), mark


def _cells(row: Row, columns: Sequence[str], where: str) -> list[str]:
    missing = [column for column in columns if column not in row]
    if missing:
        raise DataError(
            f"there is no column {missing[0]!r}; here are {', '.join(map(repr, row))}.",
            where=where,
            remedy=f"Name the columns {', '.join(columns)}.",
        )
    return [_text(row[column], where) for column in columns]


def _text(value: Any, where: str) -> str:
    return text_of(value, where).strip()
