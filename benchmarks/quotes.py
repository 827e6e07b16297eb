"""Quoted against measured time and memory of rungs on small tasks, before and after four rows were asked.

Each rung is quoted and then measured in a process of its own, on one thread of one core: as the plan quotes it before anything
is asked, as it is quoted after four train rows were asked (without a climb's limit on asking), and what fitting and answering
took of the clock and of the processor. With --beside a busy process runs on another core at the same time. Every result is a
line of --log, and what is in the log is not measured again, so that the whole can be done in parts; --report reads the log
alone. --anew quotes again with today's formulas, from tasks and samples that were kept under --folder. Two times a rung count: to
fit, and to answer the dev rows; those under five seconds on all sides are left out. The ratio is the share of quotes after
asking that are within a factor of 1.5 of the clock. Eight tasks by default; hellaswag and arc are held out: no constant was set
on them.
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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import eight
import held_out

from rung.climbing import cascading, sampling
from rung.climbing.project import Project
from rung.evaluate import memory
from rung.evaluate.predict import answer
from rung.machine import Machine
from rung.metrics.stats import wilson
from rung.planning import samples
from rung.planning.samples import Sample
from rung.task import load_task

LEAST_SECONDS = 5.0
TRIES = 12
"""Measurements of the core's speed, of which the fastest counts: other work can only slow one down."""
TRAIN = 32
"""Train rows; half as many dev rows."""
RUNGS = ("zero-shot", "few-shot", "few-shot-similar", "rag", "encoder", "lora", "full")
TASKS = {**eight.TASKS, **held_out.TASKS}
QUOTES = {
    "before": "before rows were asked",
    "after": "after, by the lengths of their answers",
}
QUICK_TASKS, QUICK_RUNGS = ("banking77", "e2e_nlg", "ner"), ("zero-shot", "few-shot", "lora")
OTHERS = sorted(os.sched_getaffinity(0))[:-1] or [0]
"""Cores that are not used here; another program gets them."""
Line = dict[str, Any]


def one(project: Project, rung: str) -> Line:
    """Quote one rung, ask rows as a climb would that had time for every rung, quote again, and measure."""
    before = quoted(project, {})
    project.estimate_again()
    began = time.monotonic()
    sampling.sample(project, sampling.candidates(project), math.inf)
    asking, found_samples = time.monotonic() - began, project.samples
    after = quoted(project, found_samples)
    step, held = project.plan.alone, resident()
    memory.reset_peak()
    started = time.process_time()
    fitted = cascading.fit_step(project, step, math.inf, quiet)
    fit_cpu, fit_peak = time.process_time() - started, max([note["peak_memory_bytes"] for note in fitted.notes], default=0)
    left = resident()
    memory.reset_peak()
    fitted.predictor.warm(project.engines)
    started = time.process_time()
    found = answer(fitted.predictor, project.inputs.splits.dev, project.store, project.engines, quiet, math.inf)
    took = {
        "fit": sum(note["seconds"] for note in fitted.notes),
        "fit_cpu": fit_cpu if fit_cpu > 1 else 0.0,  # fitted while rows were asked: its processor time is not known
        "answer": sum(one.seconds for one in found),
        "answer_cpu": time.process_time() - started,
        "memory": max(fit_peak, memory.peak()),
    }
    room = {"before": held, "fit": fit_peak, "after fit": left, "answer": memory.peak()}
    return {
        "rung": rung,
        "before": before,
        "after": after,
        "took": took,
        "asking": asking,
        "written": [one.tokens_out for one in found],
        "samples": {key: asdict(one) for key, one in found_samples.items()},
        "room": room,
    }


def quoted(project: Project, given: Mapping[str, Sample]) -> Line:
    """What the formulas say with these samples, without corrections by earlier runs on this machine."""
    vars(project).pop("plan", None)
    vars(project)["samples"] = given
    step, rows = project.plan.alone, len(project.inputs.splits.dev)
    assert step.estimate, step.skip
    return {"fit": step.estimate.fit_seconds, "answer": step.estimate.row_seconds * rows, "memory": step.estimate.memory_bytes}


