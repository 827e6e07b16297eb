"""A fitted encoder rung exported in every form, each loaded by its engine and asked beside the original.

The head is fitted on messages to a bank, of twenty intents. The table says of each form how many labels are the same, by how
much a probability differs at most, the score of both, paired, and the bytes. The last line is the share of forms within their
limits.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import common

from rung.climbing.fit import fit, fit_context
from rung.climbing.project import Project
from rung.export import run
from rung.export.source import source
from rung.export.targets import form
from rung.task import load_task

FORMS = (("hf", "f32"), ("onnx", "f32"), ("onnx", "int8"), ("zip", "f32"))
RUNG = "encoder"


def task(folder: Path, labels: int, rows: int) -> Project:
    """A task of so many intents with so many rows each."""
    found = [row for group in common.by_label()[:labels] for row in group[:rows]]
    yaml = (
        "task: Name the intent of the customer's message to a bank.\nkind: classify\nbase: fake\n"
        "data: {examples: rows.csv, input: text, output: intent}\n"
        f"rungs: [{RUNG}]\ngoal: {{metric: accuracy, at_least: 0.8}}\n"
    )
    return Project(load_task(common.write_task(folder, yaml, {"rows": found})), say=print)


def main() -> None:
    args = common.arguments(__doc__)
    common.machine()
    with tempfile.TemporaryDirectory(prefix="rung-export-") as place:
        folder = Path(place)
        project = task(folder, labels=20 if args.quick else 77, rows=60 if args.quick else 150)
        fit(fit_context(project), project.places(RUNG)[0].methods, float("inf"), lambda text, share: None)
        of, passed = source(project, RUNG), 0
        for to, kind in FORMS:
            wanted, started = form(of, to, kind), time.process_time()
            try:
                done = run.export(of, wanted, folder / "exports" / wanted.name)
            except run.Differs as error:
                print(f"{wanted.name}: FAILED: {error}", flush=True)
                continue
            passed += 1
            lines = [f"{name} {value}" for name, value in (*done.proof.compared(), *done.proof.scored()[-1:])]
            seconds = time.process_time() - started
            print(f"{wanted.name}: {done.bytes:,} bytes, {seconds:.0f} CPU-seconds; {'; '.join(lines)}", flush=True)
    print(f"ratio={passed / len(FORMS):.2f} of the forms within their limits")


if __name__ == "__main__":
    main()
