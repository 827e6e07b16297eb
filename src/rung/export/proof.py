"""An export asked beside the original: what both were asked, where they differ, and whether that is within the limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from rung.export.limits import Limits
from rung.types import Interval, plain


class Proven(Protocol):
    """What every proof says, of a language model or of an encoder."""

    @property
    def engine(self) -> str:
        """What loaded the export."""
        ...

    @property
    def kind(self) -> str: ...

    @property
    def rows(self) -> int: ...

    @property
    def faults(self) -> tuple[str, ...]: ...

    @property
    def passed(self) -> bool: ...

    def compared(self) -> list[tuple[str, str]]: ...

    def scored(self) -> list[tuple[str, str]]: ...

    def report(self) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True)
class Miss:
    """A place at which the export finds another token likeliest than the original."""

    row: str
    place: int
    """Tokens of the answer before it."""
    token: str
    """The original's."""
    instead: str
    margin: float
    """Nats by which the original prefers its own."""


@dataclass(frozen=True, slots=True)
class Scored:
    """The task's metric of the rung and of the export, on the same rows."""

    metric: str
    rung: Interval
    """As `rung ask` answers: labels chosen among the task's, passages looked up, and so on."""
    original: Interval
    """The original's model, writing freely."""
    export: Interval
    """The export, asked the same way."""
    difference: Interval
    """`export` less `original`, paired: what the other engine and the other type change."""
    plainly: Interval | None
    """`export` less `rung`, paired: what it changes to ask the files alone. None where answers were cut."""

    def lines(self) -> list[tuple[str, str]]:
        """Each score and difference with its name."""
        found = [
            (f"{self.metric}: rung ask", str(self.rung)),
            ("the original, writing freely", str(self.original)),
            ("the export, writing freely", str(self.export)),
            ("export less original, paired", signed(self.difference)),
        ]
        return [*found, *([("export less rung ask, paired", signed(self.plainly))] if self.plainly else [])]


@dataclass(frozen=True, slots=True)
class Proof:
    """What came of asking both."""

    engine: str
    """What loaded the export."""
    kind: str
    limits: Limits
    rows: int
    rendered: int
    """Prompts that the export's template renders to the same text."""
    cut: int
    """Prompts that the export's tokenizer cuts into the same tokens."""
    texts: int
    """Difficult texts, beside the prompts, whose tokens were compared."""
    texts_same: int
    answers: int
    """Rows with the same greedy answer, token for token."""
    most: int
    """Tokens at which answers were cut."""
    shortened: int
    """Answers of the original that were cut."""
    places: int
    """Tokens of the original's answers, ends included, along which both were forced."""
    misses: tuple[Miss, ...] = ()
    faults: tuple[str, ...] = ()
    """What is over the limits; empty where the export passes."""
    scores: Scored | None = field(default=None)

    @property
    def agreed(self) -> int:
        """Places at which both find the same token likeliest."""
        return self.places - len(self.misses)

    @property
    def margin(self) -> float:
        """The largest margin of a miss; 0 where there is none."""
        return max((miss.margin for miss in self.misses), default=0.0)

    @property
    def passed(self) -> bool:
        """Whether the export may be used in place of the original."""
        return not self.faults

    @property
    def same_prompts(self) -> bool:
        """Whether every prompt and every difficult text comes to the same tokens."""
        return self.rendered == self.rows and self.cut == self.rows and self.texts_same == self.texts

    def compared(self) -> list[tuple[str, str]]:
        """What was compared, and the result."""
        return [
            ("prompts rendered to the same text", f"{self.rendered} of {self.rows}"),
            ("prompts cut into the same tokens", f"{self.cut} of {self.rows}"),
            ("difficult texts cut into the same tokens", f"{self.texts_same} of {self.texts}"),
            (f"same greedy answer, up to {self.most} tokens", f"{self.answers} of {self.rows}"),
            ("same likeliest next token along the original's answers", f"{self.agreed} of {self.places}"),
            ("largest margin of a miss", f"{self.margin:.2g} nats, limit {self.limits.margin:g}"),
        ]

    def scored(self) -> list[tuple[str, str]]:
        """The task's metric of both; empty where it was not scored."""
        return self.scores.lines() if self.scores else []

    def report(self) -> dict[str, Any]:
        """What `proof.json` holds."""
        return {"passed": self.passed, "agreed": self.agreed, "largest_margin": self.margin, **plain(self)}


def signed(found: Interval) -> str:
    """A difference with its interval."""
    return f"{found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}], n={found.n}"


def faults(proof: Proof) -> tuple[str, ...]:
    """What of a comparison is over its limits, in words."""
    found = []
    if proof.rendered < proof.rows:
        found.append(f"the chat template renders {proof.rows - proof.rendered} of {proof.rows} prompts to another text")
    if proof.cut < proof.rows:
        found.append(f"the tokenizer cuts {proof.rows - proof.cut} of {proof.rows} prompts into other tokens")
    if proof.texts_same < proof.texts:
        found.append(f"the tokenizer cuts {proof.texts - proof.texts_same} of {proof.texts} difficult texts into other tokens")
    over = [miss for miss in proof.misses if miss.margin > proof.limits.margin]
    if over:
        worst = max(over, key=lambda miss: miss.margin)
        found.append(
            f"{len(over)} of {proof.places} tokens differ by more than {proof.limits.margin:g} nats; the largest by "
            f"{worst.margin:.3g}: {worst.instead!r} instead of {worst.token!r} in row {worst.row}, token {worst.place + 1}"
        )
    if proof.places and proof.agreed / proof.places < proof.limits.agreement:
        found.append(f"only {proof.agreed} of {proof.places} tokens agree, less than {proof.limits.agreement:.0%}")
    return tuple(found)
