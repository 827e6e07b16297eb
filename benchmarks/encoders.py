"""Rungs with a small encoder on sets of few and of many labels: frozen, with names of labels, tuned contrastively, tuned whole.

Every rung has the same train rows and answers the same test rows; differences are paired. The calibration error is the mean
difference between confidence and share right in ten bins of equally many rows: before the head's temperature, and as it
answers. `--quick`: banking77 with ten rows a label and 1,000 test rows, without the rung tuned whole. `--setfit PYTHON`: also
the package setfit with the same encoder and rows, installed in that environment; 20 pairs a row, or as many steps as
`--setfit-steps`. Last line: the gain of the contrastive rung over the frozen one in right answers a hundred rows; of several
sets, the share on which it is best or tied.
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
from rung.selective.choosing import calibration_error
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
    "full": METHODS["encoder-full"],
}
PLAIN = ("frozen", "contrastive", "full")
"""Rungs that are measured unless others are named."""


@dataclass(frozen=True)
class Result:
    """One rung on one set."""

    right: np.ndarray
    """(test rows,), 0 or 1."""
    cpu: float
    """CPU-seconds to fit."""
    errors: tuple[float, ...] = ()
    """Expected calibration error: before, where the rung calibrates, and as it answers."""
    notes: str = ""


@dataclass(frozen=True)
class Log:
    """Results by set and rung, a line of JSON each, written as each is measured. Without a path nothing is remembered."""

    path: Path | None

    def find(self, key: str) -> Result | None:
        for line in self.path.read_text(encoding="utf-8").splitlines() if self.path and self.path.exists() else ():
            one = json.loads(line)
            if one["key"] == key:
                return Result(np.array(list(one["right"]), float), one["cpu"], tuple(one["errors"]), one["notes"])
        return None

    def add(self, key: str, found: Result) -> Result:
        if self.path:
            right = "".join(str(int(one)) for one in found.right)
            line = {"key": key, "right": right, "cpu": found.cpu, "errors": found.errors, "notes": found.notes}
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        return found


def by_setfit(one: Case, python: str, steps: int) -> Result:
    """The package setfit, in a process of its own."""
    with tempfile.TemporaryDirectory() as place:
        given, out = Path(place, "given.json"), Path(place, "found.json")
        rows = {"texts": [row.input for row in one.train], "answers": [row.output for row in one.train]}
        asked = {"asked": [row.input for row in one.test], "labels": one.labels, "steps": steps or -1}
        given.write_text(json.dumps({**rows, **asked, "encoder": str(find("all-minilm-l6-v2").folder)}))
        command = [python, "-c", SETFIT, str(given), f"{place}/out", str(out)]
        subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        found = json.loads(out.read_text())
    return Result(np.array([said == row.output for said, row in zip(found["found"], one.test)], float), found["cpu"])


def by_rung(one: Case, name: str, engines: Engines) -> Result:
    """A rung fitted on the set's train rows and asked its test rows."""
    start = Predictor(
        kind="classify",
        model=engines.reference("smollm2-135m-instruct"),
        encoder="all-minilm-l6-v2",
        instruction="Name the label.",
        labels=one.labels,
        descriptions=("",) * len(one.labels),
    )
    with tempfile.TemporaryDirectory() as folder:
        run, cpu = Run(Path(folder), engines), time.process_time()
        fitted = RUNGS[name].fit(start, TrainData(one.train, one.labels), run)
        cpu = time.process_time() - cpu
        engine: Any = engines.open(fitted.model)
        logits = engine.scores([row.input for row in one.test]).astype(float)
    right = np.array([engine.labels[k] == row.output for k, row in zip(logits.argmax(1), one.test)], float)
    scales = (run.notes["head_temperature"], 1.0) if "head_temperature" in run.notes else (1.0,)
    errors = [calibration_error(likeliest(logits * scale), right) for scale in scales]
    notes = {key: run.notes[key] for key in ("steps", "held", "C", "name_weight", "head_temperature") if key in run.notes}
    return Result(right, cpu, tuple(errors), str(notes))


