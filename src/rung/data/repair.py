"""What is to be done with each row so that the check has nothing to block: decided here, written by `cleaned`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from rung.data.drawn import is_chosen
from rung.data.load import DataFile, RawRow, data_files, read_file
from rung.data.rows import quoted
from rung.data.spelling import Variant, join_groups, variants
from rung.data.split import question, split
from rung.errors import DataError
from rung.task import Task
from rung.types import Example, Split

MOST_REMOVED = 0.5
"""Groups in several splits are not taken out of train if that would take more than this share of it."""


@dataclass(frozen=True, slots=True)
class Change:
    """What is done with one row, and why."""

    where: str
    split: str
    """Empty for a row that could not be read."""
    did: Literal["removed", "set aside", "relabelled"]
    why: str
    label: str = ""
    """The new label of a relabelled row."""


@dataclass(frozen=True, slots=True)
class Source:
    """One data file with its rows."""

    file: DataFile
    split: Split
    rows: tuple[RawRow, ...]


@dataclass(frozen=True, slots=True)
class Repair:
    """All changes, by the row's location, in the order of the files."""

    changes: Mapping[str, Change]
    notes: tuple[str, ...] = ()
    """What was left as it is, and why."""


def read_sources(task: Task) -> tuple[Source, ...]:
    """All rows of the task, unusable ones included. DataError where a file, or the cells of a row, cannot be read."""
    found = [(name, file) for name, some in data_files(task).items() for file in some]
    counts = Counter(file.path.resolve() for _, file in found)
    for _, file in found:
        if counts[file.path.resolve()] > 1:
            raise DataError("rung.yaml names the file more than once.", where=file.label, remedy="Name it once.")
    return tuple(Source(file, name, tuple(read_file(file, task))) for name, file in found)


def spellings(sources: Sequence[Source], task: Task) -> list[Variant]:
    """Spellings of labels that may be joined."""
    if task.kind != "classify" or task.multilabel:  # a cell with several labels is joined when it is read
        return []
    counts = Counter(one.found.output for one in _labelled(sources) if isinstance(one.found, Example))
    return variants(counts, task.labels)


def repair(sources: Sequence[Source], task: Task, joined: Sequence[Variant] = ()) -> Repair:
    """Decide what to do with every row. `joined`: the spellings to join.

    In this order: unusable rows are set aside; labels joined; questions with several labels set aside; what is in dev or test
    taken out of train, and what is in test out of dev; repeats within a split removed but for the first.
    """
    changes: dict[str, Change] = {}
    notes: list[str] = []
    to = _targets(joined)
    rows: dict[Split, list[Example]] = {"train": [], "dev": [], "test": []}
    for source in sources:
        for one in source.rows:
            if isinstance(one.found, DataError):
                changes[one.where] = Change(one.where, "", "set aside", f"unusable: {one.found.what}")
            elif source.split != "train" and is_chosen(one.found):
                why = f"chosen for training, so no {source.split} row: move it to a train file"
                changes[one.where] = Change(one.where, source.split, "set aside", why)
            else:
                rows[source.split].append(one.found)
    parts = _split(rows, sources, task, to)
    writable = {one.where for one in _labelled(sources)}
    for name, some in parts.items():
        for row, before in some:
            if row.output != before and row.where in writable:
                why = f"the label {quoted(before)} is a spelling of {quoted(row.output)}"
                changes[row.where] = Change(row.where, name, "relabelled", why, row.output)
    left = {name: [row for row, _ in some] for name, some in parts.items()}
    if task.kind == "classify":
        left = _apply(left, _contradictions(left), changes)
    left = _apply(left, _leaks(left), changes)
    left = _apply(left, _divided_groups(left, notes), changes)
    _apply(left, _repeats(left), changes)
    order = {one.where: i for i, one in enumerate(one for source in sources for one in source.rows)}
    return Repair({where: changes[where] for where in sorted(changes, key=lambda where: order[where])}, tuple(notes))


