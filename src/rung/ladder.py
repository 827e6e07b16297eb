"""The climb: fit, answer and score rung by rung in the plan's order, until one meets the goal; then open the test once."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, Protocol

from rung import files, metrics, seal
from rung.data.finding import Finding
from rung.decide import compare
from rung.errors import BudgetError, RungError, full
from rung.fitting import fit, fit_keys, named
from rung.flowchart import history
from rung.flowchart.hindsight import Foretold, hindsight
from rung.measure import forget, memory
from rung.measure.attack import attacked
from rung.measure.evaluate import answer, latency
from rung.measure.provenance import gather
from rung.methods.base import asks_api, options
from rung.plan.steps import Step, bases_asked
from rung.predictor import Predictor
from rung.race.course import until_told
from rung.seal import Opened
from rung.site import Site
from rung.types import Cost, Decision, Example, Prediction, Record, Scores, digest


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
    opened: Opened
    """What the chosen rung came to on the sealed rows."""


def climb(site: Site, watcher: Watcher, *, everything: bool = False, findings: Sequence[Finding] = ()) -> Climb:
    """Try the plan's rungs in order; stop at the first that meets the goal, unless `everything` is to be measured.

    `findings`: what the data check said before, for the report.

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
        site.engines.until = float("inf")
        decision = site.decide(records)
        due = decision.verdict == "meets" and len(site.splits.test)
        begun = "it was not opened to its end. Climb again to go on with it." if due else ""
        result = Climb(decision, tuple(records), Opened(None, len(seal.looks(site)), begun))
        kept = content(site, result, findings)
        site.store.write("decision.json", kept)  # what happens to the test loses nothing of the climb
        if due:
            chosen = next(record for record in records if record.rung == result.decision.chosen)
            result = replace(result, opened=seal.opened(site, chosen))
            site.store.write("decision.json", {**kept, **asdict(result.opened)})
        return result


def standing(site: Site) -> Climb | None:
    """What the records say of the task as it is, where no climb has come to its end; None where nothing is measured."""
    kept = {record.provenance.get("key"): record for record in site.store.records() if record.status == "done"}
    if not kept:
        return None
    named = [(step.rung, [rung_key(site, step, raced) for raced in {False, site.task.race}]) for step in site.steps if step.quote]
    found = [(rung, next((kept[key] for key in keys if key in kept), None)) for rung, keys in named]
    records = tuple(replace(record, rung=rung) for rung, record in found if record)
    return Climb(site.decide(records), records, Opened(None, len(seal.looks(site)))) if records else None


def changed(site: Site, kept: dict[str, Any]) -> str:
    """What is no longer as it was when a decision was made; empty where nothing is."""
    if edited(site, kept):
        return "rung.yaml has changed"
    if (rule := metrics.rule(site.task.goal.metric)) != kept.get("rule", site.task.goal.metric):
        return f"{site.task.goal.metric} is computed by another rule now ({rule})"
    try:
        return "the data have changed" if kept.get("rows") not in (None, _rows(site)) else ""
    except RungError as error:
        return f"the data cannot be read as they were ({error})"


def edited(site: Site, kept: dict[str, Any]) -> bool:
    """Whether rung.yaml is no longer as it was when a decision was made; no row is read for it."""
    return kept["task"] != site.task.model_dump(mode="json")


def _rows(site: Site) -> dict[str, str]:
    """Content names of the task's rows, and of all else that rungs learn from."""
    return {"train": site.data.digest, "dev": _dev(site), "test": site.splits.test.digest}


def _dev(site: Site) -> str:
    """Content name of the dev rows."""
    return digest([example.id for example in site.splits.dev])


def chosen(site: Site, rung: str = "") -> Predictor:
    """The Predictor that the last climb chose, or that of any rung fitted on the task as it stands."""
    last, where = site.store.read("decision.json"), str(site.task.folder)
    name = rung or last.get("decision", {}).get("chosen", "")
    if not name:
        raise RungError("no rung has been chosen here yet.", where=where, remedy=f"Run: rung climb {where}")
    keys = [] if rung else last["fits"][name]
    if keys:
        fitted = site.store.fitted(keys[-1])
    else:
        place = site.places(name)[0]
        start = site.starts[place.base]
        keys = fit_keys(site, place.methods, start)
        fitted = site.store.fitted(keys[-1]) if keys else start
    if fitted is None:
        raise RungError(f"the rung {name!r} is not fitted here.", where=where, remedy=f"Run: rung fit {name} {where}")
    return named(fitted, *site.starts.values())


def measure(site: Site, step: Step, deadline: float, progress: Callable[[str, float], None], racing: bool = False) -> Record:
    """One rung's record: as kept, if nothing it depends on has changed, else fitted, answered and scored now."""
    record = Record(rung=step.rung, status="skipped", reason=step.skip, quote=step.quote)
    if step.quote is None:
        return record
    assert site.metric  # a metric that cannot be had is the user's to mend, not this rung's failure
    _ = site.agreement  # a judge is held to people's marks before it scores anything
    key = rung_key(site, step, racing)
    for kept in reversed(site.store.records()):
        if kept.provenance.get("key") == key and _settled(kept):
            return replace(kept, rung=step.rung)  # its base may have had another place in `bases`
    left = deadline - time.monotonic()
    if step.quote.fit_seconds > left:
        return replace(
            record, reason=f"quoted {step.quote.fit_seconds / 60:.1f} minutes to fit, {max(0, left) / 60:.1f} left of the budget"
        )
    try:
        record = _with_gaps(_measured(site, step, key, deadline, progress, racing))
    except BudgetError as error:
        record = replace(record, status="skipped", reason=str(error))
    except Exception as error:  # a rung that fails is a recorded failure, and the climb goes on
        if files.is_full(error):  # no rung's fault, and no other rung would fare better
            raise full(site.store.folder, error) from error
        text = str(error) if isinstance(error, RungError) else f"{type(error).__name__}: {error}"
        record = replace(record, status="failed", reason=text, provenance={"key": key, "traceback": traceback.format_exc()})
    site.store.keep_record(record)
    if told := history.past(record, site.machine):
        history.keep(site.machine, told)
    return record


