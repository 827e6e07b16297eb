"""LoRA by default, which may end early, against eight epochs along a cosine: CPU-seconds, and scores of the same rows.

Six public tasks with short rows, the default model. Batch, epochs and `stop_below` were set before any of these tasks was run.
Last line: CPU-seconds of eight epochs along a cosine over those of the defaults, all tasks together; asked for 2, with a
paired difference of scores whose interval holds 0 or lies above.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import common
import eight
import numpy as np
import torch

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
BEFORE, AFTER = Lora(epochs=8, batch=16, stop_below=0.0), Lora()


@dataclass(frozen=True)
class Fitted:
    """A fit and its scores."""

    cpu: float
    scores: list[float]
    steps: str


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


def fitted(method: Lora, start: Predictor, learn: list[Example], test: list[Example], metric: str, engines: Engines) -> Fitted:
    """One fit, timed in CPU-seconds, and its score on each test row."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), engines)
        began = time.process_time()
        found = method.fit(start, TrainData(tuple(learn), start.labels), run)
        cpu = time.process_time() - began
        answers = found.predict(test, engines)
        engines.close()
    rated = metrics.METRICS[metric]
    steps = f"{len(run.notes['losses'])} of {run.notes['planned_steps']} steps, last loss {run.notes['losses'][-1]:.3f}"
    return Fitted(cpu, [rated.rate(one.output, row) for one, row in zip(answers, test)], steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rows; under ten minutes on two cores")
    parser.add_argument("--tasks", default=",".join(LONGEST), help="joined by commas")
    parser.add_argument("--train", type=int, default=0, help="rows to learn from")
    args = parser.parse_args()
    train, test = (args.train or 32, 32) if args.quick else (args.train or 200, 200)
    engines = Engines(common.machine(), say=lambda text: None)
    spent, scores = [0.0, 0.0], np.zeros((2, 0))
    for name in args.tasks.split(","):
        found, learn, check = rows(name, train, test)
        labels = tuple(sorted({row.output for row in learn + check})) if found.kind == "classify" else ()
        start = Predictor(
            kind=found.kind,
            model=engines.reference("smollm2-135m-instruct"),
            instruction=found.task,
            labels=labels,
            descriptions=("",) * len(labels),
            decoding=Decoding(max_new_tokens=64),
        )
        both = [fitted(method, start, learn, check, found.metric, engines) for method in (BEFORE, AFTER)]
        gain = paired_bootstrap(both[0].scores, both[1].scores)
        scores = np.concatenate([scores, np.array([one.scores for one in both])], axis=1)
        for i, one in enumerate(both):
            spent[i] += one.cpu
            print(f"{name}: {one.cpu:.0f} CPU-s, {found.metric} {np.mean(one.scores):.3f}; {one.steps}", flush=True)
        print(f"{name}: after less before, paired: {gain}", flush=True)
    over = paired_bootstrap(*scores)
    told = f"CPU-seconds of eight epochs ({spent[0]:.0f}) over the rule's ({spent[1]:.0f}), {train} rows a task"
    print(f"ratio={spent[0] / spent[1]:.2f} {told}; difference of the scores, paired: {over}")


if __name__ == "__main__":
    torch.set_num_threads(common.machine().threads)
    main()
