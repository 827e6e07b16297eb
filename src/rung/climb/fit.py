"""A rung's methods fitted one after another; what was fitted before is taken from the store."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from rung.climb.project import Project
from rung.errors import RungError
from rung.evaluate import memory
from rung.lm.data_policy import require_data_policy
from rung.lm.engine_kinds import can
from rung.methods import multiprocess
from rung.methods.base import Method, Run, options
from rung.methods.chain import rewarded
from rung.predictor import Predictor
from rung.types import digest


def fit(
    project: Project,
    chain: Sequence[Method],
    deadline: float,
    progress: Callable[[str, float], None],
    start: Predictor | None = None,
) -> tuple[Predictor, list[dict[str, Any]]]:
    """Fit a rung's methods one after another; what an earlier rung has already fitted is taken from the store.

    `start`: what they begin with; by default the usual base.
    """
    predictor, notes = start or project.start, []
    for method, key in zip(chain, fit_keys(project, chain, start)):
        fitted = project.store.fitted(key)
        if fitted is not None:
            named(fitted, predictor)
        else:
            # tuning tries teachers that the task does not name
            require_data_policy(project.task, method.teacher, "the teacher is", f"methods.{method.name}.teacher")
            run = Run(
                project.store.workplace(key),
                project.engines,
                project.task.seed,
                progress,
                deadline,
                project.store.folder,
                reward=lambda answer, example: project.metric.rate(answer, example),
                home=project.task.folder,
                trackers=project.task.trackers,
            )
            if (run.folder / "work").is_dir():
                run.notes["resumed"] = True  # its seconds are those of the rest, so no quote is held to them
            progress(f"fitting {method.name}", 0.0)
            memory.reset_peak()
            before, started = project.engines.spent(), time.monotonic()
            data = project.data.only(method.needs)
            # what keeps no checkpoint keeps its answers, and gets further with each try
            with project.store.trying(key) if method.family in multiprocess.TRAINS else nullcontext():
                fitted = multiprocess.fit(method, predictor, replace(data, examples=(*data.examples, *predictor.taught)), run)
            note = {"seconds": time.monotonic() - started, "peak_memory_bytes": memory.peak(), "notes": run.notes}
            # of a fit that goes on from a kill this is the rest, and an answer that was paid for another fit costs nothing
            spent = project.engines.spent()
            note["usd"] = spent.usd - (before.usd if before else 0.0) if spent else 0.0
            fitted = project.store.keep_fit(key, fitted, note)
        predictor = fitted
        notes.append(project.store.fit_notes(key))
    return predictor, notes


def named(kept: Predictor, *given: Predictor) -> Predictor:
    """A kept Predictor. RungError where it would ask a server that none of those given asks: what is kept names none itself."""
    if not can(kept.model).local and kept.model.name not in {one.model.name for one in given}:
        raise RungError(
            f"what is kept here would ask {kept.model.name!r}, which rung.yaml does not name.",
            where=".rung/fits",
            remedy="Delete the folder .rung, or name the model under base.",
        )
    return kept


def fit_keys(project: Project, chain: Sequence[Method], start: Predictor | None = None) -> list[str]:
    """A name for each fit of a rung: what stood before it, the method, its options, the data and the seed."""
    keys, before = [], (start or project.start).digest
    for method in chain:
        data = project.data.only(method.needs).digest
        given = [before, method.name, method.fit_version, options(method), data, project.task.seed]
        before = digest([*given, *rewarded(method, project.measure, project.task.folder)])
        keys.append(before)
    return keys
