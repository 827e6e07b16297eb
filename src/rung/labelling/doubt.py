"""Rows worth learning from: those on which fitted rungs disagree, or on which the best one is in doubt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, log
from typing import Any

from rung import store
from rung.climbing.fit import named
from rung.climbing.project import Project
from rung.data.split import normalise
from rung.errors import RungError
from rung.evaluate.predict import answer
from rung.labelling.sitting import PROPOSED, Drawn
from rung.lm.engine_kinds import can
from rung.predictor import Predictor
from rung.types import Example, Prediction, Split

MAX_RUNGS = 3
"""The best rungs by their dev score vote; more cost time and agree with these."""
MAX_ROWS = 300
"""Rows that are answered to choose from, drawn at random."""
DISAGREEMENT, DOUBT = "disagreement", "doubt"
"""How a row was chosen, as in the column rung_drawn: by votes, or by one rung's confidence."""


@dataclass(frozen=True, slots=True)
class Voter:
    """A rung of the last climb that can answer here at no cost."""

    rung: str
    predictor: Predictor


def voters(project: Project) -> list[Voter]:
    """The best fitted rungs of the last climb whose models are on this machine, best first; empty before a climb."""
    last = project.store.read("decision.json")
    if not last:
        return []
    records = [store.record(one) for one in last["records"]]
    measured = sorted((one for one in records if one.scores), key=lambda one: -one.scores.overall.value if one.scores else 0.0)
    found = []
    for record in measured:
        predictor = _predictor(project, last, record.rung)
        if predictor and can(predictor.model).local:
            found.append(Voter(record.rung, predictor))
        if len(found) == MAX_RUNGS:
            break
    return found


def by_doubt(
    project: Project, rows: Sequence[tuple[Example, Split]], some: Sequence[Voter], progress: Callable[[str, float], None]
) -> list[Drawn]:
    """The first `MAX_ROWS` of the rows, most disputed first, each with the best rung's answer as its proposal.

    Rungs dispute a row by the entropy of their answers (query by committee: Engelson and Dagan 1996, ACL); among equals the
    row counts of which the best rung is least sure (uncertainty sampling: Lewis and Gale 1994, SIGIR).
    """
    asked = [row for row, _ in rows[:MAX_ROWS]]
    with project.store.locked():
        answers = [answer(one.predictor, asked, project.store, project.engines, progress, inf) for one in some]
    found = []
    for i, (row, split) in enumerate(rows[:MAX_ROWS]):
        votes = [said[i] for said in answers]
        disputed, doubt = entropy(votes), 1 - (1.0 if votes[0].confidence is None else votes[0].confidence)
        how = DISAGREEMENT if disputed else DOUBT if doubt else PROPOSED
        best = votes[0]
        drawn = Drawn(row, split, how, "" if best.error else best.output, some[0].rung, best.confidence)
        found.append((disputed, doubt, drawn))
    return [drawn for _, _, drawn in sorted(found, key=lambda one: (-one[0], -one[1]))]


def entropy(votes: Sequence[Prediction]) -> float:
    """Entropy of the answers in nats: 0 if all agree. A rung without an answer does not vote."""
    counts = Counter(normalise(vote.output) for vote in votes if not vote.error)
    total = counts.total()
    return -sum(n / total * log(n / total) for n in counts.values()) if len(counts) > 1 else 0.0


def _predictor(project: Project, last: Mapping[str, Any], rung: str) -> Predictor | None:
    """The Predictor that the last climb measured; None if it is no longer stored."""
    keys = last["fits"].get(rung)
    if keys is None:
        return None
    try:
        found = project.store.fitted(keys[-1]) if keys else project.starts[project.places(rung)[0].base]
    except RungError:  # a rung that this version no longer knows, or a damaged fit: others propose
        return None
    return named(found, *project.starts.values()) if found else None
