"""Human marks for checking an LLM judge: an answer with a mark, or two answers and which is better."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rung.data.files import read_rows
from rung.data.finding import Finding
from rung.data.formats import text_of
from rung.data.rows import Row, combine, quoted
from rung.data.spelling import key
from rung.errors import DataError
from rung.metrics.agreement import MIN_KAPPA, kappa
from rung.metrics.judge import Judge, JudgedAnswer, Pair

Marked = tuple[Pair | JudgedAnswer, str]
"""A row in the judge's form, and the human mark."""

PAIR = ("input", "first", "second", "better")
ANSWER = ("input", "output", "reference", "mark")
BETTER = {"first": "first", "1": "first", "second": "second", "2": "second", "tie": "tie", "0": "tie"}


def load(folder: Path, given: Iterable[str], judge: Judge) -> tuple[Marked, ...]:
    """All rows of the files named in rung.yaml, relative to `folder`.

    A pairwise judge needs the columns input, first, second, better (first, second or tie); a rubric judge input, output,
    reference and mark. The reference may be empty. DataError names file, line, value and remedy; several bad rows are one error.
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
            raise combine(faults, label)
    return tuple(out)


def findings(marked: Sequence[Marked], judge: Judge, at_least: float = MIN_KAPPA) -> tuple[Finding, ...]:
    """Whether enough rows are marked to show agreement, before the judge is called."""
    people = [mark for _, mark in marked]
    if people and kappa(people, people, judge.marks, ordered=judge.ordered).low >= at_least:
        return ()
    few = f"{len(people)} rows are marked by people: even perfect agreement would not show a kappa of {at_least:g}."
    return (
        Finding(
            "judge-unproven",
            "warn",
            few if people else "no rows are marked by people, so the judge cannot decide anything.",
            "Mark more and varied answers, and name the file under judge.marked. Until then a climb stays undecided.",
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
    return JudgedAnswer(asked, output, reference), mark


def _cells(row: Row, columns: Sequence[str], where: str) -> list[str]:
    missing = [column for column in columns if column not in row]
    if missing:
        raise DataError(
            f"there is no column {missing[0]!r}; the columns are {', '.join(map(repr, row))}.",
            where=where,
            remedy=f"Name the columns {', '.join(columns)}.",
        )
    return [_text(row[column], where) for column in columns]


def _text(value: Any, where: str) -> str:
    return text_of(value, where).strip()
