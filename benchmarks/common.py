"""What the benchmark programs share: the real model, real rows, the machine's own speed, medians, the last line."""

from __future__ import annotations

import argparse
import csv
import gc
import itertools
import json
import os
import random
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rung.methods.base import Run
    from rung.methods.lora import Lora
    from rung.predictor import Predictor
    from rung.types import TrainData

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
warnings.filterwarnings("ignore")

DATA = Path(__file__).resolve().parent.parent.parent / "shared" / "data"
SYSTEM = (
    "You are the support desk of a bank. Read the customer's message and name its intent with one of the known labels. "
    "Answer with the label only, in lower case, words joined by underscores, and write nothing before or after it."
)


def arguments(description: str, **flags: str) -> argparse.Namespace:
    """Those of the command line. `flags`: more of them, with their help."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions; under ten minutes on two cores")
    for name, text in flags.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    return parser.parse_args()


def bank(split: str = "train") -> list[tuple[str, str]]:
    """(message, label) of banking77; of the example task where the public data is absent, saying so."""
    path = DATA / "banking77" / f"{split}.csv"
    if path.exists():
        with path.open(encoding="utf-8") as file:
            return [(row["text"], row["category"]) for row in csv.DictReader(file)]
    print("banking77 is absent; measured on examples/tickets instead")
    with (Path(__file__).parent.parent / "examples/tickets/data/tickets.csv").open(encoding="utf-8") as file:
        return [(row["text"], row["intent"]) for row in csv.DictReader(file)]


def by_label(seed: int = 0) -> list[list[tuple[str, str]]]:
    """The train rows of each label, the labels in order and the rows of each as the seed draws them."""
    found: dict[str, list[tuple[str, str]]] = {}
    rows = bank("train")
    for row in random.Random(seed).sample(rows, len(rows)):
        found.setdefault(row[1], []).append(row)
    return [found[label] for label in sorted(found)]


def write_task(folder: Path, yaml: str, parts: dict[str, list[tuple[str, str]]]) -> Path:
    """A task's folder: its rung.yaml, and each part of (text, intent) rows as NAME.csv."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in parts.items():
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("text", "intent"), *rows])
    (folder / "rung.yaml").write_text(yaml, encoding="utf-8")
    return folder


def kept(file: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `make` measures, or what an earlier run wrote into the file."""
    if file.exists():
        print(f"{file.parent.name}, {file.stem}: from an earlier run", flush=True)
        return json.loads(file.read_text(encoding="utf-8"))
    found = make()
    file.write_text(json.dumps(found), encoding="utf-8")
    return found


def lora_fit(method: Lora, begin: Callable[[Run], Predictor], data: TrainData, run: Run) -> tuple[dict[str, Any], Predictor]:
    """CPU-seconds, losses and planned steps of a fit in the run's folder, with what `begin` does before it; and the Predictor.

    A fit that an earlier run finished there is read. One that was killed is resumed: its CPU-seconds count, and steps since
    its last checkpoint count twice.
    """
    from rung.lm.models import adapters  # noqa: F401 (its import takes seconds, which no fit is to pay)
    from rung.lm.training import train  # noqa: F401
    from rung.methods import tuning

    run.folder.mkdir(parents=True, exist_ok=True)
    file = run.folder / "cpu"
    earlier, began = float(file.read_text()) if file.exists() else 0.0, time.process_time()

    def spent(*_: object) -> float:
        cpu = earlier + time.process_time() - began
        file.write_text(str(cpu))
        return cpu

    run = replace(run, progress=spent)
    start = begin(run)

    def fit() -> dict[str, Any]:
        precision = method.fit(start, data, run).model.precision
        return {"cpu": spent(), "losses": run.notes["losses"], "planned": run.notes["planned_steps"], "precision": precision}

    found = kept(run.folder / "fit.json", fit)
    answers = tuning.answering_with(replace(start, show_labels=False), run.folder / "model", run, found.get("precision", ""))
    return found, answers


def steps_taken(fit: dict[str, Any]) -> str:
    return f"{fit['cpu']:.0f} CPU-s, {len(fit['losses'])} of {fit['planned']} steps, last loss {fit['losses'][-1]:.3f}"


def base_folder() -> Path:
    from rung.lm.models.resolve import find

    return find("smollm2-135m-instruct").folder


def machine(auto: bool = False):
    """`auto`: frozen layers are bfloat16 where that was measured to be faster, as with `precision: auto`."""
    from rung.lm.this_machine import load_or_measure

    found = load_or_measure()
    found = found.freezing(auto and found.bf16_speedup > 1)
    print(f"machine: {found.name}, {found.threads} threads, {found.memory_bytes / 2**30:.0f} GiB")
    return found


def matmul_gflops(seconds: float = 1.0, dtype: str = "float32") -> float:
    """The machine's matrix-product speed now: the best of a second of products, float32 also by oneDNN where it works.

    Of several sizes: with two threads oneDNN 3.12 uses one of them alone for 1,024 rows by 1,024 in bfloat16, and both for 2,048.
    """
    import torch

    from rung.lm.models import onednn_linear

    sides = [[torch.randn(rows, 1024).to(getattr(torch, dtype)) for rows in (size, 1024)] for size in (512, 1024, 2048)]
    products = [torch.mm, onednn_linear.onednn] if dtype == "float32" and onednn_linear.has_onednn() else [torch.mm]
    best, until = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < until:
        for (a, b), product in itertools.product(sides, products):
            taken = timed(lambda product=product, a=a, b=b: product(a, b), collect=False)
            best = max(best, 2 * len(a) * 1024**2 / taken / 1e9)
    return best


def timed(call: Callable[[], object], collect: bool = True) -> float:
    if collect:
        gc.collect()
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


median = statistics.median
