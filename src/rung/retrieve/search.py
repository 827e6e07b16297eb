"""From a question to passages: lexical and dense search, fusion, optional reranking; and the choice of these settings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from rung.errors import BusyError
from rung.metrics.retrieval import ndcg
from rung.retrieve.passage import Passage, embedded_text
from rung.retrieve.store import Allow, Store, Vector

Leg = Literal["lexical", "dense"]
Fusion = Literal["ranks", "scores"]
Ranks = Mapping[str, float]
"""From passage id to a leg's score, best first."""

RANK_OFFSET = 60
"""The constant of reciprocal-rank fusion: Cormack, Clarke and Büttcher (2009), SIGIR."""
TRIES = 3
RERANKED = 50
"""Most fused passages that a cross-encoder reads, unless its `Mix` states another number."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How passages are searched."""

    legs: tuple[Leg, ...] = ("lexical", "dense")
    fusion: Fusion = "scores"
    """scores: weighted scores, each leg's scaled to [0, 1]. ranks: weighted reciprocal ranks."""
    weight: float = 0.5
    """Weight of the dense leg in the fusion, 0 to 1."""
    depth: int = 100
    """Passages taken from each leg."""
    k: int = 10
    """Passages returned."""
    rerank: str = ""
    """Name of a cross-encoder that reranks the fused passages; empty for none."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A retrieved passage with each leg's score; None if that leg did not find it."""

    passage: Passage
    score: float
    """The ranking score: of the single leg, of the fusion, or of the cross-encoder (a logit, or its mix with the fusion's).

    Passages that the cross-encoder did not read are as far below its last one as they are in the fusion."""
    lexical: float | None = None
    """BM25."""
    dense: float | None = None
    """Cosine."""


@dataclass(frozen=True, slots=True)
class LabelledQuestion:
    """A question with known relevant passages."""

    question: str
    gold: frozenset[str]
    """Ids of the passages that answer it, or paths of such files."""


Reranker = Callable[[str, Sequence[str]], Sequence[float]]
"""From a question and texts to a score for each text."""


@dataclass(frozen=True, slots=True)
class Mix:
    """How a cross-encoder's scores and those of the search make one order."""

    weight: float = 1.0
    """Of the cross-encoder's scores, 0 to 1; at 1 its order replaces that of the search."""
    read: int = RERANKED
    """Most passages that it reads; the others follow in the order of the search."""


def search(
    store: Store,
    question: str,
    vector: Vector | None,
    settings: Settings,
    allow: Allow = Allow(),
    reranker: Reranker | None = None,
    mix: Mix = Mix(),
) -> list[Hit]:
    """The best passages that `allow` permits, best first; at most `settings.k`.

    `vector`: the question's embedding, or None without a dense leg. `reranker`: the model that `settings.rerank` names, or
    one that was tuned; `mix`: how its scores count.
    Changes by another process are seen completely or not at all. BusyError after TRIES concurrent changes.
    """
    assert reranker or not settings.rerank, "pass a reranker: the settings name one"
    read = min(settings.depth, mix.read) if reranker else 0
    for _ in range(TRIES):
        generation = store.generation()
        legs = _legs(store, question, vector, settings.legs, settings.depth, allow)
        fused = fuse(legs, settings)[: max(read, settings.k)]
        passages = _passages_at(store, [name for name, _ in fused], generation)
        if passages is None:
            continue
        hits = [
            Hit(passage, score, legs.get("lexical", {}).get(name), legs.get("dense", {}).get(name))
            for (name, score), passage in zip(fused, passages, strict=True)
        ]
        if reranker:
            hits = followed(reranked(question, hits[:read], reranker, mix.weight), hits)
        return hits[: settings.k]
    raise BusyError(f"the index changed during each of {TRIES} searches.", remedy="Try again after indexing.")


def _passages_at(store: Store, ids: Sequence[str], generation: int) -> list[Passage] | None:
    """The passages of these ids; None if the index has changed since that generation."""
    try:
        passages = store.passages(ids)
    except KeyError:
        if generation == store.generation():
            raise
        return None
    return passages if generation == store.generation() else None


def fuse(legs: Mapping[Leg, Ranks], settings: Settings) -> list[tuple[str, float]]:
    """One ranking of (id, score) from the legs' rankings; ties in the order of the first leg."""
    if len(legs) == 1:
        return list(next(iter(legs.values())).items())
    total: dict[str, float] = {}
    for leg, ranks in legs.items():
        weight = settings.weight if leg == "dense" else 1 - settings.weight
        for name, part in _parts(ranks, settings.fusion):
            total[name] = total.get(name, 0.0) + weight * part
    return sorted(total.items(), key=lambda hit: -hit[1])


def _parts(ranks: Ranks, fusion: str) -> Iterator[tuple[str, float]]:
    if fusion == "ranks":
        yield from ((name, 1 / (RANK_OFFSET + rank)) for rank, name in enumerate(ranks, 1))
    else:
        yield from zip(ranks, scaled(ranks.values()))


