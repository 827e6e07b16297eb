"""Inputs without an answer, for a teacher to label: a column of a table, or the lines of a text file."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rung.data.files import lines, read_rows
from rung.data.formats import column_of
from rung.data.split import normalise

Row = Mapping[str, Any]


def load(
    folder: Path, given: Iterable[str], column: str, known: Collection[str] = (), keep: Callable[[Row], bool] = lambda row: True
) -> tuple[str, ...]:
    """Distinct inputs of the files, in order; `keep`: whether a table row may be used for training.

    Inputs of labelled rows (`known`) are skipped, so that nothing from dev or test is trained on.
    DataError for a missing column.
    """
    seen = {normalise(text) for text in known}
    out = []
    for label in given:
        for text in _texts(folder / label, label, column, keep):
            if text.strip() and (name := normalise(text)) not in seen:
                seen.add(name)
                out.append(text.strip())
    return tuple(out)


def _texts(path: Path, label: str, column: str, keep: Callable[[Row], bool]) -> Iterator[str]:
    if path.suffix.lower() == ".txt":
        yield from lines(path, label)
        return
    for row, where in read_rows(path, label):
        text = column_of(row, column, where)
        if keep(row):
            yield text
