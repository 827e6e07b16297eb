"""LoRA by default against eight epochs along a cosine, or against an early end: CPU-seconds, and scores of the same rows.

Six public tasks with short rows, the default model. Batch, epochs and `stop_below` were set before any of these tasks was run.
With `--early` the two sides are the defaults and the same with `stop_below`: same seed, order and rate until the rate falls.
Last line: CPU-seconds of the first side over those of the second, all tasks together; asked for 2 without `--early`, with a
paired difference of scores whose interval holds 0 or lies above.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import common
import eight
import numpy as np

from rung import metrics
from rung.lm.base import Decoding
from rung.lm.engines import Engines
from rung.methods.base import Run
from rung.methods.lora import Lora
from rung.metrics.resample import paired_bootstrap
from rung.predictor import Predictor
from rung.types import Example, TrainData

LONGEST = {
    "banking77": (15, 9),
    "pubmedqa": (45, 1),
    "xquad_sentence": (40, 6),
    "e2e_nlg": (25, 20),
    "ner": (15, 9),
    "mts_dialog": (40, 15),
}
"""Tasks, with the most words of an input and of an answer; longer rows are left out."""


@dataclass(frozen=True, kw_only=True)
class Cosine(Lora):
    """LoRA as it was trained before, along a cosine."""

    steady: ClassVar[bool] = False


EIGHT, DEFAULTS, EARLY = Cosine(epochs=8, batch=16), Lora(), Lora(stop_below=0.1)


def xquad_sentence() -> eight.Source:
    """Questions behind the sentence that answers them."""
    found = json.loads((common.DATA / "xquad" / "xquad.en.json").read_text(encoding="utf-8"))["data"]
    pairs: dict[str, str] = {}
    for paragraph in (paragraph for article in found for paragraph in article["paragraphs"]):
        for qa in paragraph["qas"]:
            at, answer = qa["answers"][0]["answer_start"], qa["answers"][0]["text"]
            inside = [m[0] for m in re.finditer(r"[^.!?]+[.!?]?", paragraph["context"]) if m.start() <= at < m.end()]
            if answer in inside[0]:
                pairs[f"{inside[0].strip()}\n\n{qa['question']}"] = answer
    return eight.Source("Answer the question in a few words.", "answer", "token_f1", list(pairs.items()))


def rows(name: str, train: int, test: int) -> tuple[eight.Source, list[Example], list[Example]]:
    """Rows to learn from and to score, drawn from the task's short rows; fewer to score where there are not enough."""
    found = xquad_sentence() if name == "xquad_sentence" else eight.TASKS[name]()
    most_input, most_answer = LONGEST[name]
    if name == "pubmedqa":  # the end of the abstract is enough
        found = eight.Source(found.task, found.kind, found.metric, [(eight.end(text, 30), answer) for text, answer in found.rows])
    short = [row for row in found.rows if len(row[0].split()) <= most_input and len(row[1].split()) <= most_answer]
    drawn = [Example(*row) for row in random.Random(0).sample(short, min(len(short), train + test))]
    return found, drawn[:train], drawn[train:]


def scored(method: Lora, start: Predictor, learn: list[Example], test: list[Example], metric: str, run: Run) -> dict[str, Any]:
    """One fit, and the score of each test row."""
    fit, found = common.lora_fit(method, lambda run: start, TrainData(tuple(learn), start.labels), run)
    rated = metrics.METRICS[metric]
    answers = found.predict(test, run.engines)
    run.engines.close()
    return {**fit, "scores": [rated.rate(one.output, row) for one, row in zip(answers, test)]}


def compared(name: str, folder: Path, args: argparse.Namespace, engines: Engines) -> list[dict[str, Any]]:
    """Both sides on one task."""
    found, learn, check = rows(name, args.train, args.test)
    labels = tuple(sorted({row.output for row in learn + check})) if found.kind == "classify" else ()
    start = Predictor(
        kind=found.kind,
        model=engines.reference("smollm2-135m-instruct"),
        instruction=found.task,
        labels=labels,
        descriptions=("",) * len(labels),
        decoding=Decoding(max_new_tokens=64),
    )
    sides = {"defaults": DEFAULTS, "early": EARLY} if args.early else {"eight": EIGHT, "defaults": DEFAULTS}
    both = []
    for side, method in sides.items():
        run = Run(folder / f"{name}-{args.train}-{side}", engines)
        score = partial(scored, method, start, learn, check, found.metric, run)
        both.append(common.kept(run.folder / f"scores-{args.test}.json", score))
        mean = np.mean(both[-1]["scores"])
        print(f"{name}, {side}: {common.steps_taken(both[-1])}; {found.metric} {mean:.3f}", flush=True)
    print(f"{name}: the second less the first, paired: {paired_bootstrap(both[0]['scores'], both[1]['scores'])}", flush=True)
    return both


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows; under ten minutes on two cores")
    parser.add_argument("--tasks", default=",".join(LONGEST), help="joined by commas")
    parser.add_argument("--train", type=int, default=0, help="rows to learn from")
    parser.add_argument("--test", type=int, default=0, help="rows to score")
    parser.add_argument("--early", action="store_true", help="the defaults against an early end")
    parser.add_argument("--threads", type=int, default=0, help="of the models; by default the machine's")
    parser.add_argument("--folder", type=Path, help="keeps checkpoints, fits and scores, so that a run can be continued")
    args = parser.parse_args()
    args.train, args.test = args.train or (32 if args.quick else 200), args.test or (32 if args.quick else 200)
    machine = common.machine()
    engines = Engines(replace(machine, threads=args.threads or machine.threads), say=lambda text: None)
    with tempfile.TemporaryDirectory() as folder:
        found = [compared(name, args.folder or Path(folder), args, engines) for name in args.tasks.split(",")]
    before, after = (sum(one[side]["cpu"] for one in found) for side in (0, 1))
    scores = [np.concatenate([one[side]["scores"] for one in found]) for side in (0, 1)]
    first, second = ("the defaults", "an early end") if args.early else ("eight epochs", "the defaults")
    said = f"CPU-seconds of {first} ({before:.0f}) over those of {second} ({after:.0f}), {args.train} rows a task"
    print(f"ratio={before / after:.2f} {said}; difference of the scores, paired: {paired_bootstrap(*scores)}")


if __name__ == "__main__":
    main()
