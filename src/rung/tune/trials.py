"""Trials of a rung: which settings of its methods to try."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

import yaml

from rung import methods
from rung.errors import TaskError
from rung.methods.base import Method, options
from rung.methods.grids import proposed
from rung.task.reading import read_value
from rung.types import Cost, Interval, digest

MAX_PROPOSED = 9
"""Trials without `--set`, including the current settings."""

Status = Literal["waiting", "fitted", "left", "dropped", "failed", "lost", "unanswered", "stopped", "not begun"]
MethodOptions = Mapping[str, Mapping[str, Any]]
"""Options by method, as under `methods:` in rung.yaml."""


@dataclass(frozen=True)
class Trial:
    """One choice of settings and its progress."""

    settings: Mapping[str, Any]
    """`method.option` to value; empty for the settings of rung.yaml."""
    methods: tuple[Method, ...]
    given: MethodOptions
    """The `methods` section of rung.yaml for these settings."""
    estimate: Cost = Cost()
    status: Status = "waiting"
    reason: str = ""
    score: Interval | None = None
    """With a 95% interval that holds under early stopping."""
    fit_seconds: float = 0.0

    @property
    def name(self) -> str:
        return " ".join(f"{key}={value}" for key, value in self.settings.items()) or "present settings"

    def lines(self, rung: str) -> str:
        """The lines of rung.yaml for these settings, limited to this rung's methods."""
        own = {part: dict(self.given[part]) for part in rung.split("+") if self.given.get(part)}
        return yaml.safe_dump({"methods": own}, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)


def plan(rung: str, given: MethodOptions, sets: Sequence[str] = (), most: int = 0, seed: int = 0) -> tuple[Trial, ...]:
    """The settings of rung.yaml, and all combinations of values to try; at most `most` in all, sampled with the seed.

    `sets`: `method.option=value,value`; without any, the methods propose values and a large grid is sampled
    (random search: Bergstra and Bengio 2012, JMLR 13:281). TaskError if there is nothing to try.
    """
    current = methods.rung(rung, _copy(given))
    grid = _asked(rung, sets) if sets else _proposed(rung, current)
    found = {_key(current): Trial({}, current, given)}
    for values in itertools.product(*grid.values()):
        settings, merged = dict(zip(grid, values)), _copy(given)
        for key, value in settings.items():
            part, _, option = key.partition(".")
            merged.setdefault(part, {})[option] = value
        chain = _checked(rung, merged)
        found.setdefault(_key(chain), Trial(settings, chain, merged))
    first, *others = found.values()
    most = most or (len(found) if sets else MAX_PROPOSED)
    if len(others) >= most:
        drawn = sorted(random.Random(seed).sample(range(len(others)), most - 1))
        others = [others[i] for i in drawn]
    if not others:
        raise TaskError(
            f"the rung {rung!r} has nothing to try but its current settings.",
            remedy="Name values with --set METHOD.OPTION=VALUE,VALUE, and raise --trials if you set it.",
        )
    return (first, *others)


def pace(trials: Sequence[Trial]) -> float:
    """Mean ratio of measured to estimated fit time over the fitted trials; 1 if there is none."""
    done = [one.fit_seconds / one.estimate.fit_seconds for one in trials if one.fit_seconds and one.estimate.fit_seconds]
    return fmean(done) if done else 1.0


def _asked(rung: str, sets: Sequence[str]) -> dict[str, tuple[Any, ...]]:
    """The grid from the command line; values are parsed as in rung.yaml."""
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
    parts = zip(rung.split("+"), chain)  # zero-shot has a name but no method
    return {f"{part}.{option}": values for part, method in parts for option, values in proposed(method).items()}


def _checked(rung: str, given: dict[str, dict[str, Any]]) -> tuple[Method, ...]:
    try:
        return methods.rung(rung, given)
    except TaskError as error:  # rung.yaml itself has been checked already
        where = error.where.replace("rung.yaml methods.", "--set ")
        raise TaskError(error.what, where=where, remedy=error.remedy) from None


def _copy(given: MethodOptions) -> dict[str, dict[str, Any]]:
    return {part: dict(some) for part, some in given.items()}


def _key(chain: Sequence[Method]) -> str:
    return digest([options(method) for method in chain])
