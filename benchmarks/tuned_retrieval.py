"""Search with a query encoder tuned on train rows, over the same search without: MedQuAD and a product's documentation.

Both sides are fits of the methods `rag` and `rag-tuned` on the same documents and train rows, and search for the same
held-back rows, which neither saw. `--reranker`: both sides are one fit of `rag-tuned`, without and with the reranker that it
tuned; where rows held back from train show no gain there is none, and the sides are equal. MedQuAD: questions and answers about
diseases, whole diseases held back; a document is one answer under the disease's name, without its question. docs_axolotl: a
document is the text of one section under the page's title, the question is its heading, and whole pages are held back.
`--quick`: one of MedQuAD's two parts, and the first 100 words of each document. Last line: nDCG@10 after over before.
"""

from __future__ import annotations

import random
import re
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import common
import knowledge as texts
import numpy as np

from rung.lm.base import ModelRef
from rung.lm.engines import Engines
from rung.methods import METHODS
from rung.methods.base import Method, Run
from rung.methods.rag_tuned import RagTuned
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
NOTED = ("kept", "before", "after", "gain", "why", "weight", "held")
"""Of the notes of what was tuned, those that are printed."""


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
    (folder / "docs").mkdir(exist_ok=True)
    rows = []
    for number, item in enumerate(items):
        text = " ".join(item.text.split(" ")[:words]) if words else item.text
        (folder / "docs" / f"d{number}.md").write_text(f"# {item.about}\n\n{text}\n", encoding="utf-8")
        rows.append(Example(item.question, text, source=f"docs/d{number}.md", group=item.about))
    return rows


def sides(data: TrainData, folder: Path, engines: Engines, reranker: bool) -> dict[str, Lookup]:
    """How passages are searched before and after; prints what the fits noted and their CPU seconds."""
    tuned = METHODS["rag-tuned"]
    assert isinstance(tuned, RagTuned)
    if reranker:
        with_it = fitted(replace(tuned, tune_reranker=True), data, folder, engines)
        return {"rag-tuned": replace(with_it, reranker=None), "with its reranker": with_it}
    return {method.name: fitted(method, data, folder, engines) for method in (METHODS["rag"], tuned)}


def fitted(method: Method, data: TrainData, folder: Path, engines: Engines) -> Lookup:
    start = Predictor(kind="answer", model=ModelRef("fake", "fake", "fake"), instruction="", encoder=texts.EMBEDDER)
    (folder / method.name).mkdir(exist_ok=True)
    run, cpu = Run(folder / method.name, engines, shared=folder), time.process_time()
    found = method.fit(start, data, run).lookup
    assert found
    noted = {
        part: {k: v for k, v in run.notes[part].items() if k in NOTED} for part in ("tuned", "reranker") if part in run.notes
    }
    print(f"  {method.name}: {run.notes['search']}, {noted}; {time.process_time() - cpu:.0f} CPU-s", flush=True)
    return found


def ranked(one: Lookup, rows: Sequence[Example], engines: Engines) -> tuple[list[list[str]], list[frozenset[str]]]:
    """The passages found for each row, and those of its document."""
    gold: dict[str, set[str]] = {}
    for change, _ in knowledge.open_kept(one.index, engines).contents():
        gold[change.path] = {passage.id for passage in change.passages}
    wide = replace(one, settings=replace(one.settings, k=K))
    hits = lookup.sources(wide, [row.input for row in rows], engines)
    return [[hit.passage.id for hit in some] for some in hits], [frozenset(gold[row.source]) for row in rows]


@contextmanager
def workplace(name: str, given: Namespace) -> Iterator[Path]:
    """A folder to work in; with `resume` one that is still there after the run, for runs with the same flags."""
    if given.resume:
        flags = [flag for flag, on in sorted(vars(given).items()) if on and flag != "resume"]
        folder = Path(tempfile.gettempdir()) / "-".join(["rung-tuned", name, *flags])
        folder.mkdir(exist_ok=True)
        yield folder
    else:
        with tempfile.TemporaryDirectory(prefix="rung-tuned-") as place:
            yield Path(place)


def measured(name: str, items: Sequence[Item], words: int, engines: Engines, given: Namespace) -> tuple[float, Interval]:
    """nDCG@10 after over before, and the paired difference; prints both sides."""
    with workplace(name, given) as folder:
        rows = write(items, folder, words)
        about = sorted({row.group for row in rows})
        held = set(random.Random(0).sample(about, round(TEST * len(about))))
        test = [row for row in rows if row.group in held]
        data = TrainData(tuple(row for row in rows if row.group not in held), documents=knowledge.documents(folder, ("docs/",)))
        print(f"{name}: {len(rows)} documents, {len(data.examples)} train rows, {len(test)} test rows", flush=True)
        about_rows, per_row = [row.group for row in test], []
        for side, one in sides(data, folder, engines, given.reranker).items():
            lookup.sources(one, [test[0].input], engines)  # opens the models
            cpu = time.process_time()
            rankings, gold = ranked(one, test, engines)
            each = 1000 * (time.process_time() - cpu) / len(test)
            shown = {measure: str(found) for measure, (_, found) in scores(rankings, gold, about_rows).items()}
            print(f"  {side}: {shown}; {each:.0f} CPU-ms a question", flush=True)
            per_row.append(np.array([ndcg(found, right) for found, right in zip(rankings, gold)]))
        before, after = per_row
        gain = paired_bootstrap(before, after, about_rows)
        print(f"  gain in nDCG@10: {gain}", flush=True)
        return after.mean() / before.mean(), gain


def main() -> None:
    given = common.arguments(
        __doc__ or "",
        reranker="with a tuned reranker over without, in place of rag-tuned over rag; on MedQuAD alone",
        docs="on docs_axolotl alone",
        resume="work in a folder that stays, so that a run that is killed goes on from its checkpoints",
    )
    if not (common.DATA / "medquad").is_dir():
        sys.exit("MedQuAD is absent (it is read from shared/data); nothing was measured")
    common.machine()
    engines = Engines(say=lambda text: None)
    words = WORDS if given.quick else 0
    corpora = {"docs_axolotl": axolotl} if given.docs else {"medquad": medquad}
    if not (given.docs or given.reranker):
        corpora["docs_axolotl"] = axolotl
    found = {name: measured(name, list(read(given.quick)), words, engines, given) for name, read in corpora.items()}
    (ratio, _), *_ = found.values()
    said = "; ".join(f"{name} {times:.3f} (gain {gain})" for name, (times, gain) in found.items())
    print(f"ratio={ratio:.3f} times the nDCG@10: {said}")


if __name__ == "__main__":
    main()
