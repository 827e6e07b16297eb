"""The climb: fit, answer and score rung by rung, cheapest first, until one meets the goal; then open the test once."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from typing import Any, Protocol

from rung import memory, methods, metrics
from rung.data.split import Splits, make_splits
from rung.decide import decide
from rung.errors import BudgetError, RungError
from rung.evaluate import answer, latency
from rung.lm.engines import Engines
from rung.machine import Machine, load_or_measure
from rung.methods.base import Facts, Method, Run, options
from rung.plan import Step, count, labels, plan, start
from rung.predictor import Predictor
from rung.provenance import gather
from rung.runs import Store, scores
from rung.task import Task
from rung.types import Cost, Decision, Record, Scores, TrainData, digest

ALPHA = 0.05


class Watcher(Protocol):
    """Who is told how a climb goes."""

    def planned(self, steps: Sequence[Step]) -> None: ...
    def began(self, rung: str) -> None: ...
    def progress(self, rung: str, text: str, share: float) -> None: ...
    def ended(self, record: Record) -> None: ...


@dataclass(frozen=True)
class Climb:
    """What a climb comes to."""

    decision: Decision
    records: tuple[Record, ...]
    test: Scores | None
    """The chosen rung on the sealed rows; None while the seal holds."""
    seals_broken: int
    """How many different Predictors have been shown the test rows. More than one: the number is no longer fresh."""


class Site:
    """A task made ready: its rows, its store, its engines. Everything is worked out when first asked for."""

    def __init__(self, task: Task, engines: Engines | None = None, say: Callable[[str], object] = print):
        self.task, self.store = task, Store(task.folder)
        self._engines, self._say = engines, say

    @cached_property
    def machine(self) -> Machine:
        return load_or_measure(usd_per_hour=self.task.machine_usd_per_hour)

    @cached_property
    def engines(self) -> Engines:
        return self._engines or Engines(self.machine, self._say)

    @cached_property
    def splits(self) -> Splits:
        return make_splits(self.task)

    @cached_property
    def data(self) -> TrainData:
        return TrainData(self.splits.train, labels(self.task, self.splits.train))

    @cached_property
    def start(self) -> Predictor:
        return start(self.task, self.data, self.engines)

    @cached_property
    def facts(self) -> Facts:
        return count(self.start, self.data, self.engines)

    @cached_property
    def metric(self) -> metrics.Metric:
        return metrics.get(self.task.goal.metric, self.task.folder)

    @cached_property
    def steps(self) -> list[Step]:
        return plan(self.task, self.data, self.facts, self.machine)

    @cached_property
    def references(self) -> dict[str, str]:
        return {example.id: example.output for example in self.splits.dev}

    @cached_property
    def groups(self) -> dict[str, str]:
        return {example.id: example.group for example in self.splits.dev}

    def decide(self, records: Sequence[Record]) -> Decision:
        tried = sum(step.quote is not None for step in self.steps)
        return decide(records, self.task.goal, alpha=ALPHA, references=self.references, groups=self.groups, planned=tried)


def climb(site: Site, watcher: Watcher, *, everything: bool = False) -> Climb:
    """Try the plan's rungs in order; stop at the first that meets the goal, unless `everything` is to be measured."""
    with site.store.locked():
        watcher.planned(site.steps)
        deadline = time.monotonic() + 60 * (site.task.budget.minutes or float("inf"))
        records: list[Record] = []
        for step in site.steps:
            watcher.began(step.rung)
            records.append(measure(site, step, deadline, partial(watcher.progress, step.rung)))
            watcher.ended(records[-1])
            if not everything and site.decide(records).verdict == "meets":
                break
        decision = site.decide(records)
        test, broken = _open_test(site, decision, records)
        result = Climb(decision, tuple(records), test, broken)
        site.store.write("decision.json", _content(site, result))
        return result


def chosen(site: Site, rung: str = "") -> Predictor:
    """The Predictor that the last climb chose, or that of any rung fitted on the task as it stands."""
    content, where = site.store.read("decision.json"), str(site.task.folder)
    name = rung or content.get("decision", {}).get("chosen", "")
    if not name:
        raise RungError("no rung has been chosen here yet.", where=where, remedy=f"Run: rung climb {where}")
    keys = fit_keys(site, methods.rung(name, site.task.methods)) if rung else content["fits"][name]
    fitted = site.store.fitted(keys[-1]) if keys else site.start
    if fitted is None:
        raise RungError(f"the rung {name!r} is not fitted here.", where=where, remedy=f"Run: rung fit {name} {where}")
    return fitted


def measure(site: Site, step: Step, deadline: float, progress: Callable[[str, float], None]) -> Record:
    """One rung's record: as kept, if nothing it depends on has changed, else fitted, answered and scored now."""
    record = Record(rung=step.rung, status="skipped", reason=step.skip, quote=step.quote)
    if step.quote is None:
        return record
    assert site.metric  # a metric that cannot be had is the user's to mend, not this rung's failure
    key = rung_key(site, step.methods)
    for kept in reversed(site.store.records()):
        if kept.provenance.get("key") == key and kept.status == "done":
            return replace(kept, quote=step.quote)
    left = deadline - time.monotonic()
    if step.quote.fit_seconds > left:
        return replace(
            record, reason=f"quoted {step.quote.fit_seconds / 60:.1f} minutes to fit, {max(0, left) / 60:.1f} left of the budget"
        )
    try:
        record = _measured(site, step, key, deadline, progress)
    except BudgetError as error:
        record = replace(record, status="skipped", reason=str(error))
    except Exception as error:  # a rung that fails is a recorded failure, and the climb goes on
        text = str(error) if isinstance(error, RungError) else f"{type(error).__name__}: {error}"
        record = replace(record, status="failed", reason=text, provenance={"key": key, "traceback": traceback.format_exc()})
    site.store.keep_record(record)
    return record