def reranked(question: str, hits: Sequence[Hit], reranker: Reranker, weight: float = 1.0) -> list[Hit]:
    """The hits in the order of the cross-encoder's scores, or of theirs and the search's, each scaled to [0, 1]."""
    scores = reranker(question, [embedded_text(hit.passage) for hit in hits])
    if weight < 1:
        scores = mixed([hit.score for hit in hits], scores, weight)
    order = sorted(zip(scores, hits, strict=True), key=lambda pair: -pair[0])
    return [Hit(hit.passage, float(score), hit.lexical, hit.dense) for score, hit in order]


def followed(first: Sequence[Hit], hits: Sequence[Hit]) -> list[Hit]:
    """The reranked `first` hits, then the others, with scores below them by their distance in the search."""
    if not first:
        return list(hits)
    offset = first[-1].score - hits[len(first) - 1].score
    return [*first, *(replace(hit, score=hit.score + offset) for hit in hits[len(first) :])]


def mixed(search: Sequence[float], reranker: Sequence[float], weight: float) -> list[float]:
    """A score for each passage: the weighted mean of two, each scaled to [0, 1]."""
    return [(1 - weight) * first + weight * second for first, second in zip(scaled(search), scaled(reranker), strict=True)]


def scaled(scores: Collection[float]) -> list[float]:
    """Scores from 0 for the lowest to 1 for the highest; 1 where all are equal."""
    low, high = min(scores, default=0.0), max(scores, default=0.0)
    return [(score - low) / (high - low) if high > low else 1.0 for score in scores]


def _legs(store: Store, question: str, vector: Vector | None, legs: Sequence[Leg], depth: int, allow: Allow) -> dict[Leg, Ranks]:
    out: dict[Leg, Ranks] = {}
    for leg in legs:
        if leg == "lexical":
            out[leg] = dict(store.lexical(question, depth, allow))
        else:
            assert vector is not None, "the dense leg needs the question's vector"
            out[leg] = dict(store.dense(vector, depth, allow))
    return out


# --- choosing ---------------------------------------------------------------------------------------------------------

WEIGHTS = (0.5, 0.7, 0.3, 0.8, 0.2)
SINGLE_DEPTH = 20


def candidates(k: int = 10) -> list[Settings]:
    """Candidates of `choose`, the one that does well most often first: score fusion, then a single leg.

    `benchmarks/retrieval_quality.py` compares score fusion with rank fusion.
    """
    fused = [Settings(weight=weight, k=k) for weight in WEIGHTS]
    return fused + [Settings(legs=(leg,), depth=SINGLE_DEPTH, k=k) for leg in ("lexical", "dense")]


def choose(store: Store, asked: Sequence[LabelledQuestion], vectors: Vector | None, k: int = 10) -> Settings:
    """The best settings by nDCG@10 on questions with known passages; a single leg is a candidate, since fusion may lose.

    `vectors`: the questions' embeddings, (len(asked), width), or None for no dense leg. The legs are searched once, and each
    candidate fuses their results. Chosen is the first candidate within one standard error, of the paired difference, of
    the best: Breiman et al. (1984), Classification and Regression Trees, section 3.4.3. A single leg is taken instead where
    it is as good on every question.
    """
    tried = [s for s in candidates(k) if vectors is not None or s.legs == ("lexical",)]
    if not asked:
        return tried[0]
    legs: tuple[Leg, ...] = ("lexical", "dense") if vectors is not None else ("lexical",)
    everything = Allow(access=None)
    scores = np.zeros((len(tried), len(asked)))
    for column, one in enumerate(asked):
        vector = vectors[column] if vectors is not None else None
        found = _legs(store, one.question, vector, legs, Settings().depth, everything)
        names = list(dict.fromkeys(name for ranks in found.values() for name in ranks))
        paths = {p.id: p.path for p in store.passages(names)}
        for line, settings in enumerate(tried):
            cut = {leg: dict(list(found[leg].items())[: settings.depth]) for leg in settings.legs}
            ranking = [name if name in one.gold else paths[name] for name, _ in fuse(cut, settings)[:10]]
            scores[line, column] = ndcg(ranking, one.gold)
    number = first_within_error(scores)
    single = [i for i, settings in enumerate(tried) if len(settings.legs) == 1 and (scores[i] >= scores[number]).all()]
    return tried[single[0] if single else number]


def first_within_error(scores: np.ndarray) -> int:
    """The first row of (candidates, questions) whose mean is within one standard error of the best row's."""
    best = scores[scores.mean(axis=1).argmax()]
    behind = best - scores
    error = behind.std(axis=1, ddof=1) / np.sqrt(scores.shape[1]) if scores.shape[1] > 1 else np.zeros(len(scores))
    return int(np.flatnonzero(behind.mean(axis=1) <= error + 1e-12)[0])
