"""Quoted against measured time and memory, over all tasks and rungs that plan_vs_measured.py has on record.

Two times a rung: to fit, and to answer the dev rows; those under five seconds on both sides are left out. First as quoted from
the machine's measured speed alone; then corrected by what the same rung's quotes were off by on the other tasks, as a plan
does after a run on this machine. The ratio is the share of first quotes within a factor of 1.5. --anew takes the quotes of
today's formulas in place of those told before the climbs. --quick reads no records: it fits LoRA with one epoch on 16 rows of
each of the eight tasks, each in a process of its own, and prints quoted and measured memory and time; the ratio is then that
of memory. With --beside a busy process runs at the same time.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import common
import eight

from rung.climbing.fit import fit, fit_context
from rung.climbing.project import Project
from rung.machine import Machine
from rung.metrics.stats import wilson
from rung.planning import corrections
from rung.store import Store
from rung.task import load_task
from rung.types import Cost, Record

LEAST_SECONDS = 5.0
ROWS = 16
"""Train rows of the small tasks."""
Pair = tuple[float, float]


def times(quote: Cost, record: Record) -> list[Pair]:
    """(quoted, measured) seconds to fit and to answer; short ones left out."""
    assert record.cost and record.scores
    rows = record.scores.overall.n
    pairs = [(quote.fit_seconds, record.cost.fit_seconds), (quote.row_seconds * rows, record.cost.row_seconds * rows)]
    return [pair for pair in pairs if max(pair) >= LEAST_SECONDS]


def within(pairs: list[Pair], factor: float) -> int:
    return sum(quoted / factor <= seen <= quoted * factor for quoted, seen in pairs)


def small_fits(beside: bool) -> None:
    """Fit LoRA on each small task and print what was quoted and what it took."""
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if beside else None
    found: dict[str, list[Pair]] = {"memory": [], "time": []}
    try:
        with tempfile.TemporaryDirectory(prefix="rung-quotes-") as place:
            for name in eight.TASKS:
                eight.write(name, Path(place) / name, ROWS, ["lora"], epochs=1)
                words = [sys.executable, __file__, "--one", str(Path(place) / name)]
                told = subprocess.run(words, check=True, capture_output=True, text=True).stdout
                quoted, took = json.loads(told.splitlines()[-1])
                for what in found:
                    found[what].append((quoted[what], took[what]))
                memory, seconds = (f"{quoted[what]:.3g}, took {took[what]:.3g}" for what in found)
                print(f"  memory {memory} bytes; {seconds} s", flush=True)
    finally:
        if other:
            other.kill()
            other.wait()
    shares = {what: wilson(within(pairs, 1.5), len(pairs)) for what, pairs in found.items()}
    print(f"within 1.5: memory {shares['memory']}, time {shares['time']}; {'beside a busy process' if beside else 'alone'}")
    print(f"ratio={shares['memory'].value:.2f} of quotes of memory within 1.5, {shares['time'].value:.2f} of those of time")


def one_fit(folder: Path) -> None:
    """Fit the only rung of a task and print (quoted, measured) as JSON."""
    project = Project(load_task(folder), say=lambda text: None)
    step = project.plan.alone
    assert step.raw
    _, [note] = fit(fit_context(project), step.methods, math.inf, lambda text, share: None)
    quoted = {"memory": step.raw.memory_bytes, "time": step.raw.fit_seconds}
    print(json.dumps([quoted, {"memory": note["peak_memory_bytes"], "time": note["seconds"]}]))


def memory(record: Record) -> Pair:
    """(quoted, measured) bytes of a rung."""
    assert record.provenance.raw_quote and record.cost
    return record.provenance.raw_quote.memory_bytes, record.cost.memory_bytes


def anew(folder: Path, told: list[Record], machine: Machine) -> list[Record]:
    """The records with today's quotes in place of those that were told."""
    now = {step.rung: step.raw for step in Project(load_task(folder), say=lambda text: None, estimate_for=machine).plan.steps}
    return [
        replace(one, provenance=replace(one.provenance, raw_quote=raw, formulas=corrections.FORMULA_VERSION))
        for one in told
        if (raw := now.get(one.rung))
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fit LoRA on small tasks instead of reading records")
    parser.add_argument("--beside", action="store_true", help="with --quick: another program runs at the same time")
    parser.add_argument("--folder", type=Path, default=Path(__file__).parent / "kept")
    parser.add_argument("--anew", action="store_true", help="quote again, as the formulas are now")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one_fit(args.one)
        return
    machine = common.machine()
    if args.quick:
        small_fits(args.beside)
    else:
        report(recorded(args.folder, machine, args.anew), machine)


def recorded(folder: Path, machine: Machine, again: bool) -> dict[str, list[Record]]:
    """The measured rungs of each task under a folder."""
    done: dict[str, list[Record]] = {}
    for path in sorted(folder.glob("*/.rung/records.jsonl")):
        records = {one.rung: one for one in Store(path.parents[1]).records() if one.status == "done"}
        told = [one for one in records.values() if one.provenance.raw_quote]
        done[path.parents[1].name] = anew(path.parents[1], told, machine) if again else told
    if not any(done.values()):
        raise SystemExit(f"no records under {folder}; run plan_vs_measured.py first")
    return done


def report(done: dict[str, list[Record]], machine: Machine) -> None:
    """Print how records compare with their quotes."""
    first: dict[str, list[Pair]] = defaultdict(list)
    later: dict[str, list[Pair]] = defaultdict(list)
    for task, records in done.items():
        others = [
            one
            for name in done
            if name != task
            for record in done[name]
            if (one := corrections.measured_against_estimate(record, machine))
        ]
        for record in records:
            raw = record.provenance.raw_quote
            scale = corrections.correction_for(record.rung, bool(record.provenance.writes), [], others)
            first[record.rung] += times(raw, record)
            later[record.rung] += times(corrections.corrected(raw, scale), record) if scale.runs else []
    print("| rung | times | within 1.5 | corrected | within 1.25 |\n|---|---|---|---|---|")
    for rung in first:
        fresh, known = first[rung], later[rung]
        print(f"| {rung} | {len(fresh)} | {within(fresh, 1.5)} | {len(known)} | {within(known, 1.25)} |")
    by_task(done)
    fresh, known = ([pair for pairs in found.values() for pair in pairs] for found in (first, later))
    probe, after = wilson(within(fresh, 1.5), len(fresh)), wilson(within(known, 1.25), len(known))
    print(f"after the probe, within 1.5: {probe}; corrected by other tasks, within 1.25: {after}")
    print(f"ratio={probe.value:.2f} of first quotes within 1.5, {after.value:.2f} of corrected ones within 1.25")


def by_task(done: dict[str, list[Record]]) -> None:
    """Print each rung's memory and times, as quoted and as measured."""
    for task, records in done.items():
        pairs = [pair for one in records for pair in times(one.provenance.raw_quote, one)]
        print(f"{task}: {within(pairs, 1.5)} of {len(pairs)} within 1.5")
        for one in records:
            quoted, seen = memory(one)
            told = "; ".join(f"{before:.0f} s, took {took:.0f}" for before, took in times(one.provenance.raw_quote, one))
            print(f"  {one.rung}: {quoted / 1e9:.2f} GB, took {seen / 1e9:.2f}; {told}")
    held = [memory(one) for records in done.values() for one in records]
    print(f"memory within 1.5: {wilson(within(held, 1.5), len(held))}")


if __name__ == "__main__":
    main()
