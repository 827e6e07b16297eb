"""The plan's first choice against the measured winner on eight public tasks, all rungs measured on the same rows.

Climbs every task with --all and keeps tasks and records under --folder, where a second run goes on; this may take hours.
--quick: decides again from the records kept there, with the flowchart as it is now. The ratio is the number of tasks on
which the first choice has the best score, or is not shown to be worse than the best on the same rows (paired, 0.05).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import common
import eight

from rung import store
from rung.climbing.climb import reviewed_plan
from rung.climbing.project import Project
from rung.methods import METHODS, RUNGS
from rung.task import load_task

MORE = ("rag", "rag+lora", "full")
"""Rungs beside the usual ones, where there are such methods; those that look things up only where there are documents."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="decide again from the records under --folder")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "kept", help="where tasks and records are kept")
    parser.add_argument("--rows", type=int, default=200, help="training rows a task; half as many to decide on")
    parser.add_argument("--epochs", type=int, help="of LoRA, instead of the usual")
    parser.add_argument("--tasks", nargs="+", default=list(eight.TASKS), choices=list(eight.TASKS))
    parser.add_argument("--rungs", nargs="+", default=rungs())
    return parser.parse_args()


def rungs() -> list[str]:
    known = [rung for rung in MORE if all(part in METHODS for part in rung.split("+"))]
    return list(dict.fromkeys([*RUNGS, *known]))


def climb(folder: Path) -> None:
    """All rungs of one task; what is on record already is not done again."""
    done = subprocess.run([sys.executable, "-m", "rung.cli", "climb", str(folder), "--all"], check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"the climb of {folder} ended with {done.returncode}")


def judge(folder: Path) -> tuple[bool, bool]:
    """Whether the first choice met or tied the winner, and whether the winner was ruled out."""
    content = json.loads((folder / ".rung" / "decision.json").read_text(encoding="utf-8"))
    project = Project(load_task(folder), say=lambda text: None)
    records = [store.record(one) for one in content["records"]]
    told = reviewed_plan(project, store.decision(content["decision"]), records)
    seen, advice = told.hindsight, told.chart.rungs
    scores = {line.rung: str(line.score) for line in seen.lines}
    ruled_out = bool(seen.winner) and advice[seen.winner].verdict == "don't"
    first, winner = told.chart.first, seen.winner
    print(
        f"| {folder.name} | {first} {scores.get(first, 'not measured')} | {winner} {scores.get(winner, '')} "
        f"| {'yes' if seen.tied else 'no'} | {'yes' if ruled_out else 'no'} |"
    )
    for sentence in seen.wrong:
        print(f"  {sentence}")
    return seen.tied, ruled_out


def main() -> None:
    args = arguments()
    common.machine()
    if not args.quick:
        for name in args.tasks:
            folder = args.folder / name
            if not (folder / "rung.yaml").exists():
                eight.write(
                    eight.TASKS[name](), folder, args.rows, args.rungs, {"lora": {"epochs": args.epochs}} if args.epochs else None
                )
            climb(folder)
    kept = [args.folder / name for name in args.tasks if (args.folder / name / ".rung" / "decision.json").exists()]
    if not kept:
        raise SystemExit(f"no records under {args.folder}; run without --quick first")
    print("| task | first choice (dev) | winner (dev) | met or tied | winner ruled out |\n|---|---|---|---|---|")
    found = [judge(folder) for folder in kept]
    met, out = sum(tied for tied, _ in found), sum(ruled for _, ruled in found)
    print(f"ratio={met} of {len(found)} tasks where the first choice met or tied the winner; winners ruled out: {out}")


if __name__ == "__main__":
    main()
