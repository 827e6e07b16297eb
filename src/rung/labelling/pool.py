"""The pool: inputs without an answer that may be labelled, each with the split that it would be in."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rung.data.files import lines, read_rows
from rung.data.formats import column_of, refuse_surrogates, text_of
from rung.data.load import Loaded, load
from rung.data.split import home, question, shares
from rung.errors import DataError, TaskError
from rung.labelling.sheet import Sheet
from rung.task import Task
from rung.types import Example, Split

SPLITS: tuple[Split, ...] = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class Held:
    """What the task has already: its labelled rows, also those of labelled files that rung.yaml does not name yet."""

    loaded: Loaded
    dev: float
    """Share that is taken from the train rows as dev; 0 if dev has its own files."""
    test: float
    questions: frozenset[str]
    groups: Mapping[str, frozenset[Split]] = field(hash=False)
    """Groups with the splits that they are in."""
    rows: tuple[tuple[Example, Split], ...] = ()
    """All of them once, with their splits."""

    @property
    def sizes(self) -> Mapping[Split, int]:
        """Rows of each split."""
        return Counter(split for _, split in self.rows)

    @property
    def whole(self) -> bool:
        """Whether all splits are taken from one set of rows, so that a row's hash says its split."""
        return bool(self.dev and self.test)

    def home(self, row: Example, seed: int) -> Split:
        return home(row, self.dev, self.test, seed)


def held(task: Task, sheets: Iterable[Sheet]) -> Held:
    """Read the task's rows and the labelled files. DataError as for a climb."""
    loaded = load(task)
    dev, test = shares(task, loaded)
    found: list[tuple[Example, Split]] = [(row, home(row, dev, test, task.seed)) for row in loaded.train]
    found += [(row, "dev") for row in loaded.dev or ()]
    found += [(row, "test") for row in loaded.test or ()]
    known = {question(row) for row, _ in found}
    for sheet in sheets:
        new = [row for row in sheet.rows() if question(row) not in known]
        found += [(row, sheet.split or home(row, dev, test, task.seed)) for row in new]
        known |= {question(row) for row in new}
    groups: dict[str, set[Split]] = {}
    for row, split in found:
        if row.group:
            groups.setdefault(row.group, set()).add(split)
    return Held(loaded, dev, test, frozenset(known), {name: frozenset(some) for name, some in groups.items()}, tuple(found))


def read_pool(task: Task, given: Sequence[tuple[Path, str]], known: Collection[str]) -> tuple[Example, ...]:
    """Distinct inputs of the files, in order, without those whose question is in `known`. The output of each is empty.

    `given`: path and name of each file, a table with the column `data.input` or a text file with one input a line.
    DataError for a missing column or an input that no CSV can hold.
    """
    seen = set(known)
    out = []
    for path, label in given:
        for row in _rows(path, label, task):
            if row.input and (name := question(row)) not in seen:
                seen.add(name)
                out.append(row)
    return tuple(out)


def sources(task: Task, named: Path | None) -> tuple[tuple[Path, str], ...]:
    """The files of the pool: the one named, else those of `data.unlabelled`. TaskError if there is none."""
    if named:
        return ((named, str(named)),)
    if not task.data.unlabelled:
        raise TaskError(
            "there is nothing to label: rung.yaml names no file under data.unlabelled.",
            where="rung.yaml",
            remedy="Name one there, or give --from FILE: a table with the input column, or a text with one input a line.",
        )
    return tuple((task.folder / name, name) for name in task.data.unlabelled)


def order(rows: Iterable[Example], seed: int) -> list[Example]:
    """A random order that is the same every time, so that a later sitting resumes where the last one ended.

    By a hash of the question that is independent of the one that splits rows.
    """
    return sorted(rows, key=lambda row: hashlib.sha256(f"{seed}\0label\0{question(row)}".encode()).digest())


def eligible(rows: Iterable[Example], split: Split | None, have: Held, seed: int) -> list[tuple[Example, Split]]:
    """The rows that may be labelled for a split, or for any if None, each with its split.

    A split taken from train has the rows that hash there; one with its own files takes any. No row divides a group.
    """
    found = []
    for row in rows:
        at = have.home(row, seed)
        if split and (at == split or (at == "train" and has_own_files(split, have))):
            at = split
        elif split:
            continue
        if have.groups.get(row.group, frozenset({at})) == {at}:
            found.append((row, at))
    return found


def has_own_files(split: Split | None, have: Held) -> bool:
    """Whether a held-out split is given by files, and not taken from the train rows."""
    given = {"dev": have.loaded.dev, "test": have.loaded.test}
    return given.get(split or "train") is not None


def _rows(path: Path, label: str, task: Task) -> Iterator[Example]:
    given = task.data
    if path.suffix.lower() == ".txt":
        if not path.exists():
            raise DataError("the file does not exist.", where=label, remedy="Name a file with inputs.")
        rows = (({given.input: line}, f"{label} line {number}") for number, line in enumerate(lines(path, label), 1))
    else:
        rows = read_rows(path, label)  # type: ignore[assignment]
    for row, where in rows:
        text = column_of(row, given.input, where).strip()
        refuse_surrogates(text, where)
        if "\0" in text:
            raise DataError("the input has a NUL byte, which no CSV can hold.", where=where, remedy="Delete the character.")
        group, source = (text_of(row.get(name), where) if name else "" for name in (given.group, given.source))
        yield Example(text, "", group=group.strip(), where=where, source=source.strip())