def _settled(record: Record) -> bool:
    """Whether a kept measurement stands: every row has its score, or another try would bring no other."""
    told = record.provenance
    old = bool(told.get("errors")) and "failed" not in told  # rows that failed counted as wrong answers then
    return record.status == "done" and not told.get("again") and not old


def _measured(site: Site, step: Step, key: str, deadline: float, progress: Callable[[str, float], None], racing: bool) -> Record:
    start = step.base.start
    predictor, notes = fit(site, step.methods, deadline, progress, start)
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
    progress("measuring what was forgotten", 1.0)
    return Record(
        rung=step.rung,
        status="done",
        scores=found,
        quote=step.quote,
        cost=_cost(site, predictor, notes, predictions),
        latency=waiting,
        forgetting=forget.forgotten(predictor.model, start.model, site.probe, site.store, site.engines),  # after the peak
        predictor=predictor.digest,
        provenance=gather(
            site.task.folder,
            site.machine,
            key=key,
            raw_quote=asdict(step.raw or Cost()),
            formulas=history.FORMULAS,
            remote=asks_api(step.methods, start.model),
            **({"api": asdict(spent)} if (spent := site.engines.spent()) else {}),
            writes=not site.data.labels,
            base=start.model.digest,
            train=site.data.digest,
            dev=_dev(site),
            test=site.splits.test.digest,
            fits=fit_keys(site, step.methods, start),
            options=[{"method": method.name, **options(method)} for method in step.methods],
            given=site.task.methods,
            seed=site.task.seed,
            notes=[note["notes"] for note in notes],
            attack=attacked(predictor, dev, site.store, site.engines),
            errors=sum(bool(p.error) for p in predictions),
            failed=sum(p.failed for p in predictions),
            again=sum(p.failed for p in predictions),
            **({"race": raced} if raced else {}),
        ),
    )


def _cost(site: Site, predictor: Predictor, notes: Sequence[dict[str, Any]], predictions: Sequence[Prediction]) -> Cost:
    """What the rung took: its fits as they were noted, its answers by this machine's time or an endpoint's tokens."""
    row_seconds = sum(one.seconds for one in predictions) / len(predictions)
    fit_seconds = sum(note["seconds"] for note in notes)
    tariff = site.engines.price(predictor.model)
    taken = [sum(getattr(one, part) for one in predictions) for part in ("tokens_in", "tokens_out", "tokens_cached")]
    row_usd = tariff.usd(*taken) / len(predictions) if tariff else site.machine.usd(row_seconds)
    return Cost(
        fit_seconds=fit_seconds,
        row_seconds=row_seconds,
        memory_bytes=max([memory.peak(), *(note["peak_memory_bytes"] for note in notes)]),
        once_usd=site.machine.usd(fit_seconds) + sum(note.get("usd", 0.0) for note in notes),
        per_month_usd=row_usd * site.task.volume,
        per_1k_usd=1000 * row_usd,
    )


def _with_gaps(record: Record) -> Record:
    """The record saying how many rows have no score and why, and how many may have one another time."""
    if not record.scores or not (missing := record.scores.unscored):
        return record
    told = (
        f"{len(missing)} of {len(record.scores.ids)} rows have no score, and count neither for nor against it: {missing[0].why}"
    )
    again = max(record.provenance["again"], sum(row.again for row in missing))
    return replace(record, reason=told, provenance={**record.provenance, "again": again})


def rung_key(site: Site, step: Step, racing: bool = False) -> str:
    """A name for a rung's measurement: its fits, the rows it is scored on, metric and probe; raced, what makes it stop."""
    on = site.course if racing else None
    raced = [[asdict(on.looks), [row.id for row in on.rows], on.goal, on.error]] if on else []
    dev = [[example.id, dict(example.extra)] for example in site.splits.dev]
    start, tariff = step.base.start, step.base.facts.tariff
    fits = fit_keys(site, step.methods, start)
    measured = [start.digest, fits, dev, site.measure, site.task.volume, site.machine.usd_per_hour, site.probe.digest]
    measured += [asdict(tariff)] if tariff else []
    measured += metrics.rules_beside(site.task.kind)
    return digest([*measured, *raced])


def content(site: Site, result: Climb, findings: Sequence[Finding] = ()) -> dict[str, Any]:
    """What `show`, `report` and `ask` read again."""
    return {
        "rows": _rows(site),
        "findings": [asdict(one) for one in findings],
        "decision": asdict(result.decision),
        "records": [asdict(record) for record in result.records],
        **asdict(result.opened),
        "sealed": len(site.splits.test),
        "task": site.task.model_dump(mode="json"),
        "rule": metrics.rule(site.task.goal.metric),
        "fits": {step.rung: fit_keys(site, step.methods, step.base.start) for step in site.steps},
        "bases": bases_asked(site.steps),
        "judge": asdict(site.agreement) if site.agreement else None,
        "plan": asdict(foretold(site, result.decision, result.records)),
    }


def foretold(site: Site, decision: Decision, records: Sequence[Record]) -> Foretold:
    """The flowchart's prior beside what was measured."""
    against = partial(compare, references=site.references, groups=site.groups)
    return Foretold(site.chart, hindsight(site.chart, decision, records, against))