def _measured(site: Site, step: Step, key: str, deadline: float, progress: Callable[[str, float], None]) -> Record:
    predictor, notes = fit(site, step.methods, deadline, progress)
    memory.reset_peak()
    dev = site.splits.dev
    predictions = answer(predictor, dev, site.store, site.engines, progress, deadline)
    found = metrics.score(site.metric, dev, predictions, "dev", kind=site.task.kind)
    progress("measuring latency", 1.0)
    waiting = latency(predictor, dev, site.store, site.engines)
    row_seconds = sum(p.seconds for p in predictions) / len(predictions)
    fit_seconds = sum(note["seconds"] for note in notes)
    per_1k = site.machine.usd(1000 * row_seconds)
    return Record(
        rung=step.rung,
        status="done",
        scores=found,
        quote=step.quote,
        cost=Cost(
            fit_seconds=fit_seconds,
            row_seconds=row_seconds,
            memory_bytes=max([memory.peak(), *(note["peak_memory_bytes"] for note in notes)]),
            once_usd=site.machine.usd(fit_seconds),
            per_month_usd=per_1k * site.task.volume / 1000,
            per_1k_usd=per_1k,
        ),
        latency=waiting,
        predictor=predictor.digest,
        provenance=gather(
            site.task.folder,
            site.machine,
            key=key,
            base=site.start.model.digest,
            train=site.data.digest,
            dev=digest([example.id for example in dev]),
            test=site.splits.test.digest,
            fits=fit_keys(site, step.methods),
            options=[{"method": method.name, **options(method)} for method in step.methods],
            given=site.task.methods,
            seed=site.task.seed,
            notes=[note["notes"] for note in notes],
            errors=sum(bool(p.error) for p in predictions),
        ),
    )


def fit(
    site: Site, chain: Sequence[Method], deadline: float, progress: Callable[[str, float], None]
) -> tuple[Predictor, list[dict[str, Any]]]:
    """Fit a rung's methods one after another; what an earlier rung has already fitted is taken from the store."""
    predictor, notes = site.start, []
    for method, key in zip(chain, fit_keys(site, chain)):
        fitted = site.store.fitted(key)
        if fitted is None:
            run = Run(
                site.store.workplace(key),
                site.engines,
                site.task.seed,
                progress,
                deadline,
                reward=lambda answer, example: site.metric.per_row(answer, example.output, example),
                trackers=site.task.trackers,
            )
            progress(f"fitting {method.name}", 0.0)
            memory.reset_peak()
            started = time.monotonic()
            fitted = method.fit(predictor, site.data.only(method.needs), run)
            note = {"seconds": time.monotonic() - started, "peak_memory_bytes": memory.peak(), "notes": run.notes}
            fitted = site.store.keep_fit(key, fitted, note)
        predictor = fitted
        notes.append(site.store.fit_notes(key))
    return predictor, notes


def fit_keys(site: Site, chain: Sequence[Method]) -> list[str]:
    """A name for each fit of a rung: what stood before it, the method, its options, the data and the seed."""
    keys, before = [], site.start.digest
    for method in chain:
        data = site.data.only(method.needs).digest
        before = digest([before, method.name, method.fit_version, options(method), data, site.task.seed])
        keys.append(before)
    return keys


def rung_key(site: Site, chain: Sequence[Method]) -> str:
    """A name for a rung's measurement: its fits, the rows it is scored on, the metric."""
    dev = [[example.id, dict(example.extra)] for example in site.splits.dev]
    return digest(
        [site.start.digest, fit_keys(site, chain), dev, site.task.goal.metric, site.task.volume, site.machine.usd_per_hour]
    )


def _open_test(site: Site, decision: Decision, records: Sequence[Record]) -> tuple[Scores | None, int]:
    """The chosen rung's score on the sealed rows, once a rung meets the goal. Each new look at the rows is counted."""
    looks = site.store.read("test.json")
    seal = site.splits.test.digest
    seen = {name: look for name, look in looks.items() if look["seal"] == seal}
    if decision.verdict != "meets" or not len(site.splits.test):
        return None, len(seen)
    record = next(r for r in records if r.rung == decision.chosen)
    name = digest([record.predictor, seal, site.task.goal.metric])
    if name not in looks:
        predictor, _ = fit(site, next(s.methods for s in site.steps if s.rung == record.rung), float("inf"), lambda *_: None)
        rows = site.splits.test.open()
        predictions = answer(predictor, rows, site.store, site.engines, lambda *_: None, float("inf"))
        found = metrics.score(site.metric, rows, predictions, "test", kind=site.task.kind)
        looks[name] = {"seal": seal, "rung": record.rung, "scores": asdict(found)}
        site.store.write("test.json", looks)
        seen[name] = looks[name]
    return scores(looks[name]["scores"]), len(seen)


def _content(site: Site, result: Climb) -> dict[str, Any]:
    """What `show`, `report` and `ask` read again."""
    return {
        "decision": asdict(result.decision),
        "records": [asdict(record) for record in result.records],
        "test": asdict(result.test) if result.test else None,
        "seals_broken": result.seals_broken,
        "sealed": len(site.splits.test),
        "task": site.task.model_dump(mode="json"),
        "fits": {step.rung: fit_keys(site, step.methods) for step in site.steps},
    }
