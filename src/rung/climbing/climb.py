"""The climb: fit, answer and score rung by rung in the plan's order, and prove a promising one on the sealed rows."""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from rung import files, metrics
from rung.advise.review import ReviewedPlan, review_plan
from rung.climbing import ledger, live, test_set
from rung.climbing.deadline import deadline
from rung.climbing.decide import compare, next_rung
from rung.climbing.deciding import decide
from rung.climbing.fit import Progress, fit, fit_context, fit_keys, named
from rung.climbing.live import Watcher as Watcher
from rung.climbing.out_of_fold import Fitted
from rung.climbing.project import Project
from rung.climbing.selecting import scored, selecting_on, selection
from rung.climbing.test_set import Opened
from rung.data.finding import Finding
from rung.errors import BudgetError, RungError, disk_full
from rung.evaluate import forgetting, memory
from rung.evaluate.injection import cached_attack
from rung.evaluate.predict import answer, latency
from rung.evaluate.provenance import gather, plugins_of
from rung.methods.base import options
from rung.methods.chain import asks_api
from rung.planning import corrections
from rung.planning.steps import Step, bases_asked
from rung.predictor import Predictor
from rung.sequential.race import RacePlan, score_until_decided
from rung.types import Cost, Decision, Example, Prediction, Provenance, Record, Scores, digest


@dataclass(frozen=True)
class Climb:
    """The result of a climb."""

    decision: Decision
    records: tuple[Record, ...]
    opened: Opened
    """The chosen rung's score on the test rows."""


def climb(project: Project, watcher: Watcher, *, everything: bool = False, findings: Sequence[Finding] = ()) -> Climb:
    """Try the plan's rungs in order; stop at the first proved to meet the goal, or measure all of them if `everything`.

    `findings`: the results of the data check, for the report.

    If the task says `race`, a rung answers only as many dev rows as the decision needs; `everything` asks them all.
    """
    race = project.criteria.race() if project.task.race and not everything else None
    with project.store.locked(), live.shown(project, watcher) as watcher:
        watcher.planned(project.plan.steps)
        go = _Going(project, watcher, findings)
        with deadline(project.engines, project.task.budget.minutes) as until:
            _try_steps(go, until, race, everything)
        return go.prove(finished=True)


class _Going:
    """A climb under way: what is measured so far, and the proofs that it gives cause for."""

    def __init__(self, project: Project, watcher: Watcher, findings: Sequence[Finding]):
        self.project, self.watcher, self.findings = project, watcher, findings
        self.records: list[Record] = []
        self.untested = ""

    def prove(self, finished: bool) -> Climb:
        """Open the sealed rows for the next rung with a fair chance, and again while one fails."""
        sealed = len(self.project.inputs.splits.test)
        while True:
            decision = decide(self.project, self.records)
            proved = len(test_set.proofs(self.project, self.records))
            name = next_rung(decision, self.records, proved, finished) if sealed and not self.untested else None
            begun = f"the proof of {name} was interrupted. Climb again to finish it." if name else self.untested
            result = self._climb(decision, begun)
            if name or finished:  # a failure on the test rows must not lose the climb
                self.project.store.write("decision.json", content(self.project, result, self.findings))
            if name is None:
                return result
            self.watcher.progress(name, "proving on the sealed rows", 1.0)
            self.untested = test_set.prove(self.project, next(one for one in self.records if one.rung == name))

    def _climb(self, decision: Decision, untested: str) -> Climb:
        proof = test_set.proofs(self.project, self.records).get(decision.chosen)
        opened = Opened(proof.test if proof else None, len(test_set.looks(self.project)), "" if proof else untested)
        return Climb(decision, tuple(self.records), opened)


def _try_steps(go: _Going, until: float, race: RacePlan | None, everything: bool) -> None:
    """Measure the plan's rungs in order, up to the first that is proved to meet the goal unless `everything`."""
    for step in go.project.plan.steps:
        go.watcher.began(step.rung)
        go.records.append(measure(go.project, step, until, partial(go.watcher.progress, step.rung), race))
        go.watcher.ended(go.records[-1])
        if go.records[-1].scores:
            ledger.register(go.project)
        if not everything and go.prove(finished=False).decision.verdict == "meets":
            break


def standing(project: Project) -> Climb | None:
    """The decision by the stored records, for a task without a finished climb; None if nothing is measured."""
    stored = {record.provenance.key: record for record in project.store.records() if record.status == "done"}
    if not stored:
        return None
    races = [None, project.criteria.race()] if project.task.race else [None]
    named = [(step.rung, [rung_key(project, step, race) for race in races]) for step in project.plan.steps if step.estimate]
    found = [(rung, next((stored[key] for key in keys if key in stored), None)) for rung, keys in named]
    records = tuple(replace(record, rung=rung) for rung, record in found if record)
    if not records:
        return None
    decision = decide(project, records)
    proof = test_set.proofs(project, records).get(decision.chosen)
    return Climb(decision, records, Opened(proof.test if proof else None, len(test_set.looks(project))))


