"""A trial of settings as a job: its fit on one part of train, or its answers to rows of the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from rung import methods
from rung.climbing import fit as fitting
from rung.climbing import measuring
from rung.climbing.executors.order import Order, another
from rung.climbing.fit import Progress
from rung.climbing.project import Project
from rung.climbing.train_parts import TrainParts, split_train
from rung.errors import BudgetError
from rung.evaluate.predict import NoAnswersError, answer
from rung.methods import chain as chains
from rung.methods.base import Method
from rung.task.base_names import AT
from rung.types import Cost, Provenance, Record


@dataclass(frozen=True, slots=True)
class TrialJob:
    """One choice of a rung's settings. Fits and answers go to the store, where the driver finds them."""

    name: str
    methods: tuple[Method, ...]
    given: Mapping[str, Mapping[str, Any]]
    """The `methods` section of rung.yaml for these settings."""
    parts: TrainParts
    estimate: Cost = Cost()
    rows: int = 0
    """Scoring rows to answer, from the first; 0 to fit only."""
    refused: Callable[[str], str] = lambda key: ""
    """Why a fit with this key is not begun; empty if it is."""
    ends: Callable[[float], float] = lambda until: until
    """When the fit must have ended, where everything must at a given time."""

    @property
    def key(self) -> str:
        return fitting.fit_keys(self.parts.context, self.methods)[-1]

    @property
    def blank(self) -> Record:
        return Record(rung=self.name, status="skipped", quote=self.estimate)

    @property
    def asks_api(self) -> bool:
        return chains.asks_api(self.methods, self.parts.context.start.model)

    def makes(self, project: Project) -> set[str]:
        return set() if self.rows else set(self.missing)

    @property
    def missing(self) -> list[str]:
        """Keys of its fits that are not in the store."""
        context = self.parts.context
        return [key for key in fitting.fit_keys(context, self.methods) if context.store.fitted(key) is None]

    @property
    def unseen(self) -> str:
        """The file that should have its answers, once it has answered; empty if the store has them.

        Rows that failed are answers, and after them the rest may not have been asked: the driver asks once more, and says so.
        """
        store = self.parts.context.store
        predictor = store.fitted(self.key)
        assert predictor, "it answers with a fit that the store has"
        known = store.predictions(predictor.digest)
        there = [known.get(row.id) for row in self.parts.rows[: self.rows]]
        seen = all(there) or any(one and one.failed for one in there)
        return "" if seen else f"predictions/{predictor.digest}.jsonl"

    def begin(self, project: Project, until: float) -> Record | str:
        key = self.key
        if self._stored(key):
            return self._done(key)
        why = self.refused(key)
        return replace(self.blank, reason=why) if why else key

    def until(self, until: float) -> float:
        return self.ends(until)

    def measured(self, project: Project, key: str, until: float, progress: Progress) -> tuple[Record, bool]:
        def work() -> tuple[Record, bool]:
            context = self.parts.context
            try:
                predictor, _ = fitting.fit(context, self.methods, until, progress)
                if self.rows:
                    with suppress(NoAnswersError):  # the driver asks once more, and says so
                        answer(predictor, self.parts.rows[: self.rows], context.store, context.engines, progress, until)
            except BudgetError as error:  # its remedy is a climb's
                return replace(self.blank, reason=error.what), False
            return self._done(key), False

        return measuring.guarded(self.blank, key, project.store.folder, work)

    def keep(self, project: Project, record: Record) -> None:
        """Nothing: what a trial comes to is stored with the run that it is part of."""

    def sent(self) -> dict[str, Any]:
        own = {one.name: self.given[one.name] for one in self.methods if one.name in self.given}
        return {"trial": {"methods": own, "rows": self.rows}}

    def _done(self, key: str) -> Record:
        return replace(self.blank, status="done", provenance=Provenance(key=key))

    def _stored(self, key: str) -> bool:
        """Whether the store has its fits, and its answers to all its rows."""
        store = self.parts.context.store
        if self.missing or (predictor := store.fitted(key)) is None:
            return False
        known = store.predictions(predictor.digest)
        return all(row.id in known and not known[row.id].failed for row in self.parts.rows[: self.rows])


def trial_of(project: Project, order: Order) -> TrialJob:
    """The trial that is asked for. RungError if this machine would fit something else."""
    assert order.trial
    [step] = project.plan.steps
    given = order.trial["methods"]
    chain = methods.rung(step.rung.partition(AT)[0], given)
    job = TrialJob(order.rung, chain, given, split_train(project, step.base), rows=order.trial["rows"])
    if job.key != order.key:
        raise another(order)
    return job
