"""Trials of a rung: which settings of its methods to try, and which rows of train to score them on."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any, Literal

import yaml

from rung import methods
from rung.climb.fit import FitContext, fit_context
from rung.climb.project import Project
from rung.data.preferences import as_example
from rung.data.split import question, split
from rung.errors import TaskError
from rung.methods.base import Method, options
from rung.methods.facts import Facts
from rung.methods.grids import proposed
from rung.plan.bases import Base
from rung.sequential.interim import LEAST
from rung.sequential.race import in_order
from rung.task.reading import read_value
from rung.types import Cost, Example, Interval, digest

SHARE = 0.25
"""Of train, to score trials on; they are fitted on the rest."""
FEW, MANY = 24, 1000
"""Rows to score on, about: no fewer where half of train has so many, and no more."""
SEED = 100_003
"""Added to the task's seed: by that alone, all rows of train lie in one part."""
MOST_PROPOSED = 9
"""Trials where nobody says what to try, the present settings counted."""

Status = Literal["waiting", "fitted", "left", "dropped", "failed", "unanswered", "stopped", "not begun"]
Given = Mapping[str, Mapping[str, Any]]
"""Options by method, as under `methods:` in rung.yaml."""


@dataclass(frozen=True)
class Trial:
    """One choice of settings, and how far it has come."""

    settings: Mapping[str, Any]
    """`method.option` to the value tried; empty for those of rung.yaml."""
    methods: tuple[Method, ...]
    given: Given
    """What rung.yaml would say for it."""
    estimate: Cost = Cost()
    status: Status = "waiting"
    reason: str = ""
    score: Interval | None = None
    """95%, and so however early it was stopped."""
    fit_seconds: float = 0.0

    @property
    def name(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.settings.items()) or "present settings"

    def lines(self, rung: str) -> str:
        """The lines that rung.yaml needs for it, of the methods of this rung."""
        own = {part: dict(self.given[part]) for part in rung.split("+") if self.given.get(part)}
        return yaml.safe_dump({"methods": own}, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)


def plan(rung: str, given: Given, sets: Sequence[str] = (), most: int = 0, seed: int = 0) -> tuple[Trial, ...]:
    """The settings of rung.yaml, and every combination of the values to try; at most `most` in all, drawn by the seed.

    `sets`: `method.option=value,value`; without any the methods propose values, and a large grid is drawn from as well
    (random search: Bergstra and Bengio 2012, JMLR 13:281). TaskError where there is nothing to try.
    """
    present = methods.rung(rung, _copy(given))
    grid = _asked(rung, sets) if sets else _proposed(rung, present)
    found = {_key(present): Trial({}, present, given)}
    for values in itertools.product(*grid.values()):
        settings, merged = dict(zip(grid, values)), _copy(given)
        for key, value in settings.items():
            part, _, option = key.partition(".")
            merged.setdefault(part, {})[option] = value
        chain = _checked(rung, merged)
        found.setdefault(_key(chain), Trial(settings, chain, merged))
    first, *others = found.values()
    most = most or (len(found) if sets else MOST_PROPOSED)
    if len(others) >= most:
        drawn = sorted(random.Random(seed).sample(range(len(others)), most - 1))
        others = [others[i] for i in drawn]
    if not others:
        raise TaskError(
            f"there is nothing to try of the rung {rung!r} but its present settings.",
            remedy="Say what, as --set METHOD.OPTION=VALUE,VALUE, and leave room for it where you say --trials.",
        )
    return (first, *others)


def pace(trials: Sequence[Trial]) -> float:
    """What the trials fitted took, as a multiple of what was quoted; 1 where none is."""
    done = [one.fit_seconds / one.estimate.fit_seconds for one in trials if one.fit_seconds and one.estimate.fit_seconds]
    return fmean(done) if done else 1.0


@dataclass(frozen=True, slots=True)
class Carved:
    """A project's train rows in two parts."""

    context: FitContext
    """Trials are fitted with this part."""
    facts: Facts
    """Of the base, with the sizes of that part."""
    rows: tuple[Example, ...]
    """The other part, in the order in which trials answer it."""


def carve(project: Project, base: Base) -> Carved:
    """Split train for a race of trials on this base.

    A row's place is a hash of its group or question: where the share stays as it is, new rows move none. Preferences
    about a question left out are left out too. TaskError where there are too few rows.
    """
    data = project.inputs.data
    n = max(1, len(data.examples))
    share = min(max(SHARE, FEW / n), MANY / n, 0.5)
    parts = split(data.examples, dev=share, test=0.0, seed=project.task.seed + SEED)
    if len(parts.dev) < LEAST:
        raise TaskError(
            f"{len(data.examples)} rows of train leave {len(parts.dev)} to score trials on, and {LEAST} are the least.",
            where="rung.yaml data",
            remedy="Label more rows.",
        )
    asked = {question(row) for row in parts.dev}
    judged = tuple(one for one in data.preferences if question(as_example(one)) not in asked)
    # the start has the labels and the answer length of all of train
    context = replace(fit_context(project, base.start), data=replace(data, examples=parts.train, preferences=judged))
    facts = replace(base.facts, train_rows=len(parts.train), pairs=len(judged))
    return Carved(context, facts, tuple(in_order(parts.dev, project.task.seed)))


def _asked(rung: str, sets: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """The grid that the command line says; values are read as rung.yaml would read them."""
    found: dict[str, tuple[Any, ...]] = {}
    for text in sets:
        key, _, values = text.partition("=")
        part, _, option = key.partition(".")
        if not (option and values):
            raise TaskError(f"{text!r} sets nothing.", where="--set", remedy="Write METHOD.OPTION=VALUE,VALUE.")
        if part not in rung.split("+"):
            raise TaskError(f"the rung {rung!r} has no method {part!r}.", where="--set", remedy=f"Take one of {rung}.")
        found[key] = (*found.get(key, ()), *read_value(f"[{values}]", f"--set {key}"))
    return found


def _proposed(rung: str, chain: Sequence[Method]) -> dict[str, tuple[Any, ...]]:
    parts = zip(rung.split("+"), chain)  # the rung without a method has a name all the same
    return {f"{part}.{option}": values for part, method in parts for option, values in proposed(method).items()}


def _checked(rung: str, given: dict[str, dict[str, Any]]) -> tuple[Method, ...]:
    try:
        return methods.rung(rung, given)
    except TaskError as error:  # what rung.yaml says has been checked by now
        where = error.where.replace("rung.yaml methods.", "--set ")
        raise TaskError(error.what, where=where, remedy=error.remedy) from None


def _copy(given: Given) -> dict[str, dict[str, Any]]:
    return {part: dict(some) for part, some in given.items()}


def _key(chain: Sequence[Method]) -> str:
    return digest([options(method) for method in chain])