def changed(project: Project, stored: dict[str, Any]) -> str:
    """What has changed since a decision was made; empty if nothing has."""
    if edited(project, stored):
        return "rung.yaml has changed"
    if (rule := metrics.rule(project.task.goal.metric)) != stored.get("rule", project.task.goal.metric):
        return f"the rule of {project.task.goal.metric} has changed ({rule})"
    try:
        return "the data have changed" if stored.get("rows") not in (None, _rows(project)) else ""
    except RungError as error:
        return f"the data cannot be read ({error})"


def edited(project: Project, stored: dict[str, Any]) -> bool:
    """Whether rung.yaml has changed since a decision was made; reads no rows."""
    return stored["task"] != project.task.model_dump(mode="json")


def _rows(project: Project) -> dict[str, str]:
    """Digests of the training data and of the dev and test rows."""
    return {"train": project.inputs.data.digest, "dev": _dev(project), "test": project.inputs.splits.test.digest}


def _dev(project: Project) -> str:
    """Digest of the dev rows."""
    return digest([example.id for example in project.inputs.splits.dev])


def chosen(project: Project, rung: str = "") -> Predictor:
    """The Predictor that the last climb chose, or that of a rung fitted on the present task."""
    last, where = project.store.read("decision.json"), str(project.task.folder)
    name = rung or last.get("decision", {}).get("chosen", "")
    if not name:
        raise RungError("no rung has been chosen here yet.", where=where, remedy=f"Run: rung climb {where}")
    keys = [] if rung else last["fits"][name]
    if keys:
        fitted = project.store.fitted(keys[-1])
    else:
        place = project.places(name)[0]
        start = project.starts[place.base]
        keys = fit_keys(fit_context(project, start), place.methods)
        fitted = project.store.fitted(keys[-1]) if keys else start
    if fitted is None:
        raise RungError(f"the rung {name!r} is not fitted here.", where=where, remedy=f"Run: rung fit {where} {name}")
    return named(fitted, *project.starts.values())


def measure(project: Project, step: Step, until: float, progress: Progress, race: RacePlan | None = None) -> Record:
    """One rung's record: the stored one if nothing it depends on has changed, else measured now."""
    record = Record(rung=step.rung, status="skipped", reason=step.skip, quote=step.estimate)
    if step.estimate is None:
        return record
    project.scoring.validate()
    key = rung_key(project, step, race)
    for stored in reversed(project.store.records()):
        if stored.provenance.key == key and _settled(stored):
            return replace(stored, rung=step.rung)  # the order of `bases` may have changed
    left = until - time.monotonic()
    if step.estimate.fit_seconds > left:
        return replace(
            record,
            reason=f"quoted {step.estimate.fit_seconds / 60:.1f} minutes to fit, {max(0, left) / 60:.1f} left of the budget",
        )
    try:
        record = _with_gaps(_measured(project, step, key, until, progress, race))
    except BudgetError as error:
        record = replace(record, status="skipped", reason=str(error))
    except Exception as error:  # a failure is recorded, and the climb continues
        if files.is_full(error):  # the next rung would fail as well
            raise disk_full(project.store.folder, error) from error
        text = str(error) if isinstance(error, RungError) else f"{type(error).__name__}: {error}"
        record = replace(record, status="failed", reason=text, provenance=Provenance(key=key, traceback=traceback.format_exc()))
    project.store.keep_record(record)
    if ratios := corrections.measured_against_estimate(record, project.machine):
        corrections.append_history(project.machine, ratios)
    return record


def _settled(record: Record) -> bool:
    """Whether a stored measurement is final: every row has its score, or asking again would not change it."""
    found = record.provenance
    old = bool(found.errors) and found.failed is None  # older versions counted failed rows as wrong
    return record.status == "done" and not found.again and not old


