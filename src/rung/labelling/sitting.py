"""A sitting: the rows of one person, one at a time, with undo, skip and "cannot be answered". No terminal in it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from rung.data.drawn import RANDOM
from rung.data.journal import Entry
from rung.labelling.sheet import Sheet
from rung.types import UNKNOWN, Example, Split

PROPOSED = "proposal"
"""Drawn at random, but shown with a proposal: for training only."""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A row to label, and how it was drawn."""

    row: Example
    split: Split
    drawn: str = RANDOM
    """As in the column rung_drawn: `random`, or why it was chosen."""
    proposal: str = ""
    """The answer that a rung proposes; empty for rows of dev and test, whose labels it would bias."""
    proposed_by: str = ""
    confidence: float | None = None
    """The rung's probability of its proposal, for labels."""
    first: Entry | None = None
    """The first person's label, for a row to be labelled again. It is never shown."""


@dataclass(slots=True)
class Sitting:
    """The queue of one person. Every answer is on the disk when the method returns."""

    sheet: Sheet
    by: str
    pool: int
    """How many rows these were drawn from."""
    queue: list[Drawn]
    done: list[tuple[Drawn, Entry]] = field(default_factory=list)
    """Answered in this sitting, in order."""

    @property
    def current(self) -> Drawn | None:
        """The row to answer; None at the end."""
        return self.queue[0] if self.queue else None

    @property
    def asked(self) -> int:
        """Rows of the sitting, those answered included."""
        return len(self.done) + len(self.queue)

    def label(self, output: str) -> bool:
        """Record an answer. False if someone else labelled the row meanwhile; it is left out."""
        return self._record("second" if self._now.first else "label", output)

    def unanswerable(self) -> bool:
        """Record that the row cannot be answered. Where the task has no such answer, it is set aside in the journal."""
        return self._record("second" if self._now.first else "unanswerable", UNKNOWN)

    def skip(self) -> None:
        """Leave the row for a later sitting."""
        self._record("skip", "")

    def undo(self) -> Drawn | None:
        """Take the last answer of this sitting back and ask its row again; None if there is none."""
        if not self.done:
            return None
        drawn, entry = self.done[-1]
        if self.writes(entry):
            self.sheet.take_back(drawn.row, entry)
        else:
            self.sheet.note(replace(entry, did="undo"))
        self.done.pop()
        self.queue.insert(0, drawn)
        return drawn

    @property
    def counts(self) -> dict[str, int]:
        """How many rows were answered, by what was done with them."""
        found: dict[str, int] = {}
        for _, entry in self.done:
            found[entry.did] = found.get(entry.did, 0) + 1
        return found

    @property
    def _now(self) -> Drawn:
        assert self.queue, "the sitting has ended"
        return self.queue[0]

    def _record(self, did: Literal["label", "unanswerable", "skip", "second"], output: str) -> bool:
        drawn = self._now
        entry = Entry(
            did,
            drawn.row.input,
            output,
            self.by,
            split=drawn.split,
            drawn=drawn.drawn,
            pool=self.pool,
            proposal=drawn.proposal,
            proposed_by=drawn.proposed_by,
            first=drawn.first.output if drawn.first else "",
            first_by=drawn.first.by if drawn.first else "",
            where=drawn.row.where,
        )
        written = True
        if self.writes(entry):
            written = self.sheet.add(drawn.row, entry)
        else:
            self.sheet.note(entry)
        self.queue.pop(0)
        if written:
            self.done.append((drawn, entry))
        return written

    def writes(self, entry: Entry) -> bool:
        """Whether an entry is also a line of the labelled file."""
        can_be_none = self.sheet.task.kind in ("answer", "generate")
        return entry.did == "label" or (entry.did == "unanswerable" and can_be_none)