def _labelled(sources: Sequence[Source]) -> Iterator[RawRow]:
    """Rows whose label is a cell, and not a message of a conversation."""
    return (one for source in sources for one in source.rows if one.form.output)


def _targets(joined: Sequence[Variant]) -> dict[str, str]:
    """Each spelling to join with its final label."""
    to = {one.label: one.into for one in joined}
    return {label: to.get(into, into) for label, into in to.items()}


Parts = dict[Split, list[Example]]


def _split(rows: Parts, sources: Sequence[Source], task: Task, to: Mapping[str, str]) -> dict[Split, list[tuple[Example, str]]]:
    """The rows by split with the labels joined, each with its label as written."""
    own = {source.split for source in sources}
    written = {row.where: row.output for some in rows.values() for row in some}
    joined = [tuple(replace(row, output=to.get(row.output, row.output)) for row in some) for some in rows.values()]
    (train, dev, test), _ = join_groups(joined)
    shares = task.data.split
    found = split(
        train or (),
        dev=0.0 if "dev" in own else shares.dev,
        test=0.0 if "test" in own else shares.test,
        seed=task.seed,
        given_dev=dev or (),
        given_test=test or (),
    )
    named: tuple[tuple[Split, Sequence[Example]], ...] = (
        ("train", found.train),
        ("dev", found.dev),
        ("test", found.test.open()),
    )
    return {name: [(row, written[row.where]) for row in some] for name, some in named}


def _apply(parts: Parts, found: Iterator[Change], changes: dict[str, Change]) -> Parts:
    """Note the changes, and return the rows that they leave."""
    new = {change.where: change for change in found}
    changes |= new
    return {name: [row for row in rows if row.where not in new] for name, rows in parts.items()}


def _contradictions(parts: Parts) -> Iterator[Change]:
    by: dict[str, dict[str, Example]] = {}
    asked = {row.where: question(row) for rows in parts.values() for row in rows}
    for rows in parts.values():
        for row in rows:
            by.setdefault(asked[row.where], {}).setdefault(row.output, row)
    for name, rows in parts.items():
        for row in rows:
            labels = by[asked[row.where]]
            if len(labels) > 1:
                others = ", ".join(one.where for label, one in labels.items() if label != row.output)
                yield Change(row.where, name, "set aside", f"the same question has another label at {others}")


def _leaks(parts: Parts) -> Iterator[Change]:
    held: dict[str, tuple[Split, Example]] = {}
    for name in ("test", "dev", "train"):
        for row in parts[name]:
            first = held.setdefault(question(row), (name, row))
            if first[0] != name:
                yield Change(row.where, name, "removed", f"asks the same as {first[1].where} ({first[0]})")


def _divided_groups(parts: Parts, notes: list[str]) -> Iterator[Change]:
    """Rows of groups that are in a later split too, out of train first."""
    held: dict[str, Split] = {}
    for name in ("test", "dev", "train"):
        rows = parts[name]
        divided = [row for row in rows if row.group and held.get(row.group, name) != name]
        if divided and len(divided) > MOST_REMOVED * len(rows):
            notes.append(
                f"{len(divided)} of {len(rows)} {name} rows are of groups that other splits have too. They were left: give all"
                " rows under data.examples, and whole groups are put into one split."
            )
            divided = []
        yield from (
            Change(row.where, name, "removed", f"its group {quoted(row.group)} is in {held[row.group]} too") for row in divided
        )
        held |= {row.group: name for row in rows if row.group and row.group not in held}


def _repeats(parts: Parts) -> Iterator[Change]:
    for name, rows in parts.items():
        first: dict[tuple[str, str], Example] = {}
        for row in rows:
            one = first.setdefault((question(row), row.output), row)
            if one is not row:
                yield Change(row.where, name, "removed", f"repeats {one.where}")
