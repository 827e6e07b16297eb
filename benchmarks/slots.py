"""Slot accuracy and ROUGE-L on e2e_nlg, every rung that plan_vs_measured.py has on record, the people's texts beside them.

A slot of the input, such as `area[riverside]`, counts where its value stands in the text, case and hyphens aside;
familyFriendly where the text speaks of families or children, with a denial exactly if the value is no. People say some
slots in other words, so their own figure under this rule is the mark to hold the rungs to. --quick: no difference.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

import common

from rung import store
from rung.climbing.project import Project
from rung.metrics import resample
from rung.task import load_task
from rung.types import Interval

SLOT = re.compile(r"([\w ]+)\[([^\]]*)\]")
FAMILY = re.compile(r"famil|child|kid")
DENIAL = re.compile(r"\b(no|not|non|isn't|doesn't|aren't|don't|never|adults?)\b")


def plain(text: str) -> str:
    return " ".join(text.lower().replace("-", " ").split())


def said(slot: str, value: str, text: str) -> bool:
    """Whether a text says what a slot holds."""
    if slot == "familyFriendly":
        about = [part for part in re.split(r"[.,;]", plain(text)) if FAMILY.search(part)]
        return bool(about) and any(DENIAL.search(part) for part in about) == (value == "no")
    return plain(value) in plain(text)


def counts(given: str, text: str) -> tuple[int, int]:
    """Slots said and slots given."""
    slots = [(name.strip(), value) for name, value in SLOT.findall(given)]
    return sum(said(name, value, text) for name, value in slots), len(slots)


def accuracy(inputs: Sequence[str], texts: Sequence[str]) -> Interval:
    """Share of all slots said, by bootstrap over the rows."""
    return resample.bootstrap_interval([counts(*pair) for pair in zip(inputs, texts, strict=True)], limits=(0.0, 1.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="no difference: records are read either way")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "kept")
    args = parser.parse_args()
    common.machine()
    folder = args.folder / "e2e_nlg"
    decided = folder / ".rung" / "decision.json"
    if not decided.exists():
        raise SystemExit(f"no records under {folder}; run plan_vs_measured.py --tasks e2e_nlg first")
    project = Project(load_task(folder), say=lambda text: None)
    rows = {row.id: row for row in project.inputs.splits.dev}
    print("| rung | ROUGE-L | slot accuracy |\n|---|---|---|")
    found: dict[str, float] = {}
    for record in map(store.record, json.loads(decided.read_text(encoding="utf-8"))["records"]):
        if record.scores:
            slots = accuracy([rows[name].input for name in record.scores.ids], record.scores.outputs)
            found[record.rung] = slots.value
            print(f"| {record.rung} | {record.scores.overall} | {slots} |")
    people = accuracy([row.input for row in rows.values()], [row.output for row in rows.values()])
    print(f"| (people) | | {people} |")
    best = max(value for rung, value in found.items() if rung.startswith("few-shot"))
    print(f"ratio={found['lora'] / best:.2f} slot accuracy of lora over that of the best few-shot rung, n={len(rows)}")


if __name__ == "__main__":
    main()
