"""Answers to a file of rows: each row with its answer in added columns, written as rows are answered."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from rung.data.files import Row, read_rows
from rung.data.formats import column_of
from rung.errors import DataError
from rung.evaluate.predict import chunk_rows
from rung.lm.engines import Engines
from rung.predictor import Predictor
from rung.retrieve.store import Allow
from rung.types import Example, Prediction

COLUMNS = ("answer", "confidence", "error", "abstained")
"""Columns added to the row's own; confidence is empty if the model reports none."""
GUESS = "guess"
"""Added where a Predictor may be not sure: its likeliest answer, if `answer` is empty for that."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """Counts of a finished file."""

    rows: int
    failed: int
    """Rows whose `error` says why they have no answer."""


def answer_rows(
    predictor: Predictor,
    engines: Engines,
    rows: Path,
    to: TextIO,
    form: str,
    column: str,
    allow: Allow = Allow(),
    progress: Callable[[int], None] = lambda done: None,
) -> BatchResult:
    """Answer the `column` of every row of a file, and write the rows with their answers as `form`: csv or jsonl.

    DataError if the column is missing or one to be added exists; rows answered before stay written.
    """
    done = failed = 0
    columns = (*COLUMNS, GUESS) if predictor.threshold else COLUMNS
    put = _csv(to) if form == "csv" else _jsonl(to)
    left = read_rows(rows, str(rows))
    while part := list(islice(left, chunk_rows(predictor, engines))):
        asked = [Example(_input(row, column, columns, where), "", where=where) for row, where in part]
        found = predictor.predict(asked, engines, allow=allow)
        put([_beside(row, one, columns) for (row, _), one in zip(part, found)])
        done, failed = done + len(part), failed + sum(bool(one.error) for one in found)
        progress(done)
    if not done:
        raise DataError("there are no rows.", where=str(rows), remedy="Give a file with at least one row.")
    return BatchResult(done, failed)


def _input(row: Row, column: str, columns: Sequence[str], where: str) -> str:
    if taken := [name for name in columns if name in row]:
        raise DataError(f"the column {taken[0]!r} exists already.", where=where, remedy="Rename it.")
    return column_of(row, column, where)


def _beside(row: Row, found: Prediction, columns: Sequence[str]) -> dict[str, Any]:
    added = (found.output, found.confidence, found.error, found.abstained, found.guess)
    return {**row, **dict(zip(columns, added))}


def _csv(to: TextIO) -> Callable[[Sequence[dict[str, Any]]], None]:
    writer: csv.DictWriter | None = None

    def put(rows: Sequence[dict[str, Any]]) -> None:
        nonlocal writer
        if writer is None:
            writer = csv.DictWriter(to, list(rows[0]), extrasaction="ignore")  # rows of JSON may differ in their columns
            writer.writeheader()
        writer.writerows(rows)
        to.flush()

    return put


def _jsonl(to: TextIO) -> Callable[[Iterable[dict[str, Any]]], None]:
    def put(rows: Iterable[dict[str, Any]]) -> None:
        to.writelines(_lines(rows))
        to.flush()

    return put


def _lines(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    for row in rows:
        yield json.dumps(row, ensure_ascii=False, default=str) + "\n"
