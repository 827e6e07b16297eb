"""Learning rate and epochs of every way of training, searched on rows of banking77's train carved into fit and held.

Each setting is fitted on the same rows and scored by accuracy on the same held rows; the test file is not opened. A
setting's result is a line of --out: what stands there is not fitted again, so a search may be stopped and gone on with.
12 classes, 10 rows a class and four epochs; --around 1 tries the table's own rates alone, which makes a leaderboard of the ways.
--quick: 8 classes, 4 rows a class, two rates, two epochs.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import common

from rung.lm.engines import Engines
from rung.methods import METHODS
from rung.methods.base import Run, options
from rung.methods.encoder_full import RATES
from rung.metrics.stats import wilson
from rung.predictor import Predictor
from rung.types import Example, TrainData

NAMES = (
    *("lora", "rslora", "dora", "ia3", "layernorm", "bitfit", "bottleneck", "prompt-tuning", "prefix-tuning"),
    *("full", "encoder-full", "encoder"),
)
AROUND = (0.3, 1.0, 3.0)
"""Rates tried, as multiples of the table's."""


@dataclass(frozen=True)
class Search:
    """How much is tried on how many rows."""

    classes: int = 12
    fit: int = 10
    held: int = 20
    around: tuple[float, ...] = AROUND
    epochs: tuple[int, ...] = (4,)


QUICK = Search(classes=8, fit=4, held=4, around=(1.0, 3.0), epochs=(2,))


def carve(search: Search) -> tuple[list[Example], list[Example]]:
    """Rows to fit and rows to score by, so many a class, all of banking77's train."""
    chosen = [[Example(text, label) for text, label in rows] for rows in common.by_label()[: search.classes]]
    fit = [row for rows in chosen for row in rows[: search.fit]]
    return fit, [row for rows in chosen for row in rows[search.fit : search.fit + search.held]]


def settings(names: list[str], search: Search) -> Iterator[tuple[str, float, int]]:
    """Method, learning rate, epochs; the table's own rate first. A frozen encoder has neither: 0 and 0."""
    for name in names:
        rate = own_rate(name)
        if not rate:
            yield name, 0.0, 0
            continue
        for factor in sorted(search.around, key=lambda factor: factor != 1.0):
            for epochs in search.epochs:
                yield name, float(f"{rate * factor:.2g}"), epochs


def own_rate(name: str) -> float:
    """The learning rate in the method's table, 0 where it takes none."""
    rate = options(METHODS[name]).get("learning_rate", 0.0)
    return RATES[True] if rate is None else float(rate)


def trial(start: Predictor, setting: tuple[str, float, int], rows: tuple[list[Example], list[Example]], engines: Engines) -> dict:
    """One setting fitted and scored."""
    name, rate, epochs = setting
    fit, held = rows
    method = replace(METHODS[name], learning_rate=rate, epochs=epochs) if rate else METHODS[name]  # type: ignore[type-var]
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder), engines)
        began = time.monotonic()
        found = method.fit(start, TrainData(tuple(fit), start.labels), run)
        seconds = time.monotonic() - began
        right = sum(answer.output == row.output for answer, row in zip(found.predict(held, engines), held))
    return {
        "setting": [name, rate, epochs],
        "right": right,
        "n": len(held),
        "rows": len(fit),
        "loss": run.notes["losses"][-1] if rate else 0.0,
        "seconds": round(seconds, 1),
        "share": run.notes["trained_share"] if rate else 0.0,
    }


def table(found: list[dict]) -> None:
    """Every setting, the best of each method marked; the methods by their best."""
    best: dict[str, dict] = {}
    for one in found:
        name = one["setting"][0]
        if name not in best or one["right"] > best[name]["right"]:
            best[name] = one
    print("method         rate     epochs  accuracy on held                trained    last loss  seconds")
    for name in sorted(best, key=lambda name: -best[name]["right"]):
        for one in sorted((one for one in found if one["setting"][0] == name), key=lambda one: one["setting"][1:]):
            interval = wilson(one["right"], one["n"])
            mark = "*" if one is best[name] else " "
            print(
                f"{name:14} {one['setting'][1]:<8g} {one['setting'][2]:>5} {mark} {interval!s:30} "
                f"{one['share']:>9.3%} {one['loss']:>10.3f} {one['seconds']:>8.0f}"
            )
    ratios = []
    for name, one in best.items():
        own = [o["right"] for o in found if o["setting"][:2] == [name, own_rate(name)]]
        ratios.append(one["right"] / max(1, *own))
    told = f"held accuracy of the best setting over the best at the table's rate, {len(best)} methods, n={found[0]['n']}"
    print(f"ratio={common.median(ratios):.2f} {told}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument(
        "--around", type=float, nargs="+", help="multiples of the table's rates to try; 1 alone gives a leaderboard"
    )
    parser.add_argument("--methods", default=",".join(NAMES), help="joined by commas")
    parser.add_argument("--out", type=Path, default=None, help="one JSON line a setting; what stands there is not done again")
    parser.add_argument("--base", default="smollm2-135m-instruct")
    parser.add_argument("--encoder", default="all-minilm-l6-v2")
    args = parser.parse_args()
    search = QUICK if args.quick else Search()
    search = replace(search, around=tuple(args.around)) if args.around else search
    rows = carve(search)
    labels = tuple(sorted({row.output for row in rows[0]}))
    engines = Engines(common.machine(), say=lambda text: None)
    start = Predictor(
        kind="classify",
        model=engines.reference(args.base),
        encoder=args.encoder,
        instruction="Name the intent of the customer's message to the bank.",
        labels=labels,
        descriptions=("",) * len(labels),
    )
    print(f"{len(labels)} classes, {len(rows[0])} rows to fit, {len(rows[1])} to score by; base {args.base}")
    lines = args.out.read_text(encoding="utf-8").splitlines() if args.out and args.out.exists() else []
    found = [one for one in map(json.loads, lines) if (one["rows"], one["n"]) == (len(rows[0]), len(rows[1]))]
    for setting in settings(args.methods.split(","), search):
        if not any(tuple(one["setting"]) == setting for one in found):
            found.append(trial(start, setting, rows, engines))
            print(json.dumps(found[-1]), flush=True)
            if args.out:
                with args.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(found[-1]) + "\n")
    table(found)


if __name__ == "__main__":
    main()
