"""Search with an embedder of questions tuned on train rows, over the same search without: MedQuAD and a product's documentation.

Both sides are fits of the methods `rag` and `rag-tuned` on the same documents and train rows, and search for the same
held-back rows, which neither saw. MedQuAD: questions and answers about diseases, whole diseases held back; a document is one
answer under the disease's name, without its question. docs_axolotl: a document is the text of one section under the page's
title, the question is its heading, and whole pages are held back. `--quick`: one of MedQuAD's two parts, and the first 100
words of each document. Last line: nDCG@10 after over before on MedQuAD.
"""

from __future__ import annotations

import random
import re
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import common
import knowledge as texts
import numpy as np

from rung.lm.base import ModelRef
from rung.lm.engines import Engines
from rung.methods import METHODS
from rung.methods.base import Run
from rung.metrics.resample import paired_bootstrap
from rung.metrics.retrieval import ndcg, scores
from rung.predictor import Predictor
from rung.retrieve import knowledge, lookup
from rung.retrieve.lookup import Lookup
from rung.types import Example, Interval, TrainData

TEST = 0.3
"""Share of diseases or pages that are held back."""
WORDS = 100
"""Words of a document in the quick run."""
K = 10


@dataclass(frozen=True)
class Item:
    """One document, and the question that it answers."""

    about: str
    """Disease or page."""
    question: str
    text: str


def medquad(quick: bool) -> Iterator[Item]:
    for part in ("1_CancerGov_QA",) if quick else ("1_CancerGov_QA", "5_NIDDK_QA"):
        for path in sorted((common.DATA / "medquad" / part).glob("*.xml")):
            root = ElementTree.parse(path).getroot()
            for pair in root.iter("QAPair"):
                question, answer = (" ".join((pair.findtext(name) or "").split()) for name in ("Question", "Answer"))
                if len(answer.split()) >= 8:
                    yield Item((root.findtext("Focus") or "").strip(), question, answer)


def axolotl(quick: bool) -> Iterator[Item]:
    for path in sorted((common.DATA / "docs_axolotl" / "v0.18.0").rglob("*.qmd")):
        page = path.read_text(encoding="utf-8")
        title = match[1] if (match := re.search(r"^title:\s*[\"']?(.+?)[\"']?\s*$", page, re.MULTILINE)) else path.stem
        for part in re.split(r"^#{2,4} ", page, flags=re.MULTILINE)[1:]:
            heading, _, body = part.partition("\n")
            question = re.sub(r"\{.*?\}", "", heading).strip()
            if len(body.split()) >= 15 and question:
                yield Item(title, question, body.strip())


def write(items: Sequence[Item], folder: Path, words: int) -> list[Example]:
    """Each document as a file; the rows that name them."""
    (folder / "docs").mkdir()
    rows = []
    for number, item in enumerate(items):
        text = " ".join(item.text.split(" ")[:words]) if words else item.text
        (folder / "docs" / f"d{number}.md").write_text(f"# {item.about}\n\n{text}\n", encoding="utf-8")
        rows.append(Example(item.question, text, source=f"docs/d{number}.md", group=item.about))
    return rows


def found(one: Lookup, rows: Sequence[Example], engines: Engines) -> tuple[list[list[str]], list[frozenset[str]]]:
    """The passages found for each row, and those of its document."""
    gold: dict[str, set[str]] = {}
    for change, _ in knowledge.open_kept(one.index, engines).contents():
        gold[change.path] = {passage.id for passage in change.passages}
    wide = replace(one, settings=replace(one.settings, k=K))
    hits = lookup.sources(wide, [row.input for row in rows], engines)
    return [[hit.passage.id for hit in some] for some in hits], [frozenset(gold[row.source]) for row in rows]


def measured(name: str, items: Sequence[Item], words: int, engines: Engines) -> tuple[float, Interval]:
    """nDCG@10 after over before, and the paired difference; prints both sides."""
    with tempfile.TemporaryDirectory(prefix="rung-tuned-") as place:
        folder = Path(place)
        rows = write(items, folder, words)
        about = sorted({row.group for row in rows})
        held = set(random.Random(0).sample(about, round(TEST * len(about))))
        test = [row for row in rows if row.group in held]
        data = TrainData(tuple(row for row in rows if row.group not in held), documents=knowledge.documents(folder, ("docs/",)))
        print(f"{name}: {len(rows)} documents, {len(data.examples)} train rows, {len(test)} test rows", flush=True)
        start = Predictor(kind="answer", model=ModelRef("fake", "fake", "fake"), instruction="", encoder=texts.EMBEDDER)
        rankings, gold = {}, []
        for rung in ("rag", "rag-tuned"):
            (folder / rung).mkdir()
            run, cpu = Run(folder / rung, engines, shared=folder), time.process_time()
            fitted = METHODS[rung].fit(start, data, run)
            assert fitted.lookup
            rankings[rung], gold = found(fitted.lookup, test, engines)
            about_rows = [row.group for row in test]
            shown = {measure: str(one) for measure, (_, one) in scores(rankings[rung], gold, about_rows).items()}
            print(f"  {rung:10s} {shown}, {run.notes['search']}; {time.process_time() - cpu:.0f} CPU-s")
        print(f"  {run.notes['tuned']}", flush=True)
        before, after = (
            np.array([ndcg(one, right) for one, right in zip(rankings[rung], gold)]) for rung in ("rag", "rag-tuned")
        )
        gain = paired_bootstrap(before, after, about_rows)
        print(f"  gain in nDCG@10: {gain}", flush=True)
        return after.mean() / before.mean(), gain


def main() -> None:
    given = common.arguments(__doc__ or "")
    if not (common.DATA / "medquad").is_dir():
        sys.exit("MedQuAD is absent (it is read from shared/data); nothing was measured")
    common.machine()
    engines = Engines(say=lambda text: None)
    words = WORDS if given.quick else 0
    ratio, gain = measured("medquad", list(medquad(given.quick)), words, engines)
    other, second = measured("docs_axolotl", list(axolotl(given.quick)), words, engines)
    print(f"ratio={ratio:.3f} times the nDCG@10 on MedQuAD (gain {gain}); docs_axolotl {other:.3f} (gain {second})")


if __name__ == "__main__":
    main()
