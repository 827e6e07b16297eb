"""The climb: fit, answer and score rung by rung, cheapest first, until one meets the goal; then open the test once."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Protocol

from rung import forget, memory, methods, metrics
from rung.attack import attacked
from rung.decide import compare
from rung.errors import BudgetError, RungError
from rung.evaluate import answer, latency
from rung.flowchart import history
from rung.flowchart.hindsight import Foretold, hindsight
from rung.methods.base import Method, Run, options, rewarded
from rung.plan import Step
from rung.predictor import Predictor
from rung.provenance import gather
from rung.race import until_told
from rung.runs import scores
from rung.site import Site
from rung.types import Cost, Decision, Example, Record, Scores, digest


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


def climb(site: Site, watcher: Watcher, *, everything: bool = False) -> Climb:
    """Try the plan's rungs in order; stop at the first that meets the goal, unless `everything` is to be measured.

    Where the task says `race`, a rung is asked no more dev rows than it takes to tell; `everything` asks them all.
    """
    racing = site.task.race and not everything
    with site.store.locked():
        watcher.planned(site.steps)
        deadline = site.engines.until = time.monotonic() + 60 * (site.task.budget.minutes or float("inf"))
        records: list[Record] = []
        for step in site.steps:
            watcher.began(step.rung)
            records.append(measure(site, step, deadline, partial(watcher.progress, step.rung), racing))
            watcher.ended(records[-1])
            if not everything and site.decide(records).verdict == "meets":
                break
        decision = site.decide(records)
        site.engines.until = float("inf")
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


def measure(site: Site, step: Step, deadline: float, progress: Callable[[str, float], None], racing: bool = False) -> Record:
    """One rung's record: as kept, if nothing it depends on has changed, else fitted, answered and scored now."""
    record = Record(rung=step.rung, status="skipped", reason=step.skip, quote=step.quote)
    if step.quote is None:
        return record
    assert site.metric  # a metric that cannot be had is the user's to mend, not this rung's failure
    key = rung_key(site, step.methods, racing)
    for kept in reversed(site.store.records()):
        if kept.provenance.get("key") == key and kept.status == "done" and not kept.provenance.get("again"):
            return kept
    left = deadline - time.monotonic()
    if step.quote.fit_seconds > left:
        return replace(
            record, reason=f"quoted {step.quote.fit_seconds / 60:.1f} minutes to fit, {max(0, left) / 60:.1f} left of the budget"
        )
    try:
        record = _measured(site, step, key, deadline, progress, racing)
    except BudgetError as error:
        record = replace(record, status="skipped", reason=str(error))
    except Exception as error:  # a rung that fails is a recorded failure, and the climb goes on
        text = str(error) if isinstance(error, RungError) else f"{type(error).__name__}: {error}"
        record = replace(record, status="failed", reason=text, provenance={"key": key, "traceback": traceback.format_exc()})
    site.store.keep_record(record)
    if told := history.past(record, site.machine):
        history.keep(site.machine, told)
    return record


def _measured(site: Site, step: Step, key: str, deadline: float, progress: Callable[[str, float], None], racing: bool) -> Record:
    predictor, notes = fit(site, step.methods, deadline, progress)
    memory.reset_peak()
    dev = site.splits.dev

    def score(rows: Sequence[Example]) -> Scores:
        predictions = answer(predictor, rows, site.store, site.engines, progress, deadline)
        return metrics.score(site.metric, rows, predictions, "dev", kind=site.task.kind)

    found, raced = until_told(site.course, score) if racing else (score(dev), {})
    known = site.store.predictions(predictor.digest)
    predictions = [known[row] for row in found.ids]
    progress("measuring latency", 1.0)
    waiting = latency(predictor, dev, site.store, site.engines)
    row_seconds = sum(p.seconds for p in predictions) / len(predictions)
    fit_seconds = sum(note["seconds"] for note in notes)
    tariff = site.engines.price(predictor.model)
    taken = [sum(getattr(p, part) for p in predictions) for part in ("tokens_in", "tokens_out", "tokens_cached")]
    row_usd = tariff.usd(*taken) / len(predictions) if tariff else site.machine.usd(row_seconds)
    progress("measuring what was forgotten", 1.0)
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
            per_month_usd=row_usd * site.task.volume,
            per_1k_usd=1000 * row_usd,
        ),
        latency=waiting,
        forgetting=forget.forgotten(predictor.model, site.start.model, site.probe, site.store, site.engines),  # after the peak
        predictor=predictor.digest,
        provenance=gather(
            site.task.folder,
            site.machine,
            key=key,
            **({} if predictor.model.kind == "remote" else {"raw_quote": asdict(step.raw or Cost())}),
            **({"api": asdict(spent)} if (spent := site.engines.spent()) else {}),
            writes=not site.data.labels,
            base=site.start.model.digest,
            train=site.data.digest,
            dev=digest([example.id for example in dev]),
            test=site.splits.test.digest,
            fits=fit_keys(site, step.methods),
            options=[{"method": method.name, **options(method)} for method in step.methods],
            given=site.task.methods,
            seed=site.task.seed,
            notes=[note["notes"] for note in notes],
            attack=attacked(predictor, dev, site.store, site.engines),
            errors=sum(bool(p.error) for p in predictions),
            again=sum(p.again for p in predictions),
            **({"race": raced} if raced else {}),
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
                site.store.folder,
                reward=lambda answer, example: site.metric.per_row(answer, example.output, example),
                home=site.task.folder,
                trackers=site.task.trackers,
            )
            progress(f"fitting {method.name}", 0.0)
            memory.reset_peak()
            started = time.monotonic()
            data = site.data.only(method.needs)
            fitted = method.fit(predictor, replace(data, examples=(*data.examples, *predictor.taught)), run)
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
        given = [before, method.name, method.fit_version, options(method), data, site.task.seed]
        before = digest([*given, *rewarded(method, site.task.goal.metric, site.task.folder)])
        keys.append(before)
    return keys


def rung_key(site: Site, chain: Sequence[Method], racing: bool = False) -> str:
    """A name for a rung's measurement: its fits, the rows it is scored on, metric and probe; raced, what makes it stop."""
    on = site.course if racing else None
    raced = [[asdict(on.looks), [row.id for row in on.rows], on.goal, on.error]] if on else []
    dev = [[example.id, dict(example.extra)] for example in site.splits.dev]
    measured = [site.start.digest, fit_keys(site, chain), dev, site.task.goal.metric, site.task.volume, site.machine.usd_per_hour]
    measured += [site.probe.digest]
    measured += [asdict(site.facts.tariff)] if site.facts.tariff else []
    return digest([*measured, *raced])


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
        "plan": asdict(foretold(site, result.decision, result.records)),
    }


def foretold(site: Site, decision: Decision, records: Sequence[Record]) -> Foretold:
    """The flowchart's prior beside what was measured."""
    against = partial(compare, references=site.references, groups=site.groups)
    return Foretold(site.chart, hindsight(site.chart, decision, records, against))
