"""Short names for base models, and rung names with a base, such as `zero-shot@gpt-4o-mini`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rung.errors import TaskError

AT = "@"
"""Separates a rung from its base. It is in no method's name and has no special meaning to shells or YAML there."""

VLLM = "vllm:"
"""Begins the name of a model that a server of vLLM answers with: `vllm:MODEL` (started by rung), `vllm:http://HOST:PORT#MODEL`."""


def split_server(name: str) -> tuple[str, str]:
    """What comes before the model in the name of one that vLLM answers with, and the model; nothing before any other name."""
    if not name.startswith(VLLM):
        return "", name
    server, mark, model = name.partition("#")
    addressed = server.removeprefix(VLLM).startswith(("http://", "https://"))
    return (server + mark, model) if addressed else (VLLM, name.removeprefix(VLLM))


def short(bases: Sequence[str]) -> dict[str, str]:
    """Bases by short name, in order: the shortest end of each name that no other base has.

    `openai:gpt-4o-mini`, `http://host:8000/v1#org/gpt-4o-mini` and `models/gpt-4o-mini` all end in `gpt-4o-mini`, so together
    they are `openai/gpt-4o-mini`, `org/gpt-4o-mini` and `models/gpt-4o-mini`.
    """
    parts = [_parts(base) for base in bases]
    found: dict[str, str] = {}
    for base, own in zip(bases, parts):
        ends = (own[-n:] for n in range(1, len(own)))
        end = next((end for end in ends if sum(other[-len(end) :] == end for other in parts) == 1), own)
        found["/".join(end)] = base
    return found


def distinct(bases: tuple[str, ...]) -> tuple[str, ...]:
    """The bases unchanged. ValueError if one is listed twice."""
    parts = [_parts(base) for base in bases]
    twice = [base for i, base in enumerate(bases) if parts[i] in parts[:i]]
    if twice:
        raise ValueError(f"the base {twice[0]!r} is listed twice. Keep one.")
    return bases


def _parts(base: str) -> list[str]:
    return [part for part in re.split(r"[/#]+", re.sub(r"^openai:", "openai/", base)) if part]


def parse(rung: str, bases: Mapping[str, str]) -> tuple[str, str]:
    """Split a rung into its methods and the short name of its base; the base is empty if none is named.

    `bases`: from `short`. The base may also be named as in rung.yaml. TaskError for an unknown base.
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


def describe(bases: Mapping[str, str]) -> str:
    """A legend for rung names: which base each suffix means; empty if no name has a base.

    `bases`: base of each rung that uses one.
    """
    by = {rung.partition(AT)[2]: base for rung, base in bases.items()}
    if not any(by):
        return ""
    usual = [f"rungs without {AT} on {by['']}"] if "" in by else []
    return ", ".join([*usual, *(f"{AT}{name} on {base}" for name, base in sorted(by.items()) if name)])
