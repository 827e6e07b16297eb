"""How several base models are told apart: a short name for each, and rungs named with it, as `zero-shot@gpt-4o-mini`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rung.errors import TaskError

AT = "@"
"""Between a rung and its base. No method's name has it, and neither a shell nor YAML reads it as anything else there."""


def short(bases: Sequence[str]) -> dict[str, str]:
    """Each base by its short name, in their order: the last part of its name, with as many before it as tell it from the others.

    `openai:gpt-4o-mini`, `http://host:8000/v1#org/gpt-4o-mini` and `models/gpt-4o-mini` all end in `gpt-4o-mini`, so beside
    each other they are `openai/gpt-4o-mini`, `org/gpt-4o-mini` and `models/gpt-4o-mini`.
    """
    parts = [_parts(base) for base in bases]
    found: dict[str, str] = {}
    for base, own in zip(bases, parts):
        ends = (own[-n:] for n in range(1, len(own)))
        end = next((end for end in ends if sum(other[-len(end) :] == end for other in parts) == 1), own)
        found["/".join(end)] = base
    return found


def different(bases: tuple[str, ...]) -> tuple[str, ...]:
    """The same bases. ValueError where one stands there twice."""
    parts = [_parts(base) for base in bases]
    twice = [base for i, base in enumerate(bases) if parts[i] in parts[:i]]
    if twice:
        raise ValueError(f"the base {twice[0]!r} stands there twice. Keep one.")
    return bases


def _parts(base: str) -> list[str]:
    return [part for part in re.split(r"[/#]+", re.sub(r"^openai:", "openai/", base)) if part]


def read(rung: str, bases: Mapping[str, str]) -> tuple[str, str]:
    """A rung's methods and the short name of the base behind its @; empty where it names none.

    `bases` as `short` gives them; a base may also be named as in rung.yaml. TaskError for one that the task has not.
    """
    methods, at, named = rung.partition(AT)
    if not at:
        return methods, ""
    for name, base in bases.items():
        if named in (name, base):
            return methods, name
    raise TaskError(
        f"there is no base {named!r}.",
        where=f"rung {rung!r}",
        remedy=f"Known: {', '.join(bases)}; others are added under bases in rung.yaml.",
    )


def told(bases: Mapping[str, str]) -> str:
    """Which base rungs stand on, as a reader of their names must know it; empty where the names say nothing of bases.

    `bases`: of each rung that asks a base, which.
    """
    by = {rung.partition(AT)[2]: base for rung, base in bases.items()}
    if not any(by):
        return ""
    usual = [f"rungs without {AT} on {by['']}"] if "" in by else []
    return ", ".join([*usual, *(f"{AT}{name} on {base}" for name, base in sorted(by.items()) if name)])
