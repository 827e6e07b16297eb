"""What readers of data files give: raw rows with their places; how messages quote a value; several faults as one error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rung.errors import DataError

Row = Mapping[str, Any]
Rows = Iterator[tuple[Row, str]]

FAULTS_TOLD = 10
"""Kinds of fault that one error lists; equal faults count as one kind."""
FAULTS_READ = 1000
"""A file with so many faulty rows is not read further."""
PLACES_TOLD = 10


class Faults(DataError):
    """Several faults in one error. `faults` holds each."""

    def __init__(self, faults: Sequence[DataError], what: str, where: str):
        self.faults = tuple(faults)
        super().__init__(what, where=where)


def together(faults: Iterable[DataError], label: str) -> DataError:
    """The faults of the rows of one file (or of several) as one error. Equal ones are listed once, with their places."""
    each = [one for fault in faults for one in (fault.faults if isinstance(fault, Faults) else (fault,))]
    if len(each) == 1:
        return each[0]
    alike: dict[tuple[str, str], list[str]] = {}
    for one in each:
        alike.setdefault((one.what, one.remedy), []).append(one.where)
    listed = [_listed(what, remedy, places) for (what, remedy), places in alike.items()]
    if len(listed) > FAULTS_TOLD:
        rest = sum(len(places) for places in list(alike.values())[FAULTS_TOLD:])
        listed[FAULTS_TOLD:] = [f"and {rest} more of other kinds."]
    number = f"{len(each)} or more" if len(each) >= FAULTS_READ else str(len(each))
    return Faults(each, f"{number} rows cannot be used.{''.join(f'{chr(10)}  {line}' for line in listed)}", label)


def _listed(what: str, remedy: str, places: Sequence[str]) -> str:
    if len(places) == 1:
        return str(DataError(what, where=places[0], remedy=remedy))
    more = f" and {len(places) - PLACES_TOLD} more" if len(places) > PLACES_TOLD else ""
    return f"{what} {remedy} ({len(places)} rows: {_places(places[:PLACES_TOLD])}{more})"


def _places(places: Sequence[str]) -> str:
    """`a.csv line 2, 5, 9; b.csv line 3`: what neighbours share is written once."""
    out: list[str] = []
    before = ""
    for place in places:
        front, _, number = place.rpartition(" ")
        out.append(f", {number}" if out and front and front == before else f"{'; ' * bool(out)}{place}")
        before = front
    return "".join(out)


def quoted(value: Any, longest: int = 60) -> str:
    """A value as messages quote it, cut where it is long."""
    text = repr(value)
    return text if len(text) <= longest else f"{text[:longest]}…"


INVISIBLE = str.maketrans(dict.fromkeys("\u200b\u2060\ufeff\u00ad\u180e", ""))
"""Signs that nobody sees: zero-width blanks and soft hyphens. Joiners are not among them: some scripts are written with them."""


def visible(text: str) -> str:
    """A text without invisible signs, each run of blanks (no-break ones too) one blank, none at the ends."""
    return " ".join(text.translate(INVISIBLE).split())


def header(cells: Sequence[str], where: str) -> list[str]:
    """Column names without blanks around them and invisible signs. DataError where one stands twice."""
    names = [visible(cell) for cell in cells]
    refuse_repeated(names, where)
    return names


def refuse_repeated(names: Sequence[str], where: str) -> None:
    """DataError where two columns have one name: only one of them could be read. Columns without a name may be several."""
    if len(set(names)) == len(names):
        return
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise DataError(
            f"the column {twice!r} stands there {'twice' if names.count(twice) == 2 else f'{names.count(twice)} times'}.",
            where=where,
            remedy="Rename or delete all but one.",
        )


def repeats_header(row: Row) -> bool:
    """Whether each value is the name of its column: files were put together with their headers."""
    return len(row) > 1 and all(isinstance(value, str) and _same(value, name) for name, value in row.items())


def _same(value: str, name: str) -> bool:
    return value == name or (len(value) < 2 * len(name) + 8 and visible(value).casefold() == visible(name).casefold())


def header_again(where: str) -> DataError:
    """The fault of a header that stands among the rows."""
    return DataError(
        "the header stands among the rows again.",
        where=where,
        remedy="Delete the line; files were put together with their headers.",
    )
