"""Stable splits: a row's split is a hash of its group or question."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rung.data.conversations import BEGUN, scored_turns
from rung.data.drawn import is_chosen
from rung.data.enough import used
from rung.data.finding import Finding
from rung.data.load import Loaded, load
from rung.data.question import normalise as normalise
from rung.data.question import question as question
from rung.task import Task
from rung.types import Example, Split, digest


@dataclass(frozen=True, slots=True, repr=False)
class Sealed:
    """The test rows. Only `open()` returns them, so every access is easy to find and count."""

    _rows: tuple[Example, ...]

    def open(self) -> tuple[Example, ...]:
        """The rows. For the measurement after deciding, and for `check`, which shows only counts and places."""
        return self._rows

    @property
    def digest(self) -> str:
        return digest([row.id for row in self._rows])

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        return f"Sealed({len(self._rows)} rows)"


@dataclass(frozen=True, slots=True)
class Splits:
    train: tuple[Example, ...]
    dev: tuple[Example, ...]
    test: Sealed
    findings: tuple[Finding, ...] = ()
    """Corrections made while loading, and what is left out."""
    unused: tuple[Example, ...] = ()
    """Held-out rows beyond those that a climb needs."""


def make_splits(task: Task, mend: Callable[[Example], Example] = lambda row: row) -> Splits:
    """Load and split the task's rows. Files given per split are used as they are; missing splits are taken from train.

    Of more held-out rows than a climb needs, a part is used. `mend`: applied to each row first. With `data.turns: every`, each
    answer of a dev or test conversation is a row.
    """
    loaded = load(task)
    train, dev, test = (tuple(map(mend, rows or ())) for rows in (loaded.train, loaded.dev, loaded.test))
    dev_share, test_share = shares(task, loaded)
    parts = split(
        train,
        dev=dev_share,
        test=test_share,
        seed=task.seed,
        given_dev=dev,
        given_test=test,
    )
    held = used(parts.dev, parts.test.open(), task, unit)
    dev, test = held.dev, held.test
    if task.data.turns == "every":
        dev, test = scored_turns(dev), scored_turns(test)
    return Splits(parts.train, dev, Sealed(test), (*loaded.findings, *held.findings), held.unused)


def split(
    examples: Iterable[Example],
    *,
    dev: float,
    test: float,
    seed: int,
    given_dev: tuple[Example, ...] = (),
    given_test: tuple[Example, ...] = (),
) -> Splits:
    """Hold out shares `dev` and `test` (0 to 1) by hash; given dev or test rows are added.

    Adding rows never moves others, and rows of one group, or of one question without a group, stay together. Dev takes the
    low end of the hash and test the high end, so resizing one does not affect the other. Rows that were chosen (`is_chosen`)
    are always train rows, with all rows of their group or question.
    """
    rows = tuple(examples)
    pinned = {unit(row) for row in rows if is_chosen(row)}
    parts: dict[Split, list[Example]] = {"train": [], "dev": list(given_dev), "test": list(given_test)}
    for row in rows:
        parts["train" if pinned and unit(row) in pinned else home(row, dev, test, seed)].append(row)
    return Splits(tuple(parts["train"]), tuple(parts["dev"]), Sealed(tuple(parts["test"])))


def shares(task: Task, loaded: Loaded) -> tuple[float, float]:
    """Shares of dev and test that are taken from the train rows; 0 for a split with files of its own."""
    given = task.data.split
    return given.dev if loaded.dev is None else 0.0, given.test if loaded.test is None else 0.0


def home(row: Example, dev: float, test: float, seed: int) -> Split:
    """The split that a row's hash puts it in."""
    place = int.from_bytes(hashlib.sha256(f"{seed}\0{unit(row)}".encode()).digest()[:7]) / 2**56
    return "dev" if place < dev else "test" if place >= 1 - test else "train"


def unit(row: Example) -> str:
    """The group, or the question, which stays in one split; of continued conversations, the question that they begin with."""
    if row.group.startswith(BEGUN):
        return f"question\0{row.group.removeprefix(BEGUN)}"
    return f"group\0{row.group}" if row.group else f"question\0{question(row)}"
