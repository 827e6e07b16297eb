"""rag+lora on XQuAD English: rows that share their passages, ordered by them, and a short training, against none of it.

Before: each training row has its own passages, rows in random order, eight epochs of steps of 16 along a cosine, in float32.
After: the defaults, with frozen weights in bfloat16 where the machine measured that to be faster. Both fits start from the
same index, learn from the same rows (whole paragraphs of even articles) and answer the same questions of odd articles. Last
line: CPU-seconds to fit before over after; asked for 4, with a paired difference of token F1 whose interval holds 0 or lies
above.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import common
import numpy as np
from stopping import EIGHT

from rung import metrics
from rung.lm.base import Decoding
from rung.lm.engines import Engines
from rung.lm.training import order
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


QUICK, WHOLE = Size(train=32, test=144, passages=2, tokens=110), Size(train=500, test=300, passages=3, tokens=200)


def read(folder: Path, size: Size) -> tuple[list[Example], list[Example]]:
    """Rows to learn from and to score; writes the paragraphs as files."""
    source = common.DATA / "xquad" / "xquad.en.json"
    if not source.exists():
        sys.exit(f"XQuAD is absent ({source.name} is read from shared/data); nothing was measured")
    (folder / "docs").mkdir(exist_ok=True)
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


def scored(method: tuple[Rag, Lora], start: Predictor, data: TrainData, test: list[Example], run: Run) -> dict[str, Any]:
    """A fit, and the token F1 of each test row."""
    rag, lora = method
    # before, rows that share a beginning came into one step by chance alone
    with nullcontext() if rag.together else patch.object(order, "groups", lambda rows: [[i] for i in range(len(rows))]):
        fit, found = common.lora_fit(lora, lambda run: rag.fit(start, data, run), data, run)
    answers = found.predict(test, run.engines)
    run.engines.close()
    return {**fit, "scores": [metrics.METRICS["token_f1"].rate(one.output, row) for one, row in zip(answers, test)]}


def compared(folder: Path, size: Size, threads: int) -> None:
    """Both sides, and their ratio."""
    learn, test = read(folder, size)
    machine = common.machine(auto=True)
    machine = replace(machine, threads=threads or machine.threads)
    engines = Engines(machine, say=lambda text: None)
    start = Predictor(
        kind="answer",
        model=engines.reference("smollm2-135m-instruct"),
        instruction="Answer the question in a few words.",
        decoding=Decoding(max_new_tokens=24),
    )
    data = TrainData(tuple(learn), documents=documents(folder, ("docs/",)))
    rag = Rag(passages=size.passages, size=size.tokens, overlap=20, abstain=False)
    exact = Engines(replace(machine, frozen_bf16=False), say=lambda text: None)
    sides = {"after": (engines, (rag, Lora())), "before": (exact, (replace(rag, together=False), EIGHT))}
    (folder / "index").mkdir(exist_ok=True)
    rag.fit(start, data, Run(folder / "index", engines, shared=folder / ".rung"))  # neither side pays for the index
    found: dict[str, dict[str, Any]] = {}
    for side, (own, method) in sides.items():
        run = Run(folder / f"{side}-{size.train}", own, shared=folder / ".rung")
        score = partial(scored, method, start, data, test, run)
        found[side] = common.kept(run.folder / f"scores-{size.test}.json", score)
        mean = np.mean(found[side]["scores"])
        named = f"{side}, {found[side]['precision'] or 'float32'}"
        print(f"{named}: {common.steps_taken(found[side])}; token F1 {mean:.3f}, n={len(test)}", flush=True)
    gain = paired_bootstrap(found["before"]["scores"], found["after"]["scores"], [row.group for row in test])
    said = f"CPU-seconds to fit before over after, {len(learn)} rows; token F1 after less before, paired by article: {gain}"
    print(f"ratio={found['before']['cpu'] / found['after']['cpu']:.2f} {said}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows; under ten minutes on two cores")
    parser.add_argument("--train", type=int, default=0, help="rows to learn from")
    parser.add_argument("--test", type=int, default=0, help="rows to score")
    parser.add_argument("--threads", type=int, default=0, help="of the models; by default the machine's")
    parser.add_argument("--folder", type=Path, help="keeps index, checkpoints, fits and scores, so that a run can be continued")
    args = parser.parse_args()
    size = QUICK if args.quick else WHOLE
    size = replace(size, train=args.train or size.train, test=args.test or size.test)
    with tempfile.TemporaryDirectory() as name:
        folder = args.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        compared(folder, size, args.threads)


if __name__ == "__main__":
    main()
