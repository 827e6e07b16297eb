"""Training rows of a Predictor with passages: what each is shown, and what it should answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from rung.lm.engines import Engines
from rung.retrieve import lookup as lookups
from rung.retrieve import planting
from rung.retrieve.ground import bears, support, wanted
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

    With `together`, rows that cite the same passage see the list of the first of them, and so do rows from which it is
    withheld. Rows that see the same passages in the same order share them in the prefix tree of a step, where they are
    computed once. A withheld row whose answer stands elsewhere in that list has its own.
    """
    k = lookup.settings.k
    wide = replace(lookup, settings=replace(lookup.settings, k=max(LESSON_DEPTH, k)))
    hits = lookups.sources(wide, [example.input for example in examples], engines)
    lists: dict[tuple[Source, bool], tuple[Example, list[Source]]] = {}
    out = []
    for example, one in zip(examples, hits):
        withheld = _drawn(example) < lookup.withheld
        seen, cited = _own(example, lookups.shown(lookup, lookups.widened(lookup, one, engines)), k, withheld)
        first = example
        if lookup.together and cited:
            # not by its id: what `around` adds to a passage depends on the hits before it
            leader, theirs = lists.setdefault((cited, withheld), (example, seen))
            if not (withheld and any(bears(example, passage) for passage in theirs)):
                first, seen = leader, theirs
        answer = wanted(example.output, seen, [not withheld and passage == cited for passage in seen])
        out.append((planting.planted(seen, first.id) if _drawn(first, 8) < lookup.planted else seen, answer))
    return out


def _own(example: Example, found: Sequence[Source], k: int, withheld: bool) -> tuple[list[Source], Source | None]:
    """The passages of a row by itself, and the one of them that it cites, or would cite if it were not withheld."""
    right = [one for one in found if bears(example, one)]
    near = list(found[:k])
    if right and right[0] not in near:
        near[-1] = right[0]
    holding = [one for one in near if one in right]
    cited = max(holding, key=lambda one: support(example.output, one.text), default=None)
    return [one for one in found if one not in right][:k] if withheld else near, cited


def _drawn(example: Example, at: int = 0) -> float:
    return int(example.id[at : at + 8], 16) / 2**32
