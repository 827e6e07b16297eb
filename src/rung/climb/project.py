"""A task made ready for work: its rows, its store, its engines, its plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from rung import methods, metrics
from rung.advise.advise import Chart
from rung.climb.decide import decide
from rung.data import preferences, unlabelled
from rung.data.corpus import texts
from rung.data.formats import text_of
from rung.data.split import Splits, make_splits, question
from rung.evaluate import forgetting, judging
from rung.lm.engines import Engines
from rung.lm.this_machine import load_or_measure
from rung.machine import Machine
from rung.methods.facts import Facts
from rung.metrics.judge import Agreement, Judge
from rung.plan import bases, corrections
from rung.plan.bases import Base, Place
from rung.plan.steps import Asked, Step, ask, labels, plan, settings
from rung.predictor import Predictor
from rung.retrieve.knowledge import documents, is_open, is_open_file, open_to_all, with_sources
from rung.sequential.race import RacePlan, analysis_of, race_plan
from rung.store import Store
from rung.task import Task
from rung.types import Decision, Example, Preference, Record, Texts, TrainData
from rung.visible import say

ALPHA = 0.05
"""The error that all rungs of a climb share."""


class Project:
    """A task made ready: its rows, its store, its engines. Everything is worked out when first asked for."""

    def __init__(
        self,
        task: Task,
        engines: Engines | None = None,
        say: Callable[[str], object] = say,
        machine: Machine | None = None,
    ):
        """`machine`: one to quote for in place of this one. A climb is made on the machine at hand."""
        self.task, self.store = task, Store(task.folder, say)
        self._engines, self._say, self._machine = engines, say, machine

    @cached_property
    def machine(self) -> Machine:
        return self._machine or load_or_measure(usd_per_hour=self.task.machine_usd_per_hour)

    @cached_property
    def engines(self) -> Engines:
        return self._engines or Engines(self.machine, self._say, settings(self.task))

    @cached_property
    def documents(self) -> Texts:
        given = self.task.data
        return documents(self.task.folder, given.documents, tuple(given.access.items()))

    @cached_property
    def splits(self) -> Splits:
        """The rows, with sources as citations spell them."""
        if not (self.task.data.source and self.task.data.documents):
            return make_splits(self.task)
        return make_splits(self.task, lambda row: with_sources(row, self.documents))

    @cached_property
    def data(self) -> TrainData:
        """What may be learnt from: of documents with a label no row, preference, input or text."""
        given, folder, found = self.task.data, self.task.folder, self.documents
        train = open_to_all(self.splits.train, found)

        def keep(file: Path) -> bool:
            return is_open_file(file, found)

        return TrainData(
            train,
            labels(self.task, train),
            self._judged(),
            corpus=texts(folder, given.corpus, keep),
            general=forgetting.general(folder, given.general, keep),
            documents=found,
            unlabelled=self._unlabelled() if given.unlabelled else (),
        )

    def _judged(self) -> tuple[Preference, ...]:
        """The preferences that name no closed document, and are about no question whose row is closed."""
        given = self.task.data
        found = preferences.load(self.task.folder, given.preferences, given.source)
        rows = (*self.splits.train, *self.splits.dev, *self.splits.test.open()) if found and given.access else ()
        left = {row.id for row in open_to_all(rows, self.documents)}
        closed = {question(row) for row in rows if row.id not in left}
        return tuple(
            one for one in found if is_open(one.source, self.documents) and question(preferences.as_example(one)) not in closed
        )

    def _unlabelled(self) -> tuple[str, ...]:
        given = self.task.data

        def keep(row: Mapping[str, Any]) -> bool:
            source = given.source
            return not source or source not in row or is_open(text_of(row[source], "").strip(), self.documents)

        files = [name for name in given.unlabelled if is_open_file(self.task.folder / name, self.documents)]
        return unlabelled.load(self.task.folder, files, given.input, self._questions, keep)

    @property
    def _questions(self) -> list[str]:
        """Every input that has an answer, sealed ones too: none of them is given to a teacher."""
        rows = (*self.splits.train, *self.splits.dev, *self.splits.test.open())
        return [row.input for row in rows]

    @cached_property
    def probe(self) -> forgetting.Probe:
        return forgetting.probe(self.task.folder, self.task.data.general)

    @cached_property
    def starts(self) -> dict[str, Predictor]:
        """The untouched Predictor of each base by its short name, the usual base first."""
        methods.check(self.task.methods)
        return bases.starts(self.task, self.data, self.engines)

    @cached_property
    def start(self) -> Predictor:
        """Of the usual base."""
        return next(iter(self.starts.values()))

    @cached_property
    def bases(self) -> dict[str, Base]:
        return {name: bases.counted(start, self.data, self.engines) for name, start in self.starts.items()}

    @cached_property
    def facts(self) -> Facts:
        """Of the usual base."""
        return next(iter(self.bases.values())).facts

    def places(self, rung: str) -> list[Place]:
        """Where a rung is to be tried, named with a base or without."""
        return bases.places(rung, self.task, self.starts, self.data, self.machine)

    @cached_property
    def metric(self) -> metrics.Metric:
        if self.judge:
            return judging.metric(self.judge, lambda: self.agreement)
        return metrics.get(self.task.goal.metric, self.task.folder)

    @cached_property
    def judge(self) -> Judge | None:
        return judging.judge_of(self.task, self.engines, self.store)

    @cached_property
    def agreement(self) -> Agreement | None:
        """How far the judge agrees with people; None without one. Measured when first asked for, and kept by its marks."""
        return judging.agreement(self.task, self.judge) if self.judge else None

    @cached_property
    def measure(self) -> str:
        """What scores are made by, for keys: the metric, with the content name of the team's own or of the judge."""
        name = self.task.goal.metric
        return " ".join(
            [metrics.rule(name), *([self.judge.digest] if self.judge else []), *metrics.own.contents(name, self.task.folder)]
        )

    @cached_property
    def chart(self) -> Chart:
        """The flowchart; what the plan rules out by its quote is not its first choice."""
        return self._asked.chart([step.rung for step in self.steps if step.skip])

    @cached_property
    def _asked(self) -> Asked:
        return ask(self.task, self.data, self.bases, self.machine)

    @cached_property
    def steps(self) -> list[Step]:
        seen = corrections.seen(self.store.records(), self.machine)
        return plan(self.task, self.data, self.bases, self.machine, self._asked.chart(), seen)

    @cached_property
    def references(self) -> dict[str, Example]:
        """The dev rows by id: a score of the whole is recomputed from their right answers."""
        return {example.id: example for example in self.splits.dev}

    @cached_property
    def groups(self) -> dict[str, str]:
        return {example.id: example.group for example in self.splits.dev}

    @cached_property
    def tried(self) -> int:
        """Rungs that can be tried: they share the error."""
        return sum(step.estimate is not None for step in self.steps)

    @cached_property
    def course(self) -> RacePlan:
        return race_plan(self.splits.dev, self.task.seed, self.metric, self.task.goal.at_least, ALPHA / self.tried)

    def decide(self, records: Sequence[Record]) -> Decision:
        return decide(
            records,
            self.task.goal,
            alpha=ALPHA,
            references=self.references,
            groups=self.groups,
            planned=self.tried,
            judge=self.agreement,
            interim={r.rung: analysis_of(r.provenance["race"], ALPHA / self.tried) for r in records if "race" in r.provenance},
        )
