"""Passages that a search finds for a question and that do not answer it: what an embedder has to learn to tell apart."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rung.retrieve.analyse import terms
from rung.retrieve.passage import Passage
from rung.retrieve.store import Allow, Store, Vector

DEPTH = 20
"""Passages taken from each leg."""
ALIKE = 0.8
"""Share of words in common (of those of both) from which a passage may answer as well as a right one."""


@dataclass(frozen=True)
class Corpus:
    """The open passages of an index with their vectors: what is fitted answers everyone."""

    passages: tuple[Passage, ...]
    vectors: Vector
    """(passages, width), unit length."""


@dataclass(frozen=True, slots=True)
class Mined:
    """Passages of one question, as places in the corpus."""

    hard: tuple[int, ...]
    doubtful: frozenset[int]
    """They may answer it: they are nearly the same as a right one, or contain the answer."""


def corpus(store: Store) -> Corpus:
    """The passages without an access label of an index with a dense leg."""
    passages: list[Passage] = []
    found = []
    for change, vectors in store.contents():
        assert vectors is not None, "an index without a dense leg has no vectors"
        open_ones = [i for i, passage in enumerate(change.passages) if not passage.access]
        passages += [change.passages[i] for i in open_ones]
        found += [vectors[open_ones]] if open_ones else []
    return Corpus(tuple(passages), np.concatenate(found) if found else np.zeros((0, 0), np.float32))


def mine(
    store: Store,
    known: Corpus,
    questions: Sequence[str],
    vectors: Vector,
    gold: Sequence[Collection[int]],
    answers: Sequence[Callable[[Passage], bool]],
) -> list[Mined]:
    """For each question the wrong passages that the legs rank high, without those that may be right though no one said so.

    A mined negative is often an unlabelled right passage, which would teach the opposite: https://arxiv.org/abs/2010.08191.
    `answers`: whether a passage contains the question's answer.
    """
    out, places = [], {passage.id: place for place, passage in enumerate(known.passages)}
    for question, vector, right, holds in zip(questions, vectors, gold, answers, strict=True):
        names = dict([*store.lexical(question, DEPTH, Allow()), *store.dense(vector, DEPTH, Allow())])
        out.append(sort_out(known, [places[name] for name in names], right, holds))
    return out


def sort_out(known: Corpus, found: Sequence[int], right: Collection[int], holds: Callable[[Passage], bool]) -> Mined:
    """What a search found for a question without its right passages: those that are wrong and those that may be right."""
    near = [place for place in found if place not in right]
    texts = [known.passages[place].text for place in right]
    doubtful = {
        place for place in near if holds(known.passages[place]) or any(alike(known.passages[place].text, text) for text in texts)
    }
    return Mined(tuple(place for place in near if place not in doubtful), frozenset(doubtful))


def alike(first: str, second: str) -> bool:
    """Whether two passages say nearly the same, by their words."""
    one, other = _words(first), _words(second)
    return len(one & other) >= ALIKE * len(one | other)


@lru_cache(maxsize=4096)
def _words(text: str) -> frozenset[str]:
    return frozenset(terms(text))
