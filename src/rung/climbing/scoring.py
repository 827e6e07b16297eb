"""How answers are scored: the goal's metric, the judge behind it, and the error shared by all rungs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from rung import metrics
from rung.claims.shares import ERROR
from rung.climbing.decide import decide
from rung.climbing.held import Proof
from rung.climbing.inputs import Inputs
from rung.data.split import Sealed
from rung.decisions import Decision
from rung.evaluate import forgetting, judging
from rung.lm.engines import Engines
from rung.metrics.agreement import Agreement
from rung.metrics.judge import Judge
from rung.sequential.race import RacePlan, analysis_of, race_plan
from rung.store import Store
from rung.task import Task
from rung.types import Example, Record


@dataclass(frozen=True, slots=True)
class Scoring:
    """The metric and the judge behind it."""

    judge: Judge | None
    key: str
    """What scores depend on, for content keys: the metric's rule, the judge and the content of the team's own metric."""
    metric: Callable[[], metrics.Metric]
    """Loads the goal's metric once. TaskError if the team's own cannot be loaded."""
    agreement: Callable[[], Agreement | None]
    """How far the judge agrees with people; None without a judge. The first call asks the judge, whose marks are stored."""

    def validate(self) -> None:
        """Load the metric and measure the judge's agreement: an error in either is the task's, not a rung's."""
        self.metric()
        self.agreement()


def scoring(task: Task, engines: Engines, store: Store) -> Scoring:
    """How this task's answers are scored. Opens no judge and loads no metric yet."""
    judge, name = judging.build_judge(task, engines, store), task.goal.metric
    key = " ".join([metrics.rule(name), *([judge.digest] if judge else []), *metrics.content_digests(name, task.folder)])
    agreement = cache(lambda: judging.measure_agreement(task, judge) if judge else None)
    metric = cache(lambda: judging.judge_metric(judge, agreement) if judge else metrics.get(name, task.folder))
    return Scoring(judge, key, metric, agreement)


@dataclass(frozen=True, slots=True)
class Criteria:
    """What decides a climb."""

    task: Task
    scoring: Scoring
    dev: tuple[Example, ...]
    rungs: int
    """Number of rungs that can be tried; they share the error."""
    probe: forgetting.Probe
    """What general ability is measured on."""

    @property
    def error(self) -> float:
        """One rung's share of the error that a rung is called failing wrongly, one-sided."""
        return ERROR / max(1, self.rungs)

    @property
    def references(self) -> Mapping[str, Example]:
        """The dev rows by id; corpus metrics are recomputed from their right answers."""
        return {example.id: example for example in self.dev}

    @property
    def groups(self) -> Mapping[str, str]:
        """Each dev row's group by its id; empty for none."""
        return {example.id: example.group for example in self.dev}

    def race(self) -> RacePlan:
        """The race of a rung on the dev rows. TaskError if the metric is not a mean over rows."""
        return race_plan(self.dev, self.task.seed, self.scoring.metric(), self.task.goal.at_least, self.error)

    def decide(
        self,
        records: Sequence[Record],
        *,
        error: float,
        later: float,
        rungs: int,
        apart: Mapping[str, float],
        proofs: Mapping[str, Proof],
        test: Sealed,
        left: Mapping[str, str],
    ) -> Decision:
        """The records against the goal. If there is a judge, its agreement is measured first.

        `error`, `later`, `rungs`: of `rung.climbing.ledger.Spending`; `apart`: of `errors_apart` there. `test`: opened only
        where there are proofs on it.
        """
        rows = (*self.dev, *test.open()) if proofs else self.dev
        return decide(
            records,
            self.task.goal,
            alpha=error,
            references={example.id: example for example in rows},
            groups={example.id: example.group for example in rows},
            planned=rungs,
            judge=self.scoring.agreement(),
            interim={r.rung: analysis_of(race, self.error) for r in records if (race := r.provenance.race)},
            sealed=len(test),
            proofs=proofs,
            later=later,
            apart=apart,
            left=left,
        )


def criteria(task: Task, inputs: Inputs, scoring: Scoring, rungs: int) -> Criteria:
    """What decides a climb of so many rungs."""
    return Criteria(task, scoring, inputs.splits.dev, rungs, forgetting.probe(task.folder, task.data.general))