def _measured(project: Project, step: Step, key: str, until: float, progress: Progress, race: RacePlan | None) -> Record:
    start = step.base.start
    context = fit_context(project, start)
    predictor, notes = fit(context, step.methods, until, progress)
    memory.reset_peak()
    dev, sure = project.inputs.splits.dev, selection(project, Fitted(step, predictor, notes), until, progress)

    def score(rows: Sequence[Example]) -> Scores:
        predictions = answer(predictor, rows, project.store, project.engines, progress, until)
        return scored(project, predictions, rows, "dev", sure)

    found, raced = score_until_decided(race, score) if race else (score(dev), None)
    known = project.store.predictions(predictor.digest)
    predictions = [known[row] for row in found.ids]
    progress("measuring latency", 1.0)
    waiting = latency(predictor, dev, project.store, project.engines)
    progress("measuring what was forgotten", 1.0)
    return Record(
        rung=step.rung,
        status="done",
        scores=found,
        quote=step.estimate,
        cost=_cost(project, predictor, [*notes, *([asdict(sure)] if sure else [])], predictions),
        latency=waiting,
        forgetting=forgetting.measure_forgetting(
            predictor.model, start.model, project.criteria.probe, project.store, project.engines
        ),  # after the peak
        predictor=predictor.digest,
        selection=sure,
        provenance=replace(
            gather(project.task.folder, project.machine),
            key=key,
            raw_quote=step.raw or Cost(),
            formulas=corrections.FORMULA_VERSION,
            remote=asks_api(step.methods, start.model),
            api=asdict(spent) if (spent := project.engines.spent()) else None,
            writes=not project.inputs.data.labels,
            base=start.model.digest,
            train=project.inputs.data.digest,
            dev=_dev(project),
            test=project.inputs.splits.test.digest,
            fits=tuple(fit_keys(context, step.methods)),
            plugins=plugins_of(step.methods, project.task.goal.metric, predictor.model) or None,
            options=tuple({"method": method.name, **options(method)} for method in step.methods),
            given=project.task.methods,
            seed=project.task.seed,
            notes=tuple(note["notes"] for note in notes),
            attack=cached_attack(predictor, dev, project.store, project.engines),
            errors=sum(bool(p.error) for p in predictions),
            failed=sum(p.failed for p in predictions),
            again=sum(p.failed for p in predictions),
            race=raced,
        ),
    )


def _cost(project: Project, predictor: Predictor, notes: Sequence[dict[str, Any]], predictions: Sequence[Prediction]) -> Cost:
    """The measured cost: of fits and threshold as noted, of answers by this machine's time or an endpoint's tokens."""
    row_seconds = sum(one.seconds for one in predictions) / len(predictions)
    fit_seconds = sum(note["seconds"] for note in notes)
    tariff = project.engines.price(predictor.model)
    tokens = [sum(getattr(one, part) for one in predictions) for part in ("tokens_in", "tokens_out", "tokens_cached")]
    row_usd = tariff.usd(*tokens) / len(predictions) if tariff else project.machine.usd(row_seconds)
    return Cost(
        fit_seconds=fit_seconds,
        row_seconds=row_seconds,
        memory_bytes=max([memory.peak(), *(note.get("peak_memory_bytes", 0) for note in notes)]),
        once_usd=project.machine.usd(fit_seconds) + sum(note.get("usd", 0.0) for note in notes),
        per_month_usd=row_usd * project.task.volume,
        per_1k_usd=1000 * row_usd,
    )


def _with_gaps(record: Record) -> Record:
    """The record with the number of rows without a score, the reason, and how many are asked again next time."""
    if not record.scores or not (missing := record.scores.unscored):
        return record
    reason = (
        f"{len(missing)} of {len(record.scores.ids)} rows have no score, and count neither for nor against it: {missing[0].why}"
    )
    again = max(record.provenance.again or 0, sum(row.again for row in missing))
    return replace(record, reason=reason, provenance=replace(record.provenance, again=again))


def rung_key(project: Project, step: Step, race: RacePlan | None = None) -> str:
    """The key of a rung's measurement: its fits, rows, metric and probe, and the race plan if it is raced."""
    raced = [[asdict(race.schedule), [row.id for row in race.rows], race.goal, race.error]] if race else []
    dev = [[example.id, dict(example.extra)] for example in project.inputs.splits.dev]
    start, tariff = step.base.start, step.base.facts.tariff
    fits = fit_keys(fit_context(project, start), step.methods)
    measured = [
        start.digest,
        fits,
        dev,
        project.scoring.key,
        project.task.volume,
        project.machine.usd_per_hour,
        project.criteria.probe.digest,
    ]
    measured += [asdict(tariff)] if tariff else []
    measured += metrics.secondary_rules(project.task.kind)
    measured += selecting_on(project)
    return digest([*measured, *raced])


def content(project: Project, result: Climb, findings: Sequence[Finding] = ()) -> dict[str, Any]:
    """The content of decision.json, which `show`, `report` and `ask` read."""
    return {
        "rows": _rows(project),
        "findings": [asdict(one) for one in findings],
        "decision": asdict(result.decision),
        "records": [record.to_json() for record in result.records],
        **asdict(result.opened),
        "sealed": len(project.inputs.splits.test),
        "task": project.task.model_dump(mode="json"),
        "rule": metrics.rule(project.task.goal.metric),
        "fits": {step.rung: fit_keys(fit_context(project, step.base.start), step.methods) for step in project.plan.steps},
        "bases": bases_asked(project.plan.steps),
        "spending": asdict(ledger.spending(project)),
        "judge": asdict(agreement) if (agreement := project.scoring.agreement()) else None,
        "plan": asdict(reviewed_plan(project, result.decision, result.records)),
    }


def reviewed_plan(project: Project, decision: Decision, records: Sequence[Record]) -> ReviewedPlan:
    """The flowchart's advice compared with the measurements."""
    against = partial(compare, references=project.criteria.references, groups=project.criteria.groups)
    return ReviewedPlan(project.plan.chart, review_plan(project.plan.chart, decision, records, against))
