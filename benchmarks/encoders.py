"""Rungs with a small encoder on sets of few and of many labels: frozen, with names of labels, tuned contrastively, tuned whole.

Every rung has the same train rows and answers the same test rows; differences are paired. `--quick`: banking77 with ten rows
a label and 1,000 test rows, without the rung tuned whole. `--setfit PYTHON`: also the package setfit with the same encoder and
rows, installed in that environment; 20 pairs a row, or as many steps as `--setfit-steps`. Last line: the gain of the
contrastive rung over the frozen one in right answers a hundred rows, on the first set.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import re
import subprocess
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import common
import numpy as np

from rung.lm.engines import Engines
from rung.lm.models.resolve import find
from rung.methods import METHODS
from rung.methods.base import Method, Run
from rung.methods.encoder import Encoder
from rung.metrics.resample import paired_bootstrap
from rung.metrics.stats import wilson
from rung.predictor import Predictor
from rung.types import Example, TrainData

Rows = Sequence[tuple[str, str]]


SETFIT = """
import json, sys, time
from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments
given = json.load(open(sys.argv[1]))
model = SetFitModel.from_pretrained(given["encoder"], labels=given["labels"])
args = TrainingArguments(output_dir=sys.argv[2], batch_size=16, num_epochs=1, num_iterations=20, max_steps=given["steps"], seed=0,
                         report_to="none", save_strategy="no", logging_strategy="no")
