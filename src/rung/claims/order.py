"""Which rung is proved next: the cheapest that dev gives a fair chance, not simply the best."""

from __future__ import annotations

from collections.abc import Sequence

SURE = 0.7
"""Chance that a proof must have while rungs are still to be measured: they may turn out surer."""
FAIR = 0.5
"""Chance that it must have once all are measured."""
LEAST = 0.1
"""Below this chance nothing is proved: the sealed rows stay fresh for a climb with more labels."""
MOST = 3
"""Rungs that may be scored on the same sealed rows in one climb. Each costs freshness: the best of several scores is too high."""


def next_proof(chances: Sequence[float | None], proved: int, finished: bool) -> int | None:
    """The place of the rung to prove, or None. `chances`: in order of price; None for a rung that was proved or is ruled out.

    A failed proof spends no error beyond the rung's own share, but it makes the sealed rows less fresh, and it takes the time
    to answer them. So the cheapest rung that will more likely than not pass is taken, and where there is none the surest.
    `proved`: rungs already scored on these rows in this climb. `finished`: whether no rung is left to be measured.
    """
    known = [(place, chance) for place, chance in enumerate(chances) if chance is not None]
    if proved >= MOST or not known:
        return None
    fair = next((place for place, chance in known if chance >= (FAIR if finished else SURE)), None)
    if fair is not None or not finished:
        return fair
    place, surest = max(known, key=lambda one: one[1])
    return place if surest >= LEAST else None