def resident() -> int:
    """Bytes of this process in main memory now."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def quiet(text: str, share: float) -> None:
    """No progress is shown."""


def measure(args: argparse.Namespace, folder: Path, machine: Machine) -> None:
    """Measure what the log does not have yet, and begin nothing after --minutes.

    Each rung has a process of its own: what another left in memory would count as its own.
    """
    until = time.time() + 60 * args.minutes
    done = {(line["task"], line["rung"], line["beside"]) for line in read(args.log)}
    for task in args.tasks:
        place = folder / task
        if not (place / "rung.yaml").exists():
            eight.write(TASKS[task](), place, TRAIN, list(RUNGS), {"lora": {"epochs": 1}, "full": {"epochs": 1}})
        for rung in rungs_of(place, args.rungs):
            if (task, rung, args.beside) in done or time.time() > until:
                continue
            order = json.dumps({"folder": str(place), "rung": rung, "machine": asdict(machine)})
            with other_program(args.beside):
                ended = subprocess.run([sys.executable, __file__, "--one", order], stdout=subprocess.PIPE, text=True)
            if ended.returncode:
                print(f"{task} {rung}: ended with {ended.returncode}", flush=True)
                continue
            line = {"task": task, "beside": args.beside, **json.loads(ended.stdout)}
            with args.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
            say(line)


def rung_process(order: Line) -> None:
    """Measure a rung, and print a line. In a climb an earlier rung has imported what answers; a quote counts its memory."""
    import_module("rung.lm.inference.causal")
    task = load_task(Path(order["folder"])).only(order["rung"])
    project = Project(task, None, lambda text: print(text, file=sys.stderr, flush=True), Machine(**order["machine"]), ((), ()))
    print(json.dumps(one(project, order["rung"])), flush=True)


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
    return max(line["before"][what], line["after"][what], line["took"][what + "_cpu"]) >= LEAST_SECONDS


def read(log: Path) -> list[Line]:
    """The lines of the log; the last one of a rung counts."""
    if not log.exists():
        return []
    found = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    return list({(one["task"], one["rung"], one["beside"]): one for one in found}.values())


def report(lines: list[Line]) -> None:
    """Print the shares of quotes within 1.5, alone and beside another program, and the last line."""
    for beside in (False, True):
        some = [line for line in lines if line["beside"] is beside]
        if not some:
            continue
        where = "beside a busy program" if beside else "alone"
        by_rung(some)
        for quote, what in QUOTES.items():
            clock, cpu = ([*pairs(some, quote, suffix)] for suffix in ("", "_cpu"))
            print(f"{where}, {what}: of the clock {share(clock)}, of the processor {share(cpu)}")
            last = within(clock) / len(clock)
        room = [(line["after"]["memory"], line["took"]["memory"]) for line in some]
        spent, whole = sum(one["asking"] for one in some), sum(one["took"]["fit"] + one["took"]["answer"] for one in some)
        print(f"{where}: memory {share(room)}; asking took {spent:.0f} s beside {whole:.0f} s of fits and answers")
        for line in sorted(some, key=lambda one: one["rung"]):
            peaks = ", ".join(f"{what} {size / 1e9:.2f}" for what, size in line["room"].items())
            print(f"  {line['task']} {line['rung']}: {line['after']['memory'] / 1e9:.2f} GB quoted; {peaks}")
        print(f"ratio={last:.2f} of quotes within 1.5 after rows were asked, {where}")


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
            took = line["took"][what + suffix]
            if counts(line, what) and took:
                yield line[quote][what], took


def within(some: list[tuple[float, float]], factor: float = 1.5) -> int:
    return sum(quote / factor <= took <= quote * factor for quote, took in some)


def share(some: list[tuple[float, float]]) -> str:
    return f"{wilson(within(some), len(some))} within 1.5"


def anew(lines: list[Line], folder: Path, machine: Machine) -> list[Line]:
    """The lines with quotes of today's formulas, before and after the samples that were measured."""
    found = []
    for line in lines:
        project = Project(load_task(folder / line["task"]).only(line["rung"]), None, print, machine, past=((), ()))
        quotes = {"before": quoted(project, {}), "after": quoted(project, samples.valid(line["samples"]))}
        found.append({**line, **quotes})
    return found


def one_core(place: Path) -> Machine:
    """This machine as one core, measured once for all that a folder has."""
    kept = place / "machine.json"
    if not kept.exists():
        from rung.lm import probe

        tries = [probe.measure()[0] for _ in range(TRIES)]
        kept.write_text(json.dumps(asdict(max(tries, key=lambda one: one.gflops["float32"]))), encoding="utf-8")
    machine = Machine(**json.loads(kept.read_text(encoding="utf-8")))
    machine = machine.freezing(machine.bf16_speedup > 1)  # as `precision: auto` has it
    frozen = f", frozen layers in bfloat16 {machine.bf16_speedup:.1f} times as fast" if machine.frozen_bf16 else ""
    print(f"one core of {machine.name}: {machine.gflops['float32']:.0f} GFLOP/s, {machine.bandwidth_gbs:.0f} GB/s{frozen}")
    return machine


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three tasks and three rungs; under ten minutes")
    parser.add_argument("--beside", action="store_true", help="another program runs at the same time")
    parser.add_argument("--tasks", nargs="+", default=list(eight.TASKS), choices=list(TASKS))
    parser.add_argument("--rungs", nargs="+", default=list(RUNGS), choices=RUNGS)
    parser.add_argument("--log", type=Path, help="where results are added; by default a file that is not kept")
    parser.add_argument("--folder", type=Path, help="where tasks and what is fitted are kept; by default nowhere")
    parser.add_argument("--minutes", type=float, default=math.inf, help="after which no other rung is begun")
    parser.add_argument("--report", action="store_true", help="read the log and measure nothing")
    parser.add_argument("--anew", action="store_true", help="with --report: quote again, as the formulas are now")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        pin()
        rung_process(json.loads(args.one))
        return
    pin()
    if args.quick:
        args.tasks, args.rungs = list(QUICK_TASKS), list(QUICK_RUNGS)
    with tempfile.TemporaryDirectory(prefix="rung-quotes-") as place:
        folder = args.folder or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        args.log, machine = args.log or folder / "log.jsonl", one_core(folder)
        if not args.report:
            measure(args, folder, machine)
        lines = read(args.log)
        report(anew(lines, folder, machine) if args.anew else lines)


def pin() -> None:
    """Stay on one core, so that the machine is measured, quoted and used as one of a single thread."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


if __name__ == "__main__":
    main()
