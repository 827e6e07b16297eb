"""The same base and the same adapter asked by vLLM, as a climb asks it, and by rung's own engine: agreement and time.

Needs RUNG_VLLM_PYTHON; on a CPU, RUNG_VLLM_OPTIONS=--enforce-eager spares minutes of compiling. Both compute in this machine's
data type, one after the other on the same cores. The adapter is trained on the rows for an epoch. For the base and the adapter:
greedy answers, answers that follow a JSON schema, labels chosen among the intents, the largest difference of a label's and of an
answer's log-probability, and seconds on the wall. The last line is the share of answers and labels that are the same.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import common

from rung.climbing.fit import fit, fit_context
from rung.climbing.project import Project
from rung.lm.base import Decoding, ModelRef
from rung.lm.engines import Engines
from rung.lm.export import vllm_process
from rung.predictor import Predictor
from rung.task import load_task

NAME = "smollm2-135m-instruct"
RUNG = "lora"
WRITTEN = Decoding(max_new_tokens=24)
SCHEMA = (
    '{"type": "object", "properties": {"urgent": {"type": "boolean"}}, "required": ["urgent"], "additionalProperties": false}'
)


def task(folder: Path, labels: int, rows: int) -> Project:
    """A task of so many intents with so many rows each, on a base in vLLM."""
    found = [row for group in common.by_label()[:labels] for row in group[:rows]]
    yaml = (
        "task: Name the intent of the customer's message to a bank.\nkind: classify\n"
        f"data: {{examples: rows.csv, input: text, output: intent}}\nbase: 'vllm:{NAME}'\n"
        f"rungs: [{RUNG}]\nmethods: {{{RUNG}: {{epochs: 1, patience: 0}}}}\ngoal: {{metric: accuracy, at_least: 0.8}}\n"
    )
    return Project(load_task(common.write_task(folder, yaml, {"rows": found})), say=print)


Sides = dict[str, tuple[Any, float]]
"""What was asked, with the answers and the seconds."""


def ask(predictor: Predictor, model: ModelRef, project: Project, rows: int) -> Sides:
    """What one engine answers, and how long it takes."""
    engines, labels, dev = project.engines, project.inputs.data.labels, project.inputs.splits.dev[:rows]
    prompts = predictor.prompts(dev, engines)
    engine: Any = engines.open(model)
    engine.choose(prompts[:1], labels)  # the front is warm
    calls: dict[str, Callable[[], Any]] = {
        "answers": lambda: engine.generate(prompts, WRITTEN),
        "json": lambda: engine.generate(prompts, replace(WRITTEN, schema=SCHEMA)),
        "labels": lambda: engine.choose(prompts, labels),
        "weigh": lambda: engine.weigh(prompts, labels),
        "score": lambda: engine.score(prompts, [row.output for row in dev]),
    }
    found: Sides = {}
    for what, call in calls.items():
        started = time.perf_counter()
        found[what] = call(), time.perf_counter() - started
    print(getattr(engine, "server", "rung"), {what: round(taken, 1) for what, (_, taken) in found.items()}, flush=True)
    return found


def own(model: ModelRef, engines: Engines) -> ModelRef:
    """The same model in rung's own engine."""
    plain = engines.reference(NAME)
    return replace(model, kind=plain.kind, name=plain.name)


def compare(title: str, vllm: Sides, rung: Sides) -> tuple[int, int]:
    """Prints a line for the base or the adapter; the same answers and labels, and all of them."""
    same = {
        what: sum(a.text == b.text for a, b in zip(vllm[what][0], rung[what][0], strict=True)) for what in ("answers", "json")
    }
    same["labels"] = sum(a.label == b.label for a, b in zip(vllm["labels"][0], rung["labels"][0], strict=True))
    rows = len(vllm["labels"][0])
    pairs = [pair for one, other in zip(vllm["weigh"][0], rung["weigh"][0], strict=True) for pair in zip(one, other)]
    worst = {"label": pairs, "score": [*zip(vllm["score"][0], rung["score"][0], strict=True)]}
    counted = ", ".join(f"{what} {count}/{rows}" for what, count in same.items())
    off = ", ".join(f"{what} {max(abs(a - b) for a, b in both):.5f}" for what, both in worst.items())
    times = ", ".join(f"{what} {vllm[what][1]:.1f} and {rung[what][1]:.1f}" for what in vllm)
    print(f"{title}: the same {counted}; largest difference in nats: {off}; seconds of vLLM and rung: {times}", flush=True)
    return sum(same.values()), rows * len(same)


def main() -> None:
    args = common.arguments(__doc__)
    common.machine()
    if not vllm_process.python():
        raise SystemExit(f"{vllm_process.PYTHON} names no Python that has vLLM")
    with tempfile.TemporaryDirectory(prefix="rung-vllm-") as place:
        project = task(Path(place), labels=3 if args.quick else 20, rows=8 if args.quick else 40)
        rows = 4 if args.quick else 100
        [found, *_] = project.places(RUNG)
        fitted, _ = fit(fit_context(project), found.methods, float("inf"), lambda text, share: None)
        assert fitted.model.kind == project.start.model.kind, "vLLM loads the adapter"
        both = {"base": project.start, "adapter": fitted}
        vllm = {title: ask(one, one.model, project, rows) for title, one in both.items()}
        project.engines.close()
        rung = {title: ask(one, own(one.model, project.engines), project, rows) for title, one in both.items()}
        totals = [compare(title, vllm[title], rung[title]) for title in both]
    print(f"ratio={sum(a for a, _ in totals) / sum(b for _, b in totals):.3f} of the answers and labels are the same")


if __name__ == "__main__":
    main()
