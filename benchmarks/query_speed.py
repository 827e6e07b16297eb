"""Queries a second at 100,000 chunks, both legs fused: the default store against LangChain's FAISS flat with rank-bm25.

The same texts (made-up words, natural frequencies), the same random vectors, the same questions and depth on both sides;
the question's embedding is given, not counted. One question at a time, as a server is asked, in turn on both sides.
The dense legs must agree. --chunks N for a smaller trial.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import knowledge
import numpy as np
from common import machine

from rung.retrieve.passage import Passage
from rung.retrieve.search import Settings, search
from rung.retrieve.sqlite import Sqlite
from rung.retrieve.store import Change, IndexConfig, text_digest

WIDTH, WORDS, ASKED, DEPTH, K = 384, 80, 10, 50, 10
A_FILE = 100
"""Chunks of one file."""


def own(texts: list[str], vectors: np.ndarray) -> Callable[[str, np.ndarray], list[str]]:
    store, config = Sqlite(Path(tempfile.mkdtemp()) / "index"), IndexConfig("random", "random")
    for start in range(0, len(texts), A_FILE):
        path = f"docs/{start}.txt"
        found = [Passage(f"p{start + i}", path, (), text) for i, text in enumerate(texts[start : start + A_FILE])]
        store.keep_vectors("random", [text_digest(p) for p in found], vectors[start : start + A_FILE])
        store.apply([Change(path, "x", tuple(found))], config)
    store.settle()
    settings = Settings(depth=DEPTH, k=K)
    return lambda question, vector: [hit.passage.text for hit in search(store, question, vector, settings)]


def langchain(texts: list[str], vectors: np.ndarray) -> Callable[[str, np.ndarray], list[str]]:
    import warnings

    warnings.filterwarnings("ignore")
    from langchain_classic.retrievers import EnsembleRetriever
    from langchain_community.retrievers import BM25Retriever
    from langchain_community.vectorstores import FAISS
    from langchain_core.embeddings import Embeddings

    class Given(Embeddings):
        now = vectors[0]

        def embed_query(self, text: str) -> list[float]:
            return self.now.tolist()

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            raise AssertionError("the vectors are given")

    given = Given()
    flat = FAISS.from_embeddings(zip(texts, vectors), given)  # IndexFlatL2: exact, same order as the cosine on unit vectors
    words = BM25Retriever.from_texts(texts, k=DEPTH)
    both = EnsembleRetriever(retrievers=[words, flat.as_retriever(search_kwargs={"k": DEPTH})], weights=[0.5, 0.5])

    def ask(question: str, vector: np.ndarray) -> list[str]:
        given.now = vector
        return [document.page_content for document in both.invoke(question)[:K]]

    return ask


def questions(texts: list[str], count: int, seed: int = 1) -> list[str]:
    """Ten words, as many as the median question of XQuAD has, each time out of one chunk: frequent and rare, as they fall."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(texts[rng.integers(len(texts))].split(), ASKED, replace=False)) for _ in range(count)]


def clocked(ask: Callable[[str, np.ndarray], list[str]], question: str, vector: np.ndarray) -> tuple[float, list[str]]:
    started = time.perf_counter()
    found = ask(question, vector)
    return time.perf_counter() - started, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer questions")
    parser.add_argument("--chunks", type=int, default=100_000)
    args = parser.parse_args()
    machine()
    texts, vectors = knowledge.zipf_texts(args.chunks, WORDS), knowledge.unit(args.chunks, WIDTH)
    sides = {}
    for name, build in {"rung": own, "LangChain": langchain}.items():
        started = time.perf_counter()
        sides[name] = build(texts, vectors)
        print(f"{name}: {args.chunks:,} chunks taken in within {time.perf_counter() - started:.0f} s")
    asked, near = questions(texts, 60 if args.quick else 300), knowledge.unit(300, WIDTH, seed=2)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    shared = []
    for i, question in enumerate(asked):
        found = {}
        for name, ask in sides.items():
            taken, found[name] = clocked(ask, question, near[i])
            if i >= 5:  # the first ones warm caches up
                seconds[name].append(taken)
        shared.append(len(set(found["rung"]) & set(found["LangChain"])) / K)
    for name, taken in seconds.items():
        p50, p95 = np.quantile(taken, [0.5, 0.95]) * 1000
        print(f"{name}: {1 / np.mean(taken):.1f} queries a second, p50 {p50:.1f} ms, p95 {p95:.1f} ms, n={len(taken)}")
    print(f"of the {K} best passages both sides share {np.mean(shared):.0%} (two BM25 formulas)")
    ratio, p95 = np.mean(seconds["LangChain"]) / np.mean(seconds["rung"]), np.quantile(seconds["rung"], 0.95) * 1000
    print(f"ratio={ratio:.1f} times as many queries a second; p95 {p95:.1f} ms, at most 20 asked")


if __name__ == "__main__":
    main()
