"""The climb: fit, answer and score rung by rung in the plan's order, and prove a promising one on the sealed rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any, TypeVar

from rung import metrics
from rung.advise.review import ReviewedPlan, review_plan
from rung.claims.order import FAIR, MOST
from rung.climbing import cascading, ledger, live, sampling, test_set
from rung.climbing.deadline import deadline
from rung.climbing.decide import compare, next_rung, price
from rung.climbing.deciding import decide
from rung.climbing.executors import Executor, Job, Open, Setting, local, shared
from rung.climbing.fit import fit_context, fit_keys, named
from rung.climbing.live import Watcher as Watcher
from rung.climbing.measuring import dev_digest, rung_key
from rung.climbing.project import Project
from rung.climbing.test_set import Opened
from rung.data.finding import Finding
from rung.decisions import Decision
from rung.errors import RungError
from rung.planning.steps import bases_asked
from rung.predictor import Predictor
from rung.sequential.race import RacePlan
from rung.store import LeaseLostError
from rung.task import Task
from rung.task.cascade_names import THEN
from rung.types import Record

T = TypeVar("T")


@dataclass(frozen=True)
class Climb:
    """The result of a climb."""

    decision: Decision
    records: tuple[Record, ...]
    opened: Opened
    """The chosen rung's score on the test rows."""


def climb(
    project: Project, watcher: Watcher, *, everything: bool = False, findings: Sequence[Finding] = (), on: Open = local
) -> Climb:
    """Try the plan's rungs in order; stop at the first proved to meet the goal, or measure all of them if `everything`.

    `findings`: the results of the data check, for the report. `on`: where rungs are measured, by default in this process.

    If the task says `race`, a rung answers only as many dev rows as the decision needs; `everything` asks them all.
    """
    on = shared if on is local and project.store.address else on
    with project.store.joined(), live.shown(project, watcher) as watcher:
        project.keep_precision([step.methods for step in project.plan.steps if step.estimate])
        with deadline(project.engines, project.task.budget.minutes) as until:
            if on in (local, shared):  # a cluster's driver may have no room for a model
                sampling.ask(project, until)
            race = project.criteria.race() if project.task.race and not everything else None
            watcher.planned(project.plan.steps)
            go = _Going(project, watcher, findings)
            with on(Setting(project, watcher, until, everything)) as executor:
                _try_steps(go, executor, race, everything)
        return go.prove(finished=True)


class _Going:
    """A climb under way: what is measured so far, and the proofs that it gives cause for."""

    def __init__(self, project: Project, watcher: Watcher, findings: Sequence[Finding]):
        self.project, self.watcher, self.findings = project, watcher, findings
        self.records: list[Record] = []
        self.untested = ""
        self.beside: Callable[[], AbstractContextManager[object]] = nullcontext

    def prove(self, finished: bool) -> Climb:
        """Open the sealed rows for the next rung with a fair chance, and again while one fails."""
        return self._alone(lambda: self._prove(finished))

    def _alone(self, work: Callable[[], T]) -> T:
        """Decide, or open sealed rows, as one driver at a time; once more if another has taken over meanwhile.

        No deadline: proofs have none, and the climb cannot end without its decision.
        """
        while True:
            with suppress(LeaseLostError), self.project.store.lease(test_set.DECISION):
                return work()

    def _prove(self, finished: bool) -> Climb:
        sealed = len(self.project.inputs.splits.test)
        while True:
            decision = decide(self.project, self.records)
            proved = len(test_set.proofs(self.project, self.records))
            name = next_rung(decision, self.records, proved, finished) if sealed and not self.untested else None
            begun = f"the proof of {name} was interrupted. Climb again to finish it." if name else self.untested
            result = self._climb(decision, begun)
            if name or finished:  # a failure on the test rows must not lose the climb
                stored = content(self.project, result, self.findings)
                with self.project.store.under_lease(test_set.DECISION):
                    self.project.store.write("decision.json", stored)
            if name is None:
                return result
            self.watcher.progress(name, "proving on the sealed rows", 1.0)
            with self.beside():
                self.untested = test_set.prove(self.project, next(one for one in self.records if one.rung == name))

    def add(self, record: Record) -> None:
        """Add a record. One with scores spends the climb's error, which is written down."""
        self.records.append(record)
        self.watcher.ended(record)
        if record.scores:
            ledger.register(self.project, self.project.plan.named(record.rung))

    def prove_cheaper(self, rung: str) -> None:
        """Open the sealed rows for a rung beside the one that is proved, if it is cheaper and has a fair chance."""
        self._alone(lambda: self._prove_cheaper(rung))

    def _prove_cheaper(self, rung: str) -> None:
        decision, known = decide(self.project, self.records), {one.rung: one for one in self.records}
        chance = next((one.chance for one in decision.rungs if one.rung == rung), None)
        proved = len(test_set.proofs(self.project, self.records))
        cheaper = price(known[rung]) < price(known[decision.chosen])
        if chance is not None and chance >= FAIR and cheaper and proved < MOST and self.project.inputs.splits.test:
            self.watcher.progress(rung, "proving on the sealed rows", 1.0)
            with self.beside():
                self.untested = test_set.prove(self.project, known[rung])

    def _climb(self, decision: Decision, untested: str) -> Climb:
        proof = test_set.proofs(self.project, self.records).get(decision.chosen)
        opened = Opened(proof.test if proof else None, len(test_set.looks(self.project)), "" if proof else untested)
        return Climb(decision, tuple(self.records), opened)


