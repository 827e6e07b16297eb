"""Question to passage on XQuAD: the hybrid with its chosen weight against its own legs; --lang zh: words against FTS5.

English and German: settings are chosen on the questions of half of the articles and measured on those of the other half;
every question is asked of all 240 passages. Chinese: the lexical leg alone against SQLite's FTS5 with its default
tokenizer, all questions, nothing chosen. Last line: nDCG@10 of the hybrid (en, de) or recall@5 of the lexical leg (zh).
"""

from __future__ import annotations

import argparse
import re
import sqlite3
import tempfile
from pathlib import Path

import knowledge
import numpy as np

from rung.metrics.resample import paired_bootstrap
from rung.metrics.retrieval import scores
from rung.retrieve.passage import Passage, embedded_text
from rung.retrieve.search import LabelledQuestion, Settings, choose, search
from rung.retrieve.sqlite import Sqlite
from rung.retrieve.store import Change, IndexConfig, text_digest

Rankings = list[list[str]]


def store_of(texts: list[str], embedder) -> tuple[Sqlite, list[Passage]]:
    """Each paragraph as one passage; without an embedder an index of words alone."""
    store = Sqlite(Path(tempfile.mkdtemp()) / "index")
    passages = [Passage(f"p{i}", f"{i}.txt", (), text) for i, text in enumerate(texts)]
    config = IndexConfig(knowledge.EMBEDDER, "benchmark") if embedder else IndexConfig()
    if embedder:
        store.keep_vectors("benchmark", [text_digest(p) for p in passages], embedder.embed([embedded_text(p) for p in passages]))
    store.apply([Change(p.path, "x", (p,)) for p in passages], config)
    return store, passages


def fts5(texts: list[str], questions: list[str], k: int = 10) -> Rankings:
    """SQLite's own full-text search with its default tokenizer: any word of the question, best first by its BM25."""
    db = sqlite3.connect(":memory:")
    db.execute("create virtual table t using fts5(body)")
    db.executemany("insert into t values (?)", [(text,) for text in texts])
    out = []
    for question in questions:
        words = " OR ".join(f'"{word}"' for word in re.findall(r"\w+", question))
        rows = db.execute("select rowid from t where t match ? order by rank limit ?", [words, k]).fetchall()
        out.append([f"p{row - 1}" for (row,) in rows])
    return out


def report(name: str, rankings: Rankings, asked: list[LabelledQuestion], articles: list[str]) -> dict:
    found = scores(rankings, [one.gold for one in asked], articles)
    print(f"{name:34s} " + "   ".join(f"{measure} {interval}" for measure, (_, interval) in found.items()))
    return found


def chinese(texts: list[str], asked: list[LabelledQuestion], articles: list[str]) -> None:
    store, _ = store_of(texts, None)
    words = Settings(legs=("lexical",))
    own = [[hit.passage.id for hit in search(store, one.question, None, words)] for one in asked]
    report("FTS5, default tokenizer", fts5(texts, [one.question for one in asked]), asked, articles)
    found = report("lexical leg", own, asked, articles)
    print(f"ratio={found['recall@5'][1].value:.3f} recall@5 of the lexical leg")


def hybrid(texts: list[str], asked: list[LabelledQuestion], articles: list[str]) -> None:
    from rung.lm.engines import Engines

    embedder = Engines().embedder(knowledge.EMBEDDER)
    store, _ = store_of(texts, embedder)
    vectors = embedder.embed([one.question for one in asked])
    even = {article for i, article in enumerate(dict.fromkeys(articles)) if i % 2 == 0}
    train = [i for i, article in enumerate(articles) if article in even]
    test = [i for i, article in enumerate(articles) if article not in even]
    chosen = choose(store, [asked[i] for i in train], vectors[train])
    print(f"chosen on {len(train)} questions of other articles: {chosen}")
    held, groups = [asked[i] for i in test], [articles[i] for i in test]
    named = {"lexical leg": Settings(legs=("lexical",)), "dense leg": Settings(legs=("dense",)), "hybrid, as chosen": chosen}
    found = {}
    for name, settings in named.items():
        rankings = [[h.passage.id for h in search(store, asked[i].question, vectors[i], settings)] for i in test]
        found[name] = report(name, rankings, held, groups)
    rows = {name: np.array(one["nDCG@10"][0]) for name, one in found.items()}
    for leg in ("lexical leg", "dense leg"):
        print(f"hybrid less {leg}, nDCG@10: {paired_bootstrap(rows[leg], rows['hybrid, as chosen'], groups)}")
    print(f"ratio={rows['hybrid, as chosen'].mean():.3f} nDCG@10 of the hybrid on {len(test)} held-out questions")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the same; it takes about a minute")
    parser.add_argument("--lang", choices=("en", "de", "zh"), default="en")
    lang = parser.parse_args().lang
    texts, questions = knowledge.xquad(lang)
    asked = [LabelledQuestion(one.text, frozenset({f"p{one.passage}"})) for one in questions]
    articles = [one.article for one in questions]
    (chinese if lang == "zh" else hybrid)(texts, asked, articles)


if __name__ == "__main__":
    main()
