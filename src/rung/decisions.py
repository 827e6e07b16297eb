"""What a climb decides, as frozen values: verdicts of rungs, comparisons, the claim, the decision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rung.measurements import Interval

Verdict = Literal["meets", "fails", "undecided"]


@dataclass(frozen=True, slots=True)
class RungVerdict:
    """One rung against the goal."""

    rung: str
    verdict: Verdict
    why: str
    more_rows: int = 0
    """If undecided: further held-out rows after which it would be decided with a chance of 0.8; 1,000,000 for no practical
    number."""
    unmeasured: bool = False
    """Undecided because the rung was not measured, or some rows failed for a reason outside the model."""
    level: float = 0.0
    """The rung's share of the climb's error: with this probability its lower bound is wrong."""
    chance: float | None = None
    """The chance that the sealed rows would prove it; None once they were opened for it, or where it is ruled out."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A paired comparison of two rungs on the same rows."""

    a: str
    b: str
    difference: Interval
    """Score of b minus score of a."""
    p_value: float
    """Holm-adjusted over the comparisons made together."""
    only_a: int
    """Rows that a got right and b wrong; `only_b` the other way round."""
    only_b: int


@dataclass(frozen=True, slots=True)
class Claim:
    """What is claimed of the chosen rung, or would be if the goal lay lower: one bound from all of its held-out rows."""

    at_least: float
    """The score is at least this."""
    confidence: float
    """One minus the probability that a climb of these rungs claims too much of any of them."""
    dev: int
    """Dev rows, which chose the rung."""
    sealed: int
    """Sealed rows, which prove it."""
    alone: Interval | None = None
    """The score on the sealed rows alone, with its 95% interval."""
    outside: tuple[str, ...] = ()
    """Limits of the goal that are compared as measured, without an allowance for the error of their measurement."""
    coverage: float | None = None
    """The share of rows answered is at least this, for a goal with a coverage; `at_least` is then of the rows answered."""


@dataclass(frozen=True, slots=True)
class Decision:
    verdict: Verdict
    chosen: str
    """Rung name; empty if nothing was measured."""
    why: str
    rungs: tuple[RungVerdict, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    """The chosen rung against each other measured rung."""
    claim: Claim | None = None
    """What the held-out rows prove of the chosen rung; None unless they were opened for it, and in records before 0.3."""
    left: tuple[str, ...] = ()
    """Rungs that can be tried and have no measurement, where the verdict is undecided."""

    @property
    def unmeasured(self) -> bool:
        """Whether the goal is undecided because something was not measured or failed."""
        return self.verdict == "undecided" and any(rung.unmeasured for rung in self.rungs)
