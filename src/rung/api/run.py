"""The functions of the API: what the commands of the same names do, for a `Task` or a task's folder."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import partial

from rung.api.notices import in_notebook, notice
from rung.api.predictor import Predictor, fitted
from rung.api.progress import watching
from rung.api.result import Findings, Plan, Result
from rung.api.task import PathLike, Task
from rung.climbing.project import Project
from rung.data.check import blocking
from rung.decisions import Decision
from rung.errors import DataError
from rung.planning.steps import bases_asked
from rung.store import remember
from rung.types import Interval, Record


def climb(
    task: Task | PathLike,
    *,
    everything: bool = False,
    on: str = "",
    parallel: int = 0,
    gpus_per_rung: float | None = None,
    store: str = "",
    progress: bool = True,
) -> Result:
    """Try the rungs, those advised first and of these the cheapest, until one meets the goal; then open the test rows once.

    Everything measured is stored in the task's folder, so the same call resumes after an interruption and repeats nothing.

    Args:
        task: A `Task`, or the folder of one.
        everything: Measure every rung, also after one has met the goal.
        on: `"ray"`: measure rungs on the Ray cluster at `RAY_ADDRESS`, or on one of this machine; by default in this process.
        parallel: With `on`: rungs at once; by default one for each machine.
        gpus_per_rung: With `on`: GPUs for each rung; by default 1 if this machine has one.
        store: The address of a database that a team shares; later calls and commands in this folder use it too.
        progress: Show how it goes, under the cell of a notebook or in the terminal.

    Raises:
        RungError: There is no such place or store, or it cannot be reached.
        DataError: The data cannot decide anything; `rung.check` says more.
        BusyError: Another process is at work in the folder.

    ```python
    climb = rung.climb(task)
    climb.verdict, climb.chosen, climb.test
    ```
    """
    from rung.climbing import climb as climbing
    from rung.climbing.deadline import deadline
    from rung.climbing.executors import choose
    from rung.climbing.preflight import inspect

    executor = choose.executor_of(on, parallel, gpus_per_rung, str)
    project = _project(task, store=store)
    with deadline(project.engines, project.task.budget.minutes):
        found, _ = inspect(project)
    if blocking(found):
        faults = [one for one in found if one.severity == "block"]
        what = " ".join(f"{one.what} {one.remedy}".rstrip() for one in faults)
        raise DataError(what, where=str(project.task.folder), remedy="Nothing was spent; rung.check(task) lists all findings.")
    with watching(project.task.goal, progress) as watcher:
        done = climbing.climb(project, watcher, everything=everything, findings=found, on=executor)
    test = done.opened.test.overall if done.opened.test else None
    return _result(project, done.decision, done.records, test, done.opened.untested)


def fit(task: Task | PathLike, rung: str, *, on: str = "", workers: int = 0, progress: bool = True) -> Result:
    """Fit and measure one rung alone on the dev rows; the test rows stay sealed, and the last climb's decision stands.

    Args:
        task: A `Task`, or the folder of one.
        rung: A method, or several joined by `+`: `"few-shot+lora"`; of several bases `"lora@BASE"`.
        on: `"ray"`, with `workers`: train on the Ray cluster at `RAY_ADDRESS`, or on one of this machine.
        workers: With `on`: processes that train together, one for each GPU.
        progress: Show how it goes.

    Raises:
        TaskError: There is no such rung.
        RungError: There is no such place, or it cannot be reached.

    ```python
    rung.fit(task, "few-shot").predictor.predict(["my card has not come"])
    ```
    """
    from rung.climbing import deciding
    from rung.climbing.executors import choose

    measure = choose.trainer_of(on, workers, str)
    project = _project(task, rung)
    with project.store.joined(), watching(project.task.goal, progress) as watcher:
        step = project.plan.alone
        watcher.planned(project.plan.steps)
        watcher.began(step.rung)
        record = measure(project, step, partial(watcher.progress, step.rung))
        watcher.ended(record)
    return _result(project, deciding.decide(project, [record], alone=True), (record,))


def plan(task: Task | PathLike) -> Plan:
    """Which rungs a climb would try, in order, each with its estimated time, memory and dollars. Nothing is fitted.

    ```python
    rung.plan(task).first
    ```
    """
    project = _project(task)
    bases = bases_asked(project.plan.steps)
    rows = []
    for step in project.plan.steps:
        cost = step.estimate
        rows.append(
            {
                "rung": step.rung,
                "base": bases.get(step.rung),
                "advice": step.advice.verdict if step.advice else "don't",
                "why": step.advice.why if step.advice else "",
                "fit_s": cost.fit_seconds if cost else None,
                "answer_s": cost.row_seconds if cost else None,
                "memory_gb": cost.memory_bytes / 1e9 if cost else None,
                "once_usd": cost.once_usd if cost else None,
                "usd_per_month": cost.per_month_usd if cost else None,
                "skip": step.skip,
            }
        )
    return Plan(tuple(rows), project.plan.chart.first, project.machine.name)


def check(task: Task | PathLike) -> Findings:
    """What there is to know about the rows, gravest first: a tuple of findings with `severity`, `what`, `remedy`, `where`.

    A climb does not begin where the `severity` of one is `block`.

    ```python
    [finding.what for finding in rung.check(task)]
    ```
    """
    from rung.climbing.preflight import inspect

    return Findings(inspect(_project(task))[0])


def load(task: Task | PathLike, rung: str = "") -> Predictor:
    """What answers as the last climb chose to, or as another rung that was fitted.

    Args:
        task: A task's folder, or a `Task`.
        rung: Instead of the chosen rung, this one.

    Raises:
        RungError: Nothing was climbed here yet, or the rung is not fitted.

    ```python
    rung.load("support").predict(["my card has not come"])
    ```
    """
    return fitted(_project(task), rung)


def _project(task: Task | PathLike, rung: str = "", store: str = "") -> Project:
    """A task made ready; of `rung` alone where one is named, on the usual base. `store`: its address from now on."""
    settings = (task if isinstance(task, Task) else Task.load(task)).settings
    if in_notebook():  # a library's progress bar, which rung does not show
        warnings.filterwarnings("ignore", "IProgress not found")
    project = Project(settings.only(rung) if rung else settings, say=notice, store_at=store)
    if store:
        remember(project.store)
    return project


def _result(
    project: Project, decision: Decision, records: Sequence[Record], test: Interval | None = None, untested: str = ""
) -> Result:
    metric, bases = project.task.goal.metric, bases_asked(project.plan.steps)
    return Result(decision, tuple(records), test, untested, metric, bases, project)
