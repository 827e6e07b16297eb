"""Shared parts of the file readers: raw rows with locations, quoting of values, and combined errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rung.errors import DataError

Row = Mapping[str, Any]
Rows = Iterator[tuple[Row, str]]

MAX_LISTED = 10
"""Kinds of error listed in one message; equal errors count once."""
MAX_FAULTS = 1000
"""Reading stops after this many faulty rows."""
MAX_PLACES = 10


class Faults(DataError):
    """Several errors in one, listed in `faults`."""

    def __init__(self, faults: Sequence[DataError], what: str, where: str):
        self.faults = tuple(faults)
        super().__init__(what, where=where)


def combine(faults: Iterable[DataError], label: str) -> DataError:
    """Combine row errors into one; equal ones are listed once, with their locations."""
    each = [one for fault in faults for one in (fault.faults if isinstance(fault, Faults) else (fault,))]
    if len(each) == 1:
        return each[0]
    alike: dict[tuple[str, str], list[str]] = {}
    for one in each:
        alike.setdefault((one.what, one.remedy), []).append(one.where)
    listed = [_listed(what, remedy, places) for (what, remedy), places in alike.items()]
    if len(listed) > MAX_LISTED:
        rest = sum(len(places) for places in list(alike.values())[MAX_LISTED:])
        listed[MAX_LISTED:] = [f"and {rest} more of other kinds."]
    number = f"{len(each)} or more" if len(each) >= MAX_FAULTS else str(len(each))
    return Faults(each, f"{number} rows are unusable.{''.join(f'{chr(10)}  {line}' for line in listed)}", label)


def _listed(what: str, remedy: str, places: Sequence[str]) -> str:
    if len(places) == 1:
        return str(DataError(what, where=places[0], remedy=remedy))
    more = f" and {len(places) - MAX_PLACES} more" if len(places) > MAX_PLACES else ""
    return f"{what} {remedy} ({len(places)} rows: {_places(places[:MAX_PLACES])}{more})"


def file_of(place: str) -> str:
    """The file of a location: `a.csv` of `a.csv line 2`."""
    return re.sub(r" (?:line|row|item) \d+.*", "", place)


def _places(places: Sequence[str]) -> str:
    """`a.csv line 2, 5, 9; b.csv line 3`: common prefixes are written once."""
    out: list[str] = []
    before = ""
    for place in places:
        front, _, number = place.rpartition(" ")
        out.append(f", {number}" if out and front and front == before else f"{'; ' * bool(out)}{place}")
        before = front
    return "".join(out)


def quoted(value: Any, longest: int = 60) -> str:
    """A value quoted for messages, cut if long."""
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}…"


INVISIBLE = str.maketrans(dict.fromkeys("\u200b\u2060\ufeff\u00ad\u180e", ""))
"""Invisible characters: zero-width spaces and soft hyphens, but not joiners, which some scripts need."""


def clean_cell(text: str) -> str:
    """A text without invisible characters, with whitespace collapsed and stripped."""
    return " ".join(text.translate(INVISIBLE).split())


def header(cells: Sequence[str], where: str) -> list[str]:
    """Cleaned column names. DataError for duplicates."""
    names = [clean_cell(cell) for cell in cells]
    refuse_repeated(names, where)
    return names


def refuse_repeated(names: Sequence[str], where: str) -> None:
    """DataError if two columns have the same name. Several unnamed columns are allowed."""
    if len(set(names)) == len(names):
        return
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise DataError(
            f"the column {twice!r} occurs {'twice' if names.count(twice) == 2 else f'{names.count(twice)} times'}.",
            where=where,
            remedy="Rename or delete all but one.",
        )


def repeats_header(row: Row) -> bool:
    """Whether each value equals its column name: a sign of concatenated files."""
    return len(row) > 1 and all(isinstance(value, str) and _same(value, name) for name, value in row.items())


def _same(value: str, name: str) -> bool:
    return value == name or (len(value) < 2 * len(name) + 8 and clean_cell(value).casefold() == clean_cell(name).casefold())


def repeated_header(where: str) -> DataError:
    """The error for a header among the rows."""
    return DataError(
        "the header occurs again among the rows.",
        where=where,
        remedy="Delete the line; files were concatenated with their headers.",
    )
