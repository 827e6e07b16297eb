"""A fitted LoRA rung of the default model exported in every form, each loaded by its engine and asked beside the original.

The adapter is trained on messages to a bank, of a few intents. The table says of each form how many greedy answers and next
tokens are the same, by how many nats the original prefers its own token at the worst miss, and the score of both, paired. The
last line is the share of forms within their limits.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import common

from rung.climbing.fit import fit, fit_context
from rung.climbing.project import Project
from rung.export import run, texts
from rung.export.source import Source, source
from rung.export.targets import form
from rung.export.targets.base import Form
from rung.lm.export import vllm_process
from rung.task import load_task

FORMS = (
    ("hf", "f32", False),
    ("hf", "", True),
    ("hf", "bf16", False),
    ("gguf", "f32", False),
    ("gguf", "f16", False),
    ("gguf", "q8_0", False),
    ("ollama", "f16", False),
)
"""Target, type of the numbers, whether the adapter alone."""
VLLM = ("vllm", "f32", False)
"""Besides, where RUNG_VLLM_PYTHON names a Python that has vLLM."""
RUNG = "lora"


def task(folder: Path, labels: int, rows: int) -> Project:
    """A task of so many intents with so many rows each."""
    found = [row for group in common.by_label()[:labels] for row in group[:rows]]
    yaml = (
        "task: Name the intent of the customer's message to a bank.\nkind: classify\n"
        "data: {examples: rows.csv, input: text, output: intent}\nbase: smollm2-135m-instruct\n"
        f"rungs: [{RUNG}]\nmethods: {{{RUNG}: {{epochs: 3, patience: 0}}}}\ngoal: {{metric: accuracy, at_least: 0.8}}\n"
    )
    return Project(load_task(common.write_task(folder, yaml, {"rows": found})), say=print)


def proven(of: Source, wanted: Form, folder: Path, original: texts.Original) -> dict:
    """The proof of an export, also of one that failed."""
    out = folder / wanted.name
    try:
        run.export(of, wanted, out, original=original)
    except run.Differs:
        out = out.with_name(out.name + ".failed")
    return json.loads((out / run.PROOF).read_text(encoding="utf-8"))


def main() -> None:
    args = common.arguments(__doc__)
    common.machine()
    with tempfile.TemporaryDirectory(prefix="rung-export-") as place:
        folder = Path(place)
        project = task(folder, labels=4 if args.quick else 12, rows=16 if args.quick else 40)
        fit(fit_context(project), project.places(RUNG)[0].methods, float("inf"), lambda text, share: None)
        of = source(project, RUNG, 12 if args.quick else 64)
        print(f"{len(of.rows)} dev rows, answers up to {texts.MOST} tokens")
        print(f"{'form':12} {'answers':>8} {'next token':>11} {'worst miss':>11} {'limit':>6}  export less original, paired")
        original, passed, engines = texts.ask_original(of), 0, dict[str, None]()
        forms = [form(of, *one) for one in (*FORMS, *([VLLM] if vllm_process.python() else []))]
        for wanted in forms:
            found = proven(of, wanted, folder / "exports", original)
            passed += found["passed"]
            same, tokens = f"{found['answers']}/{found['rows']}", f"{found['agreed']}/{found['places']}"
            score = found["scores"]["difference"]
            engines |= {found["engine"]: None}
            print(
                f"{wanted.name:12} {same:>8} {tokens:>11} {found['largest_margin']:>11.4f} {found['limits']['margin']:>6g}  "
                f"{score['value']:+.3f} [{score['low']:+.3f}, {score['high']:+.3f}], n={score['n']}"
                + ("" if found["passed"] else f"  FAILED: {'; '.join(found['faults'])}"),
                flush=True,
            )
    print(f"loaded by {'; '.join(engines)}")
    print(f"ratio={passed / len(forms):.2f} of the forms within their limits")


if __name__ == "__main__":
    main()
