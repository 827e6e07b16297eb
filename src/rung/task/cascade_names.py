"""Names of cascades: two rungs joined by `>`, of which the second answers what the first is not sure of."""

from __future__ import annotations

from collections.abc import Iterable

from rung.errors import TaskError

THEN = ">"


def parts(rung: str) -> tuple[str, str] | None:
    """The two rungs of a cascade; None for any other rung. TaskError for a name that joins none or more than two."""
    if THEN not in rung:
        return None
    names = [name.strip() for name in rung.split(THEN)]
    if len(names) != 2 or not all(names):
        raise TaskError(
            "a cascade joins two rungs.",
            where=f"rung {rung!r}",
            remedy=f"Name the cheap one, {THEN} and the dear one: encoder>lora.",
        )
    return names[0], names[1]


def with_parts(rungs: Iterable[str]) -> tuple[str, ...]:
    """The rungs that are no cascades, and those that cascades join, each once and in order."""
    names = [part for rung in rungs for part in parts(rung) or (rung,)]
    return tuple(dict.fromkeys(names))
