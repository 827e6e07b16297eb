"""Question to passage: the hybrid with its chosen weight against its own legs and SQLite's FTS5.

XQuAD (--lang), English and German: settings are chosen on the questions of half of the articles and measured on those of the
other half; every question is asked of all 240 passages. Chinese: the lexical leg alone against SQLite's FTS5 with its default
tokenizer, all questions, nothing chosen. --abstracts: PubMedQA, 3,358 sections of 1,000 abstracts in English; settings are
chosen on the questions of the first 330 abstracts and measured on questions of every other of the rest, and on the claims
(conclusions) of the ones between; a row's sections are those of its own abstract. Last line: nDCG@10 of the hybrid (of
claims with --abstracts), or recall@5 of the lexical leg (zh).
"""

from __future__ import annotations

import argparse
import json
import re
import sqlite3
import sys
import tempfile
from pathlib import Path

import knowledge
import numpy as np
from common import DATA

from rung.metrics.resample import paired_bootstrap
from rung.metrics.retrieval import scores
from rung.retrieve.passage import Passage, embedded_text
from rung.retrieve.search import LabelledQuestion, Settings, choose, search
from rung.retrieve.sqlite import Sqlite
from rung.retrieve.store import Change, IndexConfig, text_digest

Rankings = list[list[str]]
HYBRID = "hybrid, as chosen"
CHOOSING = 330
"""Abstracts whose questions the settings are chosen on; constants of the search were chosen on them too."""


def embedder():
    from rung.lm.engines import Engines

    return Engines().embedder(knowledge.EMBEDDER)


def store_of(texts: list[str], embedder) -> tuple[Sqlite, list[Passage]]:
    """Each paragraph as one passage; without an embedder an index of words alone."""
    store = Sqlite(Path(tempfile.mkdtemp()) / "index")
    passages = [Passage(f"p{i}", f"{i}.txt", (), text) for i, text in enumerate(texts)]
    config = IndexConfig(knowledge.EMBEDDER, "benchmark") if embedder else IndexConfig()
    if embedder:
        store.keep_vectors("benchmark", [text_digest(p) for p in passages], embedder.embed([embedded_text(p) for p in passages]))
    store.apply([Change(p.path, "x", (p,)) for p in passages], config)
    return store, passages


def fts5(texts: list[str], questions: list[str], tokenizer: str = "unicode61", k: int = 10) -> Rankings:
    """SQLite's own full-text search: any word of the question, best first by its BM25."""
    db = sqlite3.connect(":memory:")
    db.execute(f"create virtual table t using fts5(body, tokenize='{tokenizer}')")
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


def words_alone(texts: list[str], tests: dict[str, list[LabelledQuestion]]) -> None:
    """The lexical leg against FTS5 with its porter stemmer, without any embedding."""
    store, _ = store_of(texts, None)
    for what, asked in tests.items():
        print(f"{len(asked)} {what}")
        groups, questions = [min(one.gold) for one in asked], [one.question for one in asked]
        settings = Settings(legs=("lexical",))
        own = [[hit.passage.id for hit in search(store, question, None, settings)] for question in questions]
        plain = report("FTS5, porter", fts5(texts, questions, "porter unicode61"), asked, groups)["nDCG@10"]
        found = report("lexical leg", own, asked, groups)["nDCG@10"]
        print(f"lexical leg less FTS5, nDCG@10: {paired_bootstrap(plain[0], found[0], groups)}")
    print(f"ratio={found[1].value:.3f} nDCG@10 of the lexical leg on {len(asked)} {what}")


