"""Documents that repeat the input of a dev or test row: runs of its words, by their hashes alone.

Runs of 13 words are the measure of GPT-3 (Brown et al. 2020, appendix C). Inputs of tasks are often shorter: such an input is
found whole, and one of fewer than 8 words only where its answer follows. An answer by itself is not looked for: a corpus is
there to hold answers. https://arxiv.org/abs/2005.14165
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rung.data.screening.words import hashes, runs, words
from rung.types import Example, digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

LONGEST, SHORTEST = 13, 8
"""Words of a run."""
MOST_RUNS = 200
"""Runs of one row, evenly over its input: of an input of 10,000 words, any part of 63 words holds one."""


@dataclass(frozen=True, slots=True)
class HeldRuns:
    """Runs of words of the dev and test rows; no word can be read off them."""

    by_length: Mapping[int, tuple[tuple[int, int], ...]]
    """By words of a run: its hash, and the row."""
    where: tuple[str, ...]
    """The place of each row."""
    too_short: int = 0
    """Rows that are not looked for: their input and answer have fewer than 8 words."""

    @property
    def digest(self) -> str:
        return digest({str(length): found for length, found in self.hashes.items()})

    @property
    def hashes(self) -> dict[int, list[int]]:
        """By words of a run: the hashes, sorted."""
        return {length: sorted(value for value, _ in found) for length, found in sorted(self.by_length.items())}

    def places(self) -> dict[int, str]:
        """The place of a row for the hash of each run."""
        return {value: self.where[row] for found in self.by_length.values() for value, row in found}


def held_runs(rows: Iterable[Example]) -> HeldRuns:
    """What is looked for in documents."""
    import numpy as np

    by_length: dict[int, dict[int, int]] = {}
    where: list[str] = []
    short = 0
    for row in rows:
        found = words(row.input)
        if len(found) < SHORTEST:
            found = [*found, *words(row.output)]
        if len(found) < SHORTEST:
            short += 1
            continue
        length = min(LONGEST, len(found))
        every = runs(hashes(found), length)
        some = every[np.unique(np.linspace(0, len(every) - 1, min(len(every), MOST_RUNS)).astype(int))]
        for value in some.tolist():
            by_length.setdefault(length, {}).setdefault(value, len(where))
        where.append(row.where)
    return HeldRuns({length: tuple(found.items()) for length, found in by_length.items()}, tuple(where), short)


def tables(hashes: Mapping[Any, list[int]]) -> dict[int, NDArray[Any]]:
    """The hashes of `HeldRuns.hashes` as arrays."""
    import numpy as np

    return {int(length): np.array(found, np.uint64) for length, found in hashes.items()}


def repeated_run(values: NDArray[Any], known_runs: Mapping[int, NDArray[Any]]) -> int | None:
    """The hash of a run of a held-out row that stands in a document with these words; None if there is none."""
    import numpy as np

    for length, known in known_runs.items():
        found = runs(values, length)
        at = np.minimum(np.searchsorted(known, found), len(known) - 1)
        if len(hits := np.flatnonzero(known[at] == found)):
            return int(found[hits[0]])
    return None
