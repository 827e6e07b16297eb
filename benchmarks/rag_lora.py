"""rag+lora on XQuAD English: rows that share their passages and training that stops, against neither; CPU-seconds and token F1.

Before: each training row has its own passages, eight epochs along a cosine. After: the defaults. Both fits start from the same
index, learn from the same rows (whole paragraphs of even articles) and answer the same questions of odd articles. Last line:
CPU-seconds to fit before over after; asked for 4, with a paired difference of token F1 whose interval holds 0 or lies above.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import common
import numpy as np

from rung import metrics
from rung.lm.base import Decoding
from rung.lm.engines import Engines
from rung.methods.base import Run
from rung.methods.lora import Lora
from rung.methods.rag import Rag
from rung.metrics.resample import paired_bootstrap
from rung.predictor import Predictor
from rung.retrieve.knowledge import documents
from rung.types import Example, TrainData


@dataclass(frozen=True)
class Size:
    train: int
    test: int
    passages: int
    tokens: int
    """Of a passage at most."""


QUICK, WHOLE = Size(train=32, test=48, passages=2, tokens=110), Size(train=500, test=300, passages=3, tokens=200)


def read(folder: Path, size: Size) -> tuple[list[Example], list[Example]]:
    """Rows to learn from and to score; writes the paragraphs as files."""
    source = common.DATA / "xquad" / "xquad.en.json"
    if not source.exists():
        sys.exit(f"XQuAD is absent ({source.name} is read from shared/data); nothing was measured")
    (folder / "docs").mkdir()
    paragraphs: tuple[list[list[Example]], list[list[Example]]] = ([], [])
    for i, article in enumerate(json.loads(source.read_text(encoding="utf-8"))["data"]):
        for j, paragraph in enumerate(article["paragraphs"]):
            name = f"docs/{i:02d}-{j}.txt"
            (folder / name).write_text(paragraph["context"], encoding="utf-8")
            asked = [(qa["question"], qa["answers"][0]["text"]) for qa in paragraph["qas"]]
            paragraphs[i % 2].append([Example(*row, source=name, group=f"a{i}") for row in asked])
    for some in paragraphs:
        random.Random(0).shuffle(some)
    learn = [row for rows in paragraphs[0] for row in rows][: size.train]
    return learn, [row for rows in paragraphs[1] for row in rows][: size.test]


def fit(rag: Rag, lora: Lora, start: Predictor, data: TrainData, run: Run) -> tuple[float, Predictor]:
    """CPU-seconds of the fit, and what came of it."""
    run.folder.mkdir()
    began = time.process_time()
    found = lora.fit(rag.fit(start, data, run), data, run)
    cpu, losses = time.process_time() - began, run.notes["losses"]
    print(
        f"{run.folder.name}: {cpu:.0f} CPU-s, {len(losses)} of {run.notes['planned_steps']} steps, last loss {losses[-1]:.3f}",
        flush=True,
    )
    return cpu, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows; under ten minutes on two cores")
    parser.add_argument("--train", type=int, default=0, help="rows to learn from")
    args = parser.parse_args()
    size = replace(QUICK if args.quick else WHOLE, **({"train": args.train} if args.train else {}))
    rag = Rag(passages=size.passages, size=size.tokens, overlap=20, abstain=False)
    sides = {"before": (replace(rag, together=False), Lora(epochs=8, batch=16, stop_below=0.0)), "after": (rag, Lora())}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        learn, test = read(folder, size)
        engines = Engines(common.machine(), say=lambda text: None)
        start = Predictor(
            kind="answer",
            model=engines.reference("smollm2-135m-instruct"),
            instruction="Answer the question in a few words.",
            decoding=Decoding(max_new_tokens=48),
        )
        data = TrainData(tuple(learn), documents=documents(folder, ("docs/",)))
        (folder / "index").mkdir()
        rag.fit(start, data, Run(folder / "index", engines, shared=folder / ".rung"))  # neither side pays for the index
        cpu, scores = {}, {}
        for side, chain in sides.items():
            cpu[side], found = fit(*chain, start, data, Run(folder / side, engines, shared=folder / ".rung"))
            answers = found.predict(test, engines)
            engines.close()
            scores[side] = [metrics.METRICS["token_f1"].rate(one.output, row) for one, row in zip(answers, test)]
            print(f"{side}: token F1 {np.mean(scores[side]):.3f}, n={len(test)}", flush=True)
    gain = paired_bootstrap(scores["before"], scores["after"], [row.group for row in test])
    told = f"CPU-seconds to fit before over after, {len(learn)} rows; token F1 after less before, paired by article: {gain}"
    print(f"ratio={cpu['before'] / cpu['after']:.2f} {told}")


if __name__ == "__main__":
    main()