def _try_steps(go: _Going, executor: Executor, race: RacePlan | None, everything: bool) -> None:
    """Measure the plan's rungs in order, up to the first that is proved to meet the goal unless `everything`.

    The usual cascade comes last, also after a rung that meets the goal if both its parts were measured by then: it may answer
    as well for less.
    """
    steps, met = go.project.plan.steps, False
    go.beside = executor.beside
    with closing(executor.run(Job(step, race) for step in steps if not step.usual)) as records:
        for record in records:
            go.add(record)
            met = not everything and go.prove(finished=False).decision.verdict == "meets"
            if met:
                break
    for step in (one for one in steps if one.usual and one.estimate):
        if met and not {part.rung for part in step.parts} <= {record.rung for record in go.records}:
            continue
        if why := cascading.too_cheap(step, go.records):
            go.watcher.began(step.rung)
            go.add(Record(step.rung, "skipped", why, quote=step.estimate))
            continue
        for record in executor.run([Job(step)]):
            go.add(record)
        if met and go.records[-1].scores:
            go.prove_cheaper(step.rung)


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
    """Whether rung.yaml has changed since a decision was made; reads no rows. A key that rung lacked then had its default."""
    try:
        before = Task.model_validate(stored["task"])
    except ValueError:  # a key or value of another version of rung
        return True
    if before.precision == "float32" and project.task.precision == "auto":
        before = before.model_copy(update={"precision": "auto"})  # was the default, and its fits stay valid
    return before.model_dump(mode="json") != project.task.model_dump(mode="json")


def _rows(project: Project) -> dict[str, str]:
    """Digests of the training data and of the dev and test rows."""
    return {"train": project.inputs.data.digest, "dev": dev_digest(project), "test": project.inputs.splits.test.digest}


def chosen(project: Project, rung: str = "") -> Predictor:
    """The Predictor that the last climb chose, or that of a rung fitted on the present task."""
    last, where = project.store.read("decision.json"), str(project.task.folder)
    name = rung or last.get("decision", {}).get("chosen", "")
    if not name:
        raise RungError("no rung has been chosen here yet.", where=where, remedy=f"Run: rung climb {where}")
    cascade = THEN in name
    keys = last.get("fits", {}).get(name, []) if cascade or not rung else []
    if keys or cascade:
        keys = keys or cascading.step_keys(project, project.plan.named(name))
        fitted = project.store.fitted(keys[-1])
    else:
        place = project.places(name)[0]
        start = project.starts[place.base]
        keys = fit_keys(fit_context(project, start), place.methods)
        fitted = project.store.fitted(keys[-1]) if keys else start
    if fitted is None:
        raise RungError(f"the rung {name!r} is not fitted here.", where=where, remedy=f"Run: rung fit {where} {name}")
    return named(fitted, *project.starts.values())


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
        "fits": {step.rung: cascading.step_keys(project, step) for step in project.plan.steps},
        "bases": bases_asked(project.plan.steps),
        "spending": asdict(ledger.spending(project)),
        "judge": asdict(agreement) if (agreement := project.scoring.agreement()) else None,
        "plan": asdict(reviewed_plan(project, result.decision, result.records)),
    }


def reviewed_plan(project: Project, decision: Decision, records: Sequence[Record]) -> ReviewedPlan:
    """The flowchart's advice compared with the measurements."""
    against = partial(compare, references=project.criteria.references, groups=project.criteria.groups)
    return ReviewedPlan(project.plan.chart, review_plan(project.plan.chart, decision, records, against))
