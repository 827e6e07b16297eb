"""`other: true` on banking77: labels are held out of train, and their test rows are right only where `encoder` answers `other`.

Ten rows a label. For each draw of 15 of the 77 labels, `encoder` is fitted on the others and answers with and without
`other`, also the test rows of held-out labels. The threshold is chosen on train alone, by leaving labels of it out.
Shares have 95% intervals over the rows of all draws, a test row's as a cluster. `--quick`: 3 draws and 600 test rows; else 8
and all.
Last line: balanced accuracy (the mean of the shares right of known rows and of held-out ones) with `other` over without.
"""

from __future__ import annotations

import random
import tempfile
from dataclasses import replace
from pathlib import Path

import common
import numpy as np

from rung.lm.engines import Engines
from rung.methods import METHODS
from rung.methods.base import Run
from rung.metrics.resample import bootstrap_interval
from rung.predictor import Predictor
from rung.types import Example, Prediction, TrainData

OTHER = "other"
EACH, HELD_OUT = 10, 15


def draw(
    seed: int, test: list[tuple[str, str]], engines: Engines, folder: Path
) -> tuple[np.ndarray, list[Prediction], list[Prediction], np.ndarray]:
    """Of each test row: whether its label is held out, the answers without and with `other`, and which label is right."""
    groups = common.by_label()
    labels = [rows[0][1] for rows in groups]
    left = set(random.Random(seed).sample(labels, HELD_OUT))
    known = tuple(label for label in labels if label not in left)
    rows = tuple(Example(text, label) for group in groups for text, label in group[:EACH] if label not in left)
    start = Predictor(
        kind="classify",
        model=engines.reference("smollm2-135m-instruct"),
        encoder="all-minilm-l6-v2",
        instruction="Name the label.",
        labels=(*known, OTHER),
        descriptions=("",) * (len(known) + 1),
        other=OTHER,
    )
    asked = [Example(text, label) for text, label in test]
    run = Run(folder, engines)
    fitted = METHODS["encoder"].fit(start, TrainData(rows, start.labels), run)
    plain = replace(fitted, labels=known, descriptions=("",) * len(known), other="")  # the same head, asked for a label
    print(
        f"draw {seed}: {len(rows)} train rows of {len(known)} labels; on train, labels left out: {run.notes['other']}", flush=True
    )
    out = np.array([label in left for _, label in test])
    return out, plain.predict(asked, engines), fitted.predict(asked, engines), np.array([label for _, label in test])


def main() -> None:
    given = common.arguments(__doc__ or "")
    draws, most = (3, 600) if given.quick else (8, 3080)
    test = random.Random(0).sample(common.bank("test"), most)
    engines = Engines(common.machine())
    parts: list[dict[str, np.ndarray]] = []
    for seed in range(draws):
        with tempfile.TemporaryDirectory() as folder:
            out, plain, gated, due = draw(seed, test, engines, Path(folder))
            said = np.array([one.output for one in gated])
            before = np.array([one.output for one in plain])
            parts.append({"out": out, "other": said == OTHER, "right": said == due, "before": before == due})
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    rows = np.tile(np.arange(most), draws)
    out, known = whole["out"], ~whole["out"]

    def show(what: str, values: np.ndarray, chosen: np.ndarray) -> float:
        found = bootstrap_interval(values[chosen].astype(float), rows[chosen].tolist())
        print(f"  {what}: {found}", flush=True)
        return found.value

    found = show("rows of held-out labels answered `other`", whole["other"], out)
    show("rows of known labels answered `other`", whole["other"], known)
    right = show("known rows right, with `other`", whole["right"], known)
    before = show("known rows right, without it", whole["before"], known)
    show("answers given that are right, with `other`", whole["right"], ~whole["other"])
    show("answers given that are right, without it", whole["before"], np.ones(len(out), bool))
    print(f"ratio={(found + right) / before:.2f} balanced accuracy with `other` over without, which has no held-out row right")


if __name__ == "__main__":
    main()