def hybrid(
    texts: list[str],
    embedder,
    train: list[LabelledQuestion],
    tests: dict[str, list[LabelledQuestion]],
    articles: dict[str, str],
) -> None:
    """Choose on `train`, measure on each of `tests`; prints the last line of the last one.

    `articles`: from a passage to what is drawn whole for the intervals; a passage without is drawn by itself.
    """
    store, _ = store_of(texts, embedder)
    chosen = choose(store, train, embedder.embed([one.question for one in train]))
    print(f"chosen on {len(train)} questions of other articles: {chosen}")
    for what, asked in tests.items():
        print(f"{len(asked)} {what}")
        gold = [min(one.gold) for one in asked]
        mean = compared(texts, store, embedder, asked, chosen, [articles.get(one, one) for one in gold])
    print(f"ratio={mean:.3f} nDCG@10 of the hybrid on {len(asked)} held-out {what}")


def compared(
    texts: list[str], store: Sqlite, embedder, asked: list[LabelledQuestion], chosen: Settings, groups: list[str]
) -> float:
    """Mean nDCG@10 of the hybrid; prints it beside its legs, SQLite's word search and fusion by ranks."""
    vectors = embedder.embed([one.question for one in asked])
    named = {
        "lexical leg": Settings(legs=("lexical",)),
        "dense leg": Settings(legs=("dense",)),
        "fused by ranks, equal weights": Settings(fusion="ranks", depth=50),
        HYBRID: chosen,
    }
    rankings = {"FTS5, porter": fts5(texts, [one.question for one in asked], "porter unicode61")}
    for name, settings in named.items():
        rankings[name] = [[h.passage.id for h in search(store, one.question, v, settings)] for one, v in zip(asked, vectors)]
    rows = {name: np.array(report(name, one, asked, groups)["nDCG@10"][0]) for name, one in rankings.items()}
    print(f"lexical leg less FTS5, nDCG@10: {paired_bootstrap(rows['FTS5, porter'], rows['lexical leg'], groups)}")
    for name in list(named)[:-1]:
        print(f"hybrid less {name}, nDCG@10: {paired_bootstrap(rows[name], rows[HYBRID], groups)}")
    return float(rows[HYBRID].mean())


def abstracts() -> tuple[list[str], list[LabelledQuestion], dict[str, list[LabelledQuestion]]]:
    """Sections of PubMedQA's abstracts, questions to choose on, and questions and claims to measure on."""
    path = DATA / "pubmedqa" / "ori_pqal.json"
    if not path.exists():
        sys.exit("PubMedQA is absent (it is read from shared/data); nothing was measured")
    texts: list[str] = []
    train, questions, claims = [], [], []
    for number, (_, one) in enumerate(sorted(json.loads(path.read_text(encoding="utf-8")).items())):
        gold = frozenset(f"p{len(texts) + i}" for i in range(len(one["CONTEXTS"])))
        texts += one["CONTEXTS"]
        where, text = (train, "QUESTION") if number < CHOOSING else ((claims, "LONG_ANSWER"), (questions, "QUESTION"))[number % 2]
        where.append(LabelledQuestion(one[text], gold))
    return texts, train, {"questions": questions, "claims": claims}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the same; it takes about a minute")
    parser.add_argument("--lang", choices=("en", "de", "zh"), default="en")
    parser.add_argument("--abstracts", action="store_true", help="scientific abstracts; five minutes")
    parser.add_argument("--words", action="store_true", help="with --abstracts: the lexical leg alone")
    given = parser.parse_args()
    if given.abstracts:
        texts, train, tests = abstracts()
        words_alone(texts, tests) if given.words else hybrid(texts, embedder(), train, tests, {})
        return
    texts, questions = knowledge.xquad(given.lang)
    asked = [LabelledQuestion(one.text, frozenset({f"p{one.passage}"})) for one in questions]
    articles = [one.article for one in questions]
    if given.lang == "zh":
        chinese(texts, asked, articles)
        return
    even = set(list(dict.fromkeys(articles))[::2])
    train = [one for one, article in zip(asked, articles) if article in even]
    held = [one for one, article in zip(asked, articles) if article not in even]
    hybrid(texts, embedder(), train, {"questions": held}, {f"p{one.passage}": one.article for one in questions})


if __name__ == "__main__":
    main()
