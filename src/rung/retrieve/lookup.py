"""How a Predictor looks things up: which index, searched how, and below which evidence it does not answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rung.errors import RungError
from rung.lm.engines import Engines
from rung.retrieve import ground, planting
from rung.retrieve.ground import bears, touched, wanted
from rung.retrieve.knowledge import is_there, open_kept
from rung.retrieve.passage import Passage
from rung.retrieve.search import Hit, Settings, search
from rung.retrieve.store import Allow
from rung.types import Example, Source

DEEP = 20
"""Passages among which the right one is looked for when a row is made to learn from."""


@dataclass(frozen=True)
class Lookup:
    """Frozen: the documents' digest is part of it, so a changed document makes another Predictor."""

    index: str
    """Folder or URL of the index."""
    digest: str
    """Content of the documents as they were when it was fitted."""
    embedder: str
    settings: Settings = Settings()
    least: float = 0.0
    """Evidence below which the question is not put to the model."""
    withheld: float = 0.0
    """Share of training rows whose passage is taken away, so that not knowing is learnt."""
    planted: float = 0.0
    """Share of training rows in one of whose passages an instruction is planted, so that passing it over is learnt."""
    screen: bool = True
    """Whether passages are shown without what they tell the answerer to do, and answers must bear on the question."""


def sources(lookup: Lookup, questions: Sequence[str], engines: Engines, allow: Allow = Allow()) -> list[list[Hit]]:
    """The passages for each question, best first. RungError where the index is gone: an empty one would know nothing."""
    if not is_there(lookup.index):
        raise RungError(
            "the index is not there.", where=lookup.index, remedy="Make it again: rung index FOLDER, or fit the rung."
        )
    store = open_kept(lookup.index, engines)
    vectors = engines.embedder(lookup.embedder).embed(questions) if "dense" in lookup.settings.legs else [None] * len(questions)
    reranker = engines.reranker(lookup.settings.rerank) if lookup.settings.rerank else None
    return [search(store, question, vector, lookup.settings, allow, reranker) for question, vector in zip(questions, vectors)]


def evidence(question: str, hits: Sequence[Hit]) -> float:
    """How sure it is that the question is answered there: 0 where nothing was found, towards 1 for its very words.

    The mean of the best cosine and of the best share of the question's words that a passage holds; the share alone where
    no leg is dense. On XQuAD English, held articles, it tells passages from near misses (AUC, n = 556) better than the
    cosine (0.86), the share (0.94) or BM25 (0.92).
    """
    words = max((touched(question, hit.passage.text) for hit in hits), default=0.0)
    cosines = [hit.dense for hit in hits if hit.dense is not None]
    return (max(cosines) + words) / 2 if cosines else words


def shown(lookup: Lookup, hits: Sequence[Hit]) -> list[Source]:
    """The sources that hits are, each with what the prompt leaves out of it."""
    found = map(source, hits)
    return [ground.screened(one) for one in found] if lookup.screen else list(found)


def source(hit: Hit) -> Source:
    """A hit as an answer's source."""
    return source_of(hit.passage)


def source_of(passage: Passage) -> Source:
    """A passage as an answer's source."""
    return Source(passage.id, passage.path, passage.heading[-1] if passage.heading else "", passage.where, passage.text)


def lessons(lookup: Lookup, examples: Sequence[Example], engines: Engines) -> list[tuple[list[Source], str]]:
    """Passages and answer to learn from, for each row: what was retrieved, right passages and distractors together.

    For a share `withheld` of the rows, drawn by content, the right passages are taken away and the answer is that it is
    not known. Where the right passage was found but not among the first, it takes the place of the last: a row must not
    teach that an answer comes from nowhere. RAFT: https://arxiv.org/abs/2403.10131. In a share `planted` of the rows a passage
    tells the model what to say, and the answer is what it would be without.
    """
    k = lookup.settings.k
    wide = replace(lookup, settings=replace(lookup.settings, k=max(DEEP, k)))
    out = []
    for example, hits in zip(examples, sources(wide, [example.input for example in examples], engines)):
        found = shown(lookup, hits)
        gold = [bears(example, one) for one in found]
        if _drawn(example) < lookup.withheld:
            found = [one for one, right in zip(found, gold) if not right]
            gold = [False] * len(found)
        elif any(gold) and not any(gold[:k]):
            found[k - 1], gold[k - 1] = found[gold.index(True)], True
        answer = wanted(example.output, found[:k], gold[:k])
        seen = planting.planted(found[:k], example.id) if _drawn(example, 8) < lookup.planted else found[:k]
        out.append((seen, answer))
    return out


def _drawn(example: Example, at: int = 0) -> float:
    return int(example.id[at : at + 8], 16) / 2**32
