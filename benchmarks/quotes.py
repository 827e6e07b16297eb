"""Quoted against measured time and memory of rungs on eight small tasks, before and after two rows were asked.

Each rung of each task is quoted and then measured in a process of its own, on one thread of one core: as the plan quotes it
before anything is asked, as a climb quotes it after it has asked two train rows, and what fitting and answering took of the
clock and of the processor. With --beside a busy process runs on another core at the same time. Every result is a line of
--log, and what is in the log is not measured again, so that the whole can be done in parts; --report reads the log alone.
--anew quotes again with today's formulas, from tasks and samples that were kept under --folder. Two times a rung count: to
fit, and to answer the dev rows; those under five seconds on all sides are left out. The ratio is the share of quotes after
asking that are within a factor of 1.5 of the clock.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import common
import eight

from rung.climbing import cascading, sampling
from rung.climbing.project import Project
from rung.evaluate import memory
from rung.evaluate.predict import answer
from rung.metrics.stats import wilson
from rung.planning.steps import Step
from rung.task import load_task

LEAST_SECONDS = 5.0
TRAIN, DEV = 48, 24
RUNGS = ("zero-shot", "few-shot", "few-shot-similar", "rag", "encoder", "lora", "full")
QUICK_TASKS, QUICK_RUNGS = ("banking77", "e2e_nlg", "ner"), ("zero-shot", "few-shot", "lora")
OTHERS = sorted(os.sched_getaffinity(0))[:-1] or [0]
"""Cores that are not used here; another program gets them."""
Line = dict[str, Any]


def one(folder: Path, rung: str, beside: bool) -> Line:
    """Quote one rung, ask two rows where a climb would, quote again, and measure."""
    project = Project(load_task(folder).only(rung), say=lambda text: print(text, file=sys.stderr, flush=True))
    before = quoted(project.plan.alone, project)
    began = time.monotonic()
    sampling.ask(project, math.inf, most=math.inf)
    asking = time.monotonic() - began
    step, rows = project.plan.alone, project.inputs.splits.dev
    after = quoted(step, project)
    memory.reset_peak()
    cpu, clock = time.process_time(), time.monotonic()
    fitted = cascading.fit_step(project, step, math.inf, quiet)
    fit_cpu, fit_clock = time.process_time() - cpu, time.monotonic() - clock
    fit_bytes = max([note["peak_memory_bytes"] for note in fitted.notes], default=0)
    fit_seconds = sum(note["seconds"] for note in fitted.notes)
    memory.reset_peak()
    held = resident()
    cpu = time.process_time()
    found = answer(fitted.predictor, rows, project.store, project.engines, quiet, math.inf)
    took = {
        "fit": fit_seconds,
        "fit_cpu": fit_cpu if fit_clock > fit_seconds / 2 else fit_seconds,  # fitted while two rows were asked
        "answer": sum(one.seconds for one in found),
        "answer_cpu": time.process_time() - cpu,
        "memory": max(fit_bytes, memory.peak()),
        "fit_memory": fit_bytes,
        "answer_memory": memory.peak(),
        "held": held,
    }
    written = [one.tokens_out for one in found]
    samples = [asdict(one) for one in project.samples.values()]
    return {
        "task": folder.name,
        "rung": rung,
        "beside": beside,
        "before": before,
        "after": after,
        "took": took,
        "asking": asking,
        "written": written,
        "samples": samples,
        "rows": len(rows),
    }


def quoted(step: Step, project: Project) -> Line:
    """What the formulas say, without corrections by earlier runs on this machine."""
    assert step.raw, step.skip
    rows = len(project.inputs.splits.dev)
    return {"fit": step.raw.fit_seconds, "answer": step.raw.row_seconds * rows, "memory": step.raw.memory_bytes}


def resident() -> int:
    """Bytes of this process in main memory now."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def quiet(text: str, share: float) -> None:
    """No progress is shown."""


def measure(args: argparse.Namespace, folder: Path) -> None:
    """Measure what the log does not have yet, each rung in a process of its own; stop after --minutes."""
    until = time.monotonic() + 60 * args.minutes
    done = {(line["task"], line["rung"], line["beside"]) for line in read(args.log)}
    for task in args.tasks:
        place = folder / task
        if not (place / "rung.yaml").exists():
            eight.write(task, place, TRAIN, list(RUNGS), {"lora": {"epochs": 1}, "full": {"epochs": 1}})
        for rung in rungs_of(place, args.rungs):
            if (task, rung, args.beside) in done or time.monotonic() > until:
                continue
            with other_program(args.beside):
                words = [sys.executable, __file__, "--one", str(place), rung, *(["--beside"] if args.beside else [])]
                told = subprocess.run(words, check=False, stdout=subprocess.PIPE, text=True)
            if told.returncode:
                print(f"{task} {rung}: failed with {told.returncode}", flush=True)
                continue
            with args.log.open("a", encoding="utf-8") as file:
                file.write(told.stdout.splitlines()[-1] + "\n")
            say(json.loads(told.stdout.splitlines()[-1]))


def rungs_of(place: Path, wanted: list[str]) -> list[str]:
    """The wanted rungs that the task has what it takes for; a classify task has answers to choose, no documents."""
    task = load_task(place)
    have = [rung for rung in wanted if rung in (task.rungs or ())]
    return [rung for rung in have if rung != "encoder" or task.kind == "classify"]


