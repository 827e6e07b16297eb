"""Training rows of a Predictor with passages: what each is shown, and what it should answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from heapq import heappop, heappush

from rung.lm.engines import Engines
from rung.retrieve import lookup as lookups
from rung.retrieve import planting
from rung.retrieve.ground import bears, support, wanted
from rung.retrieve.lookup import Lookup
from rung.types import Example, Source

LESSON_DEPTH = 20
"""Passages searched for the right one when a training row is built."""

Shown = tuple[Example, list[Source]]
"""A row and its own passages, which others may see too."""


def lessons(lookup: Lookup, examples: Sequence[Example], engines: Engines) -> list[tuple[list[Source], str]]:
    """Passages and target answer of each training row: the retrieved passages, relevant ones and distractors.

    For a share `withheld` of the rows, selected by content, the relevant passages are removed and the target is UNKNOWN. If
    the relevant passage is found but not among the first k, it replaces the last: a row must not teach that an answer comes
    from nowhere. RAFT: https://arxiv.org/abs/2403.10131. In a share `planted` of the rows a passage instructs the model, and
    the target is the same as without the instruction.

    With `together`, few of these lists are shown, each to all rows that cite one of its passages. A row whose answer is UNKNOWN
    sees one with a passage of its own list and none of its answers, if there is one. Rows that see the same passages in the
    same order share them in the prefix tree of a step, where they are computed once.
    """
    k = lookup.settings.k
    wide = replace(lookup, settings=replace(lookup.settings, k=max(LESSON_DEPTH, k)))
    hits = lookups.sources(wide, [example.input for example in examples], engines)
    withheld = [_drawn(example) < lookup.withheld for example in examples]
    own = [
        _own(example, lookups.shown(lookup, lookups.widened(lookup, one, engines)), k, without)
        for example, one, without in zip(examples, hits, withheld)
    ]
    lists = _shared(examples, own) if lookup.together else [(row, seen) for row, (seen, _) in zip(examples, own)]
    planted = _planted([first for first, _ in lists], lookup.planted)
    return [
        (
            planting.planted(seen, first.id) if first.id in planted else seen,
            wanted(example.output, seen, [passage == cited for passage in seen]),
        )
        for example, (_, cited), (first, seen) in zip(examples, own, lists)
    ]


def _shared(examples: Sequence[Example], own: Sequence[tuple[list[Source], Source | None]]) -> list[Shown]:
    """The list that each row sees."""
    lists = _covering(examples, own)
    out = []
    for example, (seen, cited) in zip(examples, own):
        near = [lists[passage] for passage in ([cited] if cited else seen) if passage in lists]
        free = (shown for shown in near if cited or not any(bears(example, passage) for passage in shown[1]))
        out.append(next(free, (example, seen)))
        for passage in out[-1][1]:
            lists.setdefault(passage, out[-1])
    return out


def _covering(examples: Sequence[Example], own: Sequence[tuple[list[Source], Source | None]]) -> dict[Source, Shown]:
    """Few of the rows' own lists that contain each cited passage, by passage: next is always the list that adds most rows."""
    rows = Counter(cited for _, cited in own if cited)
    queue = [(-len(own), i) for i, (_, cited) in enumerate(own) if cited]
    out: dict[Source, Shown] = {}  # not by id: what `around` adds to a passage depends on the hits before it
    while queue:
        _, i = heappop(queue)
        seen, cited = own[i]
        if cited in out:
            continue
        added = [passage for passage in seen if passage not in out]
        least = -sum(rows[passage] for passage in added), i
        if queue and least > queue[0]:  # an upper bound until it is counted again
            heappush(queue, least)
        else:
            out |= dict.fromkeys(added, (examples[i], seen))
    return out


def _planted(lists: Sequence[Example], share: float) -> set[str]:
    """The lists with a planted instruction, by the row whose list it is. `lists`: that row for each training row.

    Lists are taken in a random order, by content, as long as each brings the share of rows nearer to `share`.
    """
    rows, wanted_rows, planted = Counter(row.id for row in lists), share * len(lists), set[str]()
    reached = 0
    for row in sorted({row.id: row for row in lists}.values(), key=lambda row: _drawn(row, 8)):
        if abs(reached + rows[row.id] - wanted_rows) < abs(reached - wanted_rows):
            planted.add(row.id)
            reached += rows[row.id]
    return planted


def _own(example: Example, found: Sequence[Source], k: int, withheld: bool) -> tuple[list[Source], Source | None]:
    """The passages of a row by itself, and the one of them that it cites; none if it is withheld."""
    right = [one for one in found if bears(example, one)]
    if withheld:
        return [one for one in found if one not in right][:k], None
    near = list(found[:k])
    if right and right[0] not in near:
        near[-1] = right[0]
    return near, max((one for one in near if one in right), key=lambda one: support(example.output, one.text), default=None)


def _drawn(example: Example, at: int = 0) -> float:
    return int(example.id[at : at + 8], 16) / 2**32