def likeliest(logits: np.ndarray) -> np.ndarray:
    """Probability of the likeliest label; (rows,)."""
    return np.exp(logits.max(1) - np.logaddexp.reduce(logits, axis=1))


def measured(one: Case, rungs: Sequence[str], by: Callable[[str], Result], log: Log, seed: int) -> dict[str, Result]:
    """Each rung's result, printed."""
    print(f"{one.name}: {len(one.train)} train rows, {len(one.labels)} labels, {len(one.test)} test rows", flush=True)
    found: dict[str, Result] = {}
    for name in rungs:
        key = f"{one.name}, seed {seed}, {len(one.test)} test rows: {name}"
        found[name] = this = log.find(key) or log.add(key, by(name))
        share, gain = wilson(int(this.right.sum()), len(one.test)), paired_bootstrap(found["frozen"].right, this.right)
        errors = " → ".join(f"{error:.3f}" for error in this.errors)
        said = (
            f"{share}, over frozen {gain}; {this.cpu:.0f} CPU-s to fit; calibration error {errors or 'not asked'}; {this.notes}"
        )
        print(f"  {name:12s} {said}", flush=True)
    return found


def is_best_or_tied(found: dict[str, Result], shown: str) -> bool:
    """Whether no other rung of the set is better beyond the paired interval."""
    return all(paired_bootstrap(found[shown].right, other.right).low <= 0 for other in found.values())


def cases(quick: bool, only: Sequence[str], seed: int) -> list[Case]:
    most = 1000 if quick else 500
    found = [banking(10, 77, most, seed)]
    if not quick:
        found += [banking(4, 77, most, seed), banking(16, 12, most, seed), banking(8, 2, most, seed), banking(64, 6, most, seed)]
        found += [restaurants("priceRange", 64, most, seed), restaurants("familyFriendly", 64, most, seed)]
        found += [answers(32, most, seed), abstracts(64, most, seed), dialogues(16, most, seed), dialogues(64, most, seed)]
    return [one for one in found if not only or any(word in one.name for word in only)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="banking77 alone, frozen and contrastive")
    parser.add_argument("--only", nargs="+", default=[], help="sets whose name has one of these words")
    parser.add_argument("--rungs", nargs="+", choices=list(RUNGS), help="the last one is compared in the last line")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--setfit", default="", metavar="PYTHON")
    parser.add_argument("--setfit-steps", type=int, default=0)
    parser.add_argument(
        "--log", type=Path, help="a file of results, added to as they are measured; what it has is not measured again"
    )
    given = parser.parse_args()
    rungs = ["frozen", *[name for name in given.rungs or PLAIN[: 2 if given.quick else 3] if name != "frozen"]]
    rungs += ["setfit"] if given.setfit else []
    shown = given.rungs[-1] if given.rungs else "contrastive"
    engines = Engines(replace(common.machine(), threads=given.threads), say=lambda text: None)
    log = Log(given.log)
    table = []
    for one in cases(given.quick, given.only, given.seed):

        def by(name: str, one: Case = one) -> Result:
            return by_setfit(one, given.setfit, given.setfit_steps) if name == "setfit" else by_rung(one, name, engines)

        table.append((one, measured(one, rungs, by, log, given.seed)))
    for one, found in table:
        if "setfit" in found:
            theirs, own = found["setfit"], found[shown]
            gain = paired_bootstrap(theirs.right, own.right)
            print(f"{shown} over setfit, {one.name}: {gain}; setfit takes {theirs.cpu / own.cpu:.1f} times its CPU-seconds")
    one, found = table[0]
    if len(table) > 1:
        good = sum(is_best_or_tied(found, shown) for _, found in table)
        print(f"ratio={good / len(table):.2f} of {len(table)} sets on which {shown} is best or tied ({good})")
    else:
        gain = paired_bootstrap(found["frozen"].right, found[shown].right)
        print(f"ratio={100 * gain.value:.1f} more right answers in a hundred by {shown} than frozen: {gain}, {one.name}")


if __name__ == "__main__":
    main()
