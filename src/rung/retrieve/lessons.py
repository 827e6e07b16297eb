"""Training rows of a Predictor with passages: what each is shown, and what it should answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rung.lm.engines import Engines
from rung.retrieve import lookup as lookups
from rung.retrieve import planting
from rung.retrieve.ground import bears, wanted
from rung.retrieve.lookup import Lookup
from rung.types import Example, Source

LESSON_DEPTH = 20
"""Passages searched for the right one when a training row is built."""


def lessons(lookup: Lookup, examples: Sequence[Example], engines: Engines) -> list[tuple[list[Source], str]]:
    """Passages and target answer of each training row: the retrieved passages, relevant ones and distractors.

    For a share `withheld` of the rows, selected by content, the relevant passages are removed and the target is UNKNOWN. If
    the relevant passage is found but not among the first k, it replaces the last: a row must not teach that an answer comes
    from nowhere. RAFT: https://arxiv.org/abs/2403.10131. In a share `planted` of the rows a passage instructs the model, and
    the target is the same as without the instruction.
    """
    k = lookup.settings.k
    wide = replace(lookup, settings=replace(lookup.settings, k=max(LESSON_DEPTH, k)))
    hits = lookups.sources(wide, [example.input for example in examples], engines)
    searched = [lookups.shown(lookup, lookups.widened(lookup, one, engines)) for one in hits]
    leaders = _leaders(examples, searched) if lookup.together else list(range(len(examples)))
    out = []
    for example, leader in zip(examples, leaders):
        found = searched[leader]
        gold = [bears(example, one) for one in found]
        if _drawn(example) < lookup.withheld:
            found = [one for one, right in zip(found, gold) if not right]
            gold = [False] * len(found)
        elif any(gold) and not any(gold[:k]):
            found = [*found[: k - 1], found[gold.index(True)]]
            gold = [*gold[: k - 1], True]
        answer = wanted(example.output, found[:k], gold[:k])
        first = examples[leader]
        seen = planting.planted(found[:k], first.id) if _drawn(first, 8) < lookup.planted else found[:k]
        out.append((seen, answer))
    return out


def _leaders(examples: Sequence[Example], searched: Sequence[Sequence[Source]]) -> list[int]:
    """For each row the number of the row whose passages it sees: the first with the same right passage, or itself.

    Rows that see the same passages in the same order share them in the prefix tree of a step, where they are computed once.
    """
    first: dict[str, int] = {}
    out = []
    for number, (example, found) in enumerate(zip(examples, searched)):
        right = next((one.id for one in found if bears(example, one)), None)
        out.append(number if right is None else first.setdefault(right, number))
    return out


def _drawn(example: Example, at: int = 0) -> float:
    return int(example.id[at : at + 8], 16) / 2**32