started = time.process_time()
Trainer(model, args, train_dataset=Dataset.from_dict({"text": given["texts"], "label": given["answers"]})).train()
spent = time.process_time() - started
found = [str(one) for one in model.predict(given["asked"], batch_size=32)]
json.dump({"cpu": spent, "found": found}, open(sys.argv[3], "w"))
"""


@dataclass(frozen=True)
class Case:
    name: str
    train: tuple[Example, ...]
    test: tuple[Example, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(sorted({row.output for row in self.train}))


def case(name: str, train: Rows, test: Rows, each: int, most: int, seed: int) -> Case:
    """At most `each` train rows of a label and `most` test rows, drawn by the seed; labels without train rows are left out."""
    rng, by_label = random.Random(seed), defaultdict(list)
    for text, label in rng.sample(list(train), len(train)):
        by_label[label].append(text)
    learn = [Example(text, label) for label in sorted(by_label) for text in by_label[label][:each]]
    held = [Example(text, label) for text, label in rng.sample(list(test), len(test)) if label in by_label][:most]
    return Case(name, tuple(rng.sample(learn, len(learn))), tuple(held))


def banking(each: int, labels: int, most: int, seed: int) -> Case:
    train, test = common.bank("train"), common.bank("test")
    names = sorted({label for _, label in train})
    kept = set(random.Random(seed).sample(names, labels)) if labels < len(names) else set(names)
    parts = [[row for row in rows if row[1] in kept] for rows in (train, test)]
    return case(f"banking77, {len(kept)} labels, {each} rows each", *parts, each, most, seed)


def dialogues(each: int, most: int, seed: int) -> Case:
    """Which section of a note a doctor's talk with a patient belongs to: long inputs, unequal labels."""
    with (common.DATA / "mts_dialog" / "MTS-Dialog-TrainingSet.csv").open(encoding="utf-8") as file:
        rows = [(row["dialogue"], row["section_header"]) for row in csv.DictReader(file)]
    rows = random.Random(1).sample(rows, len(rows))
    return case(f"mts_dialog, up to {each} rows a label", rows[len(rows) // 3 :], rows[: len(rows) // 3], each, most, seed)


def abstracts(each: int, most: int, seed: int) -> Case:
    """Yes, no or maybe from a question and the abstract's conclusion."""
    found = json.loads((common.DATA / "pubmedqa" / "ori_pqal.json").read_text(encoding="utf-8")).values()
    rows = [(f"{one['QUESTION']} {one['LONG_ANSWER']}", one["final_decision"]) for one in found]
    rows = random.Random(1).sample(rows, len(rows))
    return case(f"pubmedqa with its conclusion, up to {each} rows a label", rows[500:], rows[:500], each, most, seed)


def answers(each: int, most: int, seed: int) -> Case:
    """What kind of question about an illness a text answers: its symptoms, its treatment. The topic says nothing of it."""
    rows = []
    for path in sorted((common.DATA / "medquad").glob("*/*.xml")):
        for pair in ElementTree.parse(path).iter("QAPair"):
            asked, said = pair.find("Question"), " ".join((pair.findtext("Answer") or "").split()[:60])
            if asked is not None and said:
                rows.append((said, asked.get("qtype", "")))
    rows = random.Random(1).sample(rows, len(rows))
    often = {label for label, count in Counter(label for _, label in rows).items() if count >= 2 * each}
    rows = [row for row in rows if row[1] in often]
    return case(f"medquad, {each} answers of a kind", rows[len(rows) // 2 :], rows[: len(rows) // 2], each, most, seed)


def restaurants(what: str, each: int, most: int, seed: int) -> Case:
    """One attribute of a restaurant, from a description that names several. Those of the test rows are others."""
    parts = []
    for name in ("devset.csv", "testset_w_refs.csv"):
        with (common.DATA / "e2e_nlg" / name).open(encoding="utf-8") as file:
            found = [(row["ref"], re.search(rf"{what}\[(.+?)\]", row["mr"])) for row in csv.DictReader(file)]
        parts.append([(text, label.group(1)) for text, label in found if label])
    return case(f"e2e_nlg, {what}, {each} rows each", *parts, each, most, seed)


RUNGS: dict[str, Method] = {
    "frozen": replace(Encoder(), name_weights=(0.0,)),
    "names": Encoder(),
    "contrastive": METHODS["encoder-contrastive"],
    "whole": METHODS["encoder-full"],
}


def by_setfit(one: Case, python: str, steps: int) -> tuple[np.ndarray, float]:
    """Right answers of setfit row by row, and its CPU-seconds to fit."""
    with tempfile.TemporaryDirectory() as place:
        given, out = Path(place, "given.json"), Path(place, "found.json")
        rows = {"texts": [row.input for row in one.train], "answers": [row.output for row in one.train]}
        asked = {"asked": [row.input for row in one.test], "labels": one.labels, "steps": steps or -1}
        given.write_text(json.dumps({**rows, **asked, "encoder": str(find("all-minilm-l6-v2").folder)}))
        command = [python, "-c", SETFIT, str(given), f"{place}/out", str(out)]
        subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        found = json.loads(out.read_text())
    return np.array([said == row.output for said, row in zip(found["found"], one.test)], float), found["cpu"]


def beside_setfit(one: Case, own: np.ndarray, cpu: float, python: str, steps: int) -> None:
    """Print setfit on the same rows against rung's contrastive encoder."""
    theirs, spent = by_setfit(one, python, steps)
    said = (
        f"over it by rung's: {paired_bootstrap(theirs, own)}; {spent:.0f} CPU-s to fit, {spent / cpu:.1f} times rung's {cpu:.0f}"
    )
    print(f"  {'setfit':12s} {wilson(int(theirs.sum()), len(one.test))}, {said}", flush=True)


def measured(one: Case, engines: Engines, rungs: Sequence[str]) -> tuple[dict[str, np.ndarray], float]:
    """Right answers of each rung, row by row, and the last one's CPU-seconds to fit; prints them."""
    start = Predictor(
        kind="classify",
        model=engines.reference("smollm2-135m-instruct"),
        encoder="all-minilm-l6-v2",
        instruction="Name the label.",
        labels=one.labels,
        descriptions=("",) * len(one.labels),
    )
    print(f"{one.name}: {len(one.train)} train rows, {len(one.labels)} labels, {len(one.test)} test rows", flush=True)
    found, cpu = dict[str, np.ndarray](), 0.0
    for name in rungs:
        with tempfile.TemporaryDirectory() as folder:
            run, cpu = Run(Path(folder), engines), time.process_time()
            fitted = RUNGS[name].fit(start, TrainData(one.train, one.labels), run)
            cpu = time.process_time() - cpu
            answers = fitted.predict(one.test, engines)
        found[name] = np.array([answer.output == row.output for answer, row in zip(answers, one.test)], float)
        gain = paired_bootstrap(found["frozen"], found[name])
        notes = {key: run.notes[key] for key in ("steps", "held", "C", "name_weight") if key in run.notes}
        right = int(found[name].sum())
        print(f"  {name:12s} {wilson(right, len(one.test))}, over frozen {gain}; {cpu:.0f} CPU-s to fit; {notes}", flush=True)
    return found, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="banking77 alone, without the rung tuned whole")
    parser.add_argument("--only", nargs="+", default=[], help="sets whose name has one of these words")
    parser.add_argument("--rungs", nargs="+", choices=list(RUNGS), help="the last one is compared with frozen in the last line")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--setfit", default="", metavar="PYTHON")
    parser.add_argument("--setfit-steps", type=int, default=0)
    given = parser.parse_args()
    rungs = ["frozen", *[name for name in given.rungs or list(RUNGS)[: 3 if given.quick else 4] if name != "frozen"]]
    seed, most = given.seed, 1000
    cases = [banking(10, 77, most, seed)]
    if not given.quick:
        cases += [banking(4, 77, most, seed), banking(16, 12, most, seed), banking(8, 2, most, seed), banking(64, 6, most, seed)]
        cases += [dialogues(16, most, seed), dialogues(64, most, seed), abstracts(64, most, seed), answers(32, most, seed)]
        cases += [restaurants("priceRange", 64, most, seed), restaurants("familyFriendly", 64, most, seed)]
    if given.only:
        cases = [one for one in cases if any(word in one.name for word in given.only)]
    engines = Engines(common.machine(), say=lambda text: None)
    shown = given.rungs[-1] if given.rungs else "contrastive"
    gains = []
    for one in cases:
        found, cpu = measured(one, engines, rungs)
        if given.setfit:
            beside_setfit(one, found[rungs[-1]], cpu, given.setfit, given.setfit_steps)
        gains.append(paired_bootstrap(found["frozen"], found[shown]))
    print(f"ratio={100 * gains[0].value:.1f} more right answers in a hundred by {shown} than frozen: {gains[0]}, {cases[0].name}")


if __name__ == "__main__":
    main()
