"""Ask the original and an export the same held-out prompts: templates and tokens first, then answers, then token by token."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rung.export.difficult import DIFFICULT
from rung.export.limits import LIMITS
from rung.export.proof import Miss, Proof, faults
from rung.lm.base import Prompt

if TYPE_CHECKING:
    from rung.lm.export.reader import Reader, Tokens, Written
    from rung.lm.export.reference import Reference

Progress = Callable[[str], object]


@dataclass(frozen=True)
class Asked:
    """The original's side, computed once for every kind of export."""

    ids: tuple[str, ...]
    prompts: tuple[Prompt, ...]
    tokens: tuple[Tokens, ...]
    written: tuple[Written, ...]
    most: int


def ask(original: Reference, ids: Sequence[str], prompts: Sequence[Prompt], most: int) -> Asked:
    """The original's greedy answers of at most so many tokens."""
    tokens = [original.prompt(prompt) for prompt in prompts]
    return Asked(tuple(ids), tuple(prompts), tuple(tokens), tuple(original.write(tokens, most)), most)


def compare(
    original: Reference, asked: Asked, export: Reader, kind: str, progress: Progress = lambda text: None
) -> tuple[Proof, list[Written]]:
    """Ask the export what the original was asked. Returns what differs, judged by the limits of `kind`, and its answers."""
    chat, places, same, rendered, cut = original.chat, 0, 0, 0, 0
    written: list[Written] = []
    misses: list[Miss] = []
    for number, (row, prompt, tokens, own) in enumerate(zip(asked.ids, asked.prompts, asked.tokens, asked.written), 1):
        progress(f"asking the export row {number} of {len(asked.ids)}")
        text = chat.text(prompt.messages)
        shown = export.render(*chat.form(prompt.messages))
        rendered += shown == text
        cut += export.cut(shown) == tokens
        theirs = export.write(tokens, asked.most)
        written.append(theirs)
        answer = own.tokens + own.end
        places += len(answer)
        same += (theirs.tokens, theirs.ended) == (own.tokens, own.ended)
        others = export.likeliest(tokens, answer)
        at = _parting(answer, theirs.tokens + (theirs.end or (chat.end,) * theirs.ended))
        if at is not None and others[at[0]] == answer[at[0]]:
            others[at[0]] = at[1]
        misses += _misses(original, row, tokens, answer, others)
    difficult = [chat.tokens(text) == export.cut(text) for text in DIFFICULT]
    found = Proof(
        engine=export.engine,
        kind=kind,
        limits=LIMITS[kind],
        rows=len(asked.ids),
        rendered=rendered,
        cut=cut,
        texts=len(DIFFICULT),
        texts_same=sum(difficult),
        answers=same,
        most=asked.most,
        shortened=sum(not own.ended for own in asked.written),
        places=places,
        misses=tuple(misses),
    )
    return replace(found, faults=faults(found)), written


def _parting(own: Tokens, theirs: Tokens) -> tuple[int, int] | None:
    """The first place at which two answers part, and their token there; None where one does not go on otherwise."""
    return next(((k, b) for k, (a, b) in enumerate(zip(own, theirs)) if a != b), None)


def _misses(original: Reference, row: str, prompt: Tokens, answer: Tokens, others: list[int]) -> list[Miss]:
    if list(answer) == others:
        return []
    margins, decode = original.margins(prompt, answer, others), original.chat.tokenizer.decode
    return [
        Miss(row, place, decode([token]), decode([other]), margin)
        for place, (token, other, margin) in enumerate(zip(answer, others, margins))
        if token != other
    ]
