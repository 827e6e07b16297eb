"""BM25's k1 and b and the weight of titles, chosen on train questions, against those of the lexical leg (1.2, 0.75 and 1).

BM25 over the terms that rung indexes, with its question terms. PubMedQA: sections of 1,000 abstracts, chosen on questions of the
first 330, measured on questions and claims of the others. XQuAD English: chosen on half of the articles. MedQuAD (one part): a
document is the first 100 words of one answer, its title the disease, and whole diseases are held back. nDCG@10 as chosen over
as it is, on rows that had no part in the choice. `--quick` is the same; half a minute. Last line: the largest of these ratios.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product

import common
import knowledge
import numpy as np
import retrieval_quality
import scipy.sparse as sp
import tuned_retrieval

from rung.metrics.resample import paired_bootstrap
from rung.metrics.retrieval import ndcg
from rung.retrieve import analyse
from rung.retrieve.search import LabelledQuestion

K1, B, TITLE = (0.6, 0.9, 1.2, 1.6, 2.0), (0.4, 0.6, 0.75, 0.9), (1, 0, 2, 3)
USUAL = (1.2, 0.75, 1)
Counts = list[Counter[str]]
Asked = Mapping[str, Sequence[LabelledQuestion]]


class Words:
    """Counts of terms in each text, and questions as weighted terms."""

    def __init__(self, counts: Counts, asked: Asked):
        self.known = {term: i for i, term in enumerate(sorted(set().union(*counts)))}
        self.length = np.array([sum(one.values()) for one in counts], float)
        at = [(row, self.known[term], n) for row, one in enumerate(counts) for term, n in one.items()]
        self.rows, self.columns, self.counts = (np.array(one) for one in zip(*at))
        found = np.bincount(self.columns, minlength=len(self.known))
        self.rare = np.log(1 + (len(counts) - found + 0.5) / (found + 0.5))
        self.asked = {name: self._questions(some) for name, some in asked.items()}

    def _questions(self, asked: Sequence[LabelledQuestion]) -> sp.csr_matrix:
        found = sp.lil_matrix((len(asked), len(self.known)))
        for row, one in enumerate(asked):
            for term, weight in analyse.question_terms(one.question, {"english"}).items():
                if term in self.known:
                    found[row, self.known[term]] = weight
        return found.tocsr()

    def scores(self, name: str, asked: Sequence[LabelledQuestion], k1: float, b: float) -> np.ndarray:
        """nDCG@10 of each question."""
        norm = k1 * (1 - b + b * self.length / self.length.mean())
        weight = self.rare[self.columns] * self.counts * (k1 + 1) / (self.counts + norm[self.rows])
        texts = sp.csr_matrix((weight, (self.rows, self.columns)), shape=(len(self.length), len(self.known)))
        best = np.argsort(-(self.asked[name] @ texts.T).toarray(), axis=1, kind="stable")[:, :10]
        return np.array([ndcg([f"p{place}" for place in line], one.gold) for line, one in zip(best, asked)])


def measured(name: str, texts: Sequence[str], titles: Sequence[str], asked: Asked, groups: Mapping[str, str]) -> list[float]:
    """nDCG@10 as chosen on `train` over that of USUAL, on each other set. `groups`: what a passage is drawn with."""
    bodies, heads = ([Counter(analyse.terms(text)) for text in some] for some in (texts, titles))
    weights = TITLE if any(titles) else TITLE[:1]
    found: dict[tuple[float, float, int], dict[str, np.ndarray]] = {}
    for times in weights:
        counts = [body + Counter({term: times * n for term, n in head.items()}) for body, head in zip(bodies, heads)]
        words = Words(counts, asked)
        for k1, b in product(K1, B):
            found[k1, b, times] = {part: words.scores(part, some, k1, b) for part, some in asked.items()}
    best = max(found, key=lambda one: found[one]["train"].mean())
    means = [one["train"].mean() for one in found.values()]
    print(f"{name}: {len(texts)} texts; on train {min(means):.3f} to {max(means):.3f}, ", end="")
    print(f"best k1 {best[0]}, b {best[1]}, title {best[2]}")
    out = []
    for part, some in asked.items():
        before, after = found[USUAL][part], found[best][part]
        gold = [min(one.gold) for one in some]
        gain = paired_bootstrap(before, after, [groups.get(one, one) for one in gold])
        print(f"  {part}: {before.mean():.3f}, as chosen {after.mean():.3f}, gain {gain}", flush=True)
        out += [after.mean() / before.mean()] if part != "train" else []
    return out


def xquad() -> tuple[list[str], Asked, dict[str, str]]:
    texts, questions = knowledge.xquad("en")
    even = set(list(dict.fromkeys(one.article for one in questions))[::2])
    asked: dict[str, list[LabelledQuestion]] = {"train": [], "questions": []}
    for one in questions:
        part = "train" if one.article in even else "questions"
        asked[part].append(LabelledQuestion(one.text, frozenset({f"p{one.passage}"})))
    return texts, asked, {f"p{one.passage}": one.article for one in questions}


def medquad() -> tuple[list[str], list[str], Asked, dict[str, str]]:
    items = list(tuned_retrieval.medquad(True))
    about = sorted({item.about for item in items})
    held = set(random.Random(0).sample(about, round(tuned_retrieval.TEST * len(about))))
    asked: dict[str, list[LabelledQuestion]] = {"train": [], "questions": []}
    for i, item in enumerate(items):
        asked["questions" if item.about in held else "train"].append(LabelledQuestion(item.question, frozenset({f"p{i}"})))
    texts = [" ".join(item.text.split()[: tuned_retrieval.WORDS]) for item in items]
    return texts, [item.about for item in items], asked, {f"p{i}": item.about for i, item in enumerate(items)}


def main() -> None:
    common.arguments(__doc__ or "")
    texts, train, tests = retrieval_quality.abstracts()
    ratios = measured("pubmedqa", texts, [""] * len(texts), {"train": train, **tests}, {})
    texts, asked, groups = xquad()
    ratios += measured("xquad", texts, [""] * len(texts), asked, groups)
    ratios += measured("medquad", *medquad())
    print(f"ratio={max(ratios):.3f} times the nDCG@10 with k1, b and title weight as chosen on train, at most")


if __name__ == "__main__":
    main()
