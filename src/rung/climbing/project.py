"""A project: a task with its store, its engines and its machine, and the frozen values that a climb is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from rung import store
from rung.climbing import precision
from rung.errors import RungError
from rung.lm.engines import Engines
from rung.lm.this_machine import load_or_measure
from rung.machine import Machine
from rung.planning.api_settings import settings
from rung.store import Store
from rung.task import Task
from rung.task.schema import AUTO
from rung.visible import print_visible

if TYPE_CHECKING:
    from rung.advise.advise import Chart
    from rung.climbing.corpora import Screened
    from rung.climbing.inputs import Inputs
    from rung.climbing.scoring import Criteria, Scoring
    from rung.methods.base import Method
    from rung.planning.bases import Base, RungOnBase
    from rung.planning.corrections import PastEstimates
    from rung.planning.samples import Sample
    from rung.planning.steps import Step
    from rung.predictor import Predictor


@dataclass(frozen=True, slots=True)
class Plan:
    """Which rungs are tried in which order, and why."""

    bases: Mapping[str, Base]
    """Each base by its short name with the tokens counted on it, the usual one first."""
    steps: tuple[Step, ...]
    """The rungs in order, each with its cost estimate."""
    chart: Chart
    """The flowchart. A rung that the plan rules out by its estimate is not its first choice."""

    @property
    def alone(self) -> Step:
        """The step to measure where the task names one rung: a cascade stands beside its parts."""
        return next((step for step in self.steps if step.parts), self.steps[0])

    def named(self, rung: str) -> Step:
        """The step of a rung. RungError if the plan has none of this name."""
        found = next((step for step in self.steps if step.rung == rung), None)
        if found is None:
            known = ", ".join(step.rung for step in self.steps)
            raise RungError(f"the plan has no rung {rung!r}.", where="rung.yaml rungs", remedy=f"Known: {known}.")
        return found

    @property
    def rungs(self) -> int:
        """Rungs that can be tried and share the error of the climb."""
        return sum(step.estimate is not None and not step.usual for step in self.steps)


@dataclass(frozen=True, eq=False)
class Project:
    """A task made ready for work.

    Its parts (`inputs`, `starts`, `plan`, `scoring`, `criteria`) are frozen values. Each is built once, when a command first
    asks for it, by a function of its own: `rung report` reads no documents that it does not need, `rung ask` makes no plan. What
    builds it is imported then, so that `rung search` starts in a second.
    """

    task: Task
    shared_engines: Engines | None = None
    """Engines shared with other projects; by default the project has its own."""
    say: Callable[[str], object] = print_visible
    """Receives messages for the user: downloads, and stored files that are not used."""
    estimate_for: Machine | None = None
    """Another machine to estimate costs for. A climb runs on this one, or on the machines of a cluster."""
    past: PastEstimates | None = None
    """Errors of past estimates that correct the plan's; by default those in the store and of the machine."""
    given_samples: Mapping[str, Sample] | None = None
    """Sampled answers that correct the plan's estimates, by keys; by default those in the store."""
    alone: Callable[[], AbstractContextManager[object]] = nullcontext
    """Entered while latency is measured: nothing else may run on the machine."""
    store_at: str = ""
    """Address of the store; by default that of the environment, or of the last climb in this folder."""

    def __post_init__(self) -> None:
        if self.task.bases == AUTO:
            from rung.climbing.auto_bases import resolved

            task = resolved(self.task, self.store, lambda: self.inputs.splits.train, lambda: self.machine, self.say)
            object.__setattr__(self, "task", task)

    @cached_property
    def store(self) -> Store:
        """The `.rung` folder beside the task, or the database that several drivers share."""
        return store.opened(self.task.folder, self.say, self.store_at)

    @cached_property
    def machine(self) -> Machine:
        """Measured once per machine, in up to three seconds; with the store's precision where it can."""
        return self.estimate_for or self._measured.freezing(self.frozen_bf16)

    @cached_property
    def _measured(self) -> Machine:
        return load_or_measure(usd_per_hour=self.task.machine_usd_per_hour)

    @cached_property
    def frozen_bf16(self) -> bool:
        """Whether the task's fits freeze weights in bfloat16: part of their keys, and the same on all machines of a store."""
        return precision.frozen_bf16(self.task, self.store, lambda: self._measured)

    def keep_precision(self, chains: Iterable[Sequence[Method]]) -> None:
        """Store it, if it is part of the keys of what these methods make: before anything is measured with them.

        RungError if another process has stored the other one since this one has chosen.
        """
        if self.task.precision == "bfloat16" or any(method.freezes for chain in chains for method in chain):
            precision.keep(self.task, self.store, self.frozen_bf16, self.say)

    @property
    def worker(self) -> Machine:
        """The machine that measures; another one than that of the estimates where a cluster's driver made them."""
        return self.engines.machine if self.estimate_for else self.machine

    @cached_property
    def engines(self) -> Engines:
        """Opens models and caches the most recent ones in memory."""
        return self.shared_engines or Engines(self.machine, self.say, settings(self.task, self.store))

    @cached_property
    def inputs(self) -> Inputs:
        """Documents, rows and training data. DataError if a file cannot be read."""
        from rung.climbing.inputs import read_inputs

        return read_inputs(self.task)

    @cached_property
    def screened(self) -> Screened:
        """Raw text without duplicates and held-out rows. Reads all of it, once. DataError if it cannot be read."""
        from rung.climbing import corpora

        until = self.engines.until
        return corpora.screen(self.task, self.inputs.splits, self.inputs.data, self.store, self.say, until)

    @cached_property
    def starts(self) -> Mapping[str, Predictor]:
        """The untouched Predictor of each base by its short name, the usual base first. TaskError for an invalid option."""
        from rung import methods
        from rung.planning import bases

        methods.check(self.task.methods)
        rounded = self.task.precision == "bfloat16" and self.frozen_bf16
        return bases.starts(self.task, self.inputs.data, self.engines, rounded)

    @cached_property
    def bases(self) -> Mapping[str, Base]:
        """Each base by its short name with the tokens counted on it, the usual one first. Opens tokenizers, no weights."""
        from rung.planning import bases

        data, dev = self.inputs.data, len(self.inputs.splits.dev)
        return {name: bases.count_base(start, data, self.engines, dev) for name, start in self.starts.items()}

    @cached_property
    def samples(self) -> Mapping[str, Sample]:
        """How long answers of rungs that write were, which an earlier climb or this one asked; by keys."""
        from rung.planning import samples

        return samples.stored(self.store, self.say) if self.given_samples is None else self.given_samples

    @cached_property
    def plan(self) -> Plan:
        """The rungs in order. Counts tokens with each base's tokenizer; opens no weights."""
        return make_plan(self)

    def estimate_again(self) -> None:
        """Forget the plan and what follows from it, after more samples were stored."""
        for part in ("samples", "plan", "criteria"):
            vars(self).pop(part, None)

    @cached_property
    def scoring(self) -> Scoring:
        """The metric and the judge. TaskError if rows may not be sent to the judge's model."""
        from rung.climbing.scoring import scoring

        return scoring(self.task, self.engines, self.store)

    @cached_property
    def criteria(self) -> Criteria:
        """What a climb is decided by."""
        from rung.climbing.scoring import criteria

        return criteria(self.task, self.inputs, self.scoring, self.plan.rungs)

    @property
    def start(self) -> Predictor:
        """The untouched Predictor of the usual base."""
        return next(iter(self.starts.values()))

    def places(self, rung: str) -> list[RungOnBase]:
        """The bases on which a rung is tried; `rung` may name one, as in `lora@BASE`."""
        from rung.planning import bases

        return bases.on_bases(rung, self.task, self.starts, self.inputs.data, self.machine)


def make_plan(project: Project) -> Plan:
    """Answer the flowchart's questions and estimate every rung, corrected by the errors of past estimates."""
    from rung.planning import cascades, corrections, steps

    task, data, machine, counted = project.task, project.inputs.data, project.machine, project.bases
    asked = steps.flowchart_input(task, data, counted, machine)
    seen = project.past or corrections.past_estimates(project.store.records(), machine)
    found = steps.plan(task, data, counted, machine, asked.chart(), seen, project.samples)
    found = cascades.with_cascades(found, task, data, counted, machine)
    return Plan(counted, tuple(found), asked.chart([step.rung for step in found if step.skip]))