@contextmanager
def other_program(wanted: bool) -> Iterator[None]:
    """A busy process on the other cores, if there is to be one."""
    if not wanted:
        yield
        return
    code = f"import os\nos.sched_setaffinity(0, {OTHERS})\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", code])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def say(line: Line) -> None:
    """One rung's quotes and measurements."""
    before, after, took = line["before"], line["after"], line["took"]
    times = "; ".join(
        f"{what} {before[what]:.1f} then {after[what]:.1f} s, took {took[what]:.1f} (processor {took[what + '_cpu']:.1f})"
        for what in ("fit", "answer")
        if counts(line, what)
    )
    room = f"memory {after['memory'] / 1e9:.2f} GB, took {took['memory'] / 1e9:.2f}"
    print(f"{line['task']} {line['rung']}: {times or 'short'}; {room}; asking {line['asking']:.1f} s", flush=True)


def counts(line: Line, what: str) -> bool:
    """Whether a time is long enough to say something."""
    return max(line["before"][what], line["after"][what], line["took"][what]) >= LEAST_SECONDS


def read(log: Path) -> list[Line]:
    """The lines of the log; the last one of a rung counts."""
    if not log.exists():
        return []
    found = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    return list({(one["task"], one["rung"], one["beside"]): one for one in found}.values())


def report(lines: list[Line]) -> None:
    """Print the shares of quotes within 1.5, alone and beside another program, and the last line."""
    last = 0.0
    for beside in (False, True):
        some = [line for line in lines if line["beside"] is beside]
        if not some:
            continue
        where = "beside a busy program" if beside else "alone"
        by_rung(some)
        for quote in ("before", "after"):
            clock, cpu = ([*pairs(some, quote, suffix)] for suffix in ("", "_cpu"))
            print(f"{where}, {quote} two rows: of the clock {share(clock)}, of the processor {share(cpu)}")
            last = within(clock) / len(clock) if quote == "after" else last
        room = [(line["after"]["memory"], line["took"]["memory"]) for line in some]
        spent, whole = sum(one["asking"] for one in some), sum(one["took"]["fit"] + one["took"]["answer"] for one in some)
        print(f"{where}: memory {share(room)}; asking took {spent:.0f} s beside {whole:.0f} s of fits and answers")
        print(f"ratio={last:.2f} of quotes within 1.5 after two rows were asked, {where}")


def by_rung(lines: list[Line]) -> None:
    """Print a table by rung, and every quote that is off."""
    found: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for line in lines:
        for what in ("fit", "answer"):
            if counts(line, what):
                found[line["rung"], what].append(line)
    print("| rung | time | n | before within 1.5 | after |\n|---|---|---|---|---|")
    for (rung, what), some in found.items():
        shares = [within([(one[quote][what], one["took"][what]) for one in some]) for quote in ("before", "after")]
        print(f"| {rung} | {what} | {len(some)} | {shares[0]} | {shares[1]} |")
    for (rung, what), some in found.items():
        for one in some:
            if not within([(one["after"][what], one["took"][what])]):
                print(f"  off: {one['task']} {rung} {what}: {one['after'][what]:.1f} s, took {one['took'][what]:.1f}")


def pairs(lines: list[Line], quote: str, suffix: str) -> Iterator[tuple[float, float]]:
    """(quoted, measured) seconds."""
    for line in lines:
        for what in ("fit", "answer"):
            if counts(line, what):
                yield line[quote][what], line["took"][what + suffix]


def within(some: list[tuple[float, float]], factor: float = 1.5) -> int:
    return sum(quote / factor <= took <= quote * factor for quote, took in some)


def share(some: list[tuple[float, float]]) -> str:
    return f"{wilson(within(some), len(some))} within 1.5"


def anew(lines: list[Line], folder: Path) -> list[Line]:
    """The lines with quotes of today's formulas, before and after the kept samples."""
    found = []
    for line in lines:
        task = load_task(folder / line["task"]).only(line["rung"])
        project = Project(task, say=lambda text: None)
        after = quoted(project.plan.alone, project)
        vars(project).pop("plan")
        vars(project)["samples"] = {}
        found.append({**line, "before": quoted(project.plan.alone, project), "after": after})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three tasks and three rungs; under ten minutes")
    parser.add_argument("--beside", action="store_true", help="another program runs at the same time")
    parser.add_argument("--tasks", nargs="+", default=list(eight.TASKS), choices=list(eight.TASKS))
    parser.add_argument("--rungs", nargs="+", default=list(RUNGS), choices=RUNGS)
    parser.add_argument("--log", type=Path, help="where results are added; by default a file that is not kept")
    parser.add_argument("--folder", type=Path, help="where tasks and what is fitted are kept; by default nowhere")
    parser.add_argument("--minutes", type=float, default=math.inf, help="after which no other rung is begun")
    parser.add_argument("--report", action="store_true", help="read the log and measure nothing")
    parser.add_argument("--anew", action="store_true", help="with --report: quote again, as the formulas are now")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    pin()
    if args.one:
        print(json.dumps(one(Path(args.one[0]), args.one[1], args.beside)))
        return
    common.machine()
    if args.quick:
        args.tasks, args.rungs = list(QUICK_TASKS), list(QUICK_RUNGS)
    with tempfile.TemporaryDirectory(prefix="rung-quotes-") as place:
        args.log, folder = args.log or Path(place) / "log.jsonl", args.folder or Path(place)
        if not args.report:
            measure(args, folder)
        lines = read(args.log)
        report(anew(lines, folder) if args.anew else lines)


def pin() -> None:
    """Stay on one core, so that the machine is measured, quoted and used as one of a single thread."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


if __name__ == "__main__":
    main()
