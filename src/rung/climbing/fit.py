"""Fits a rung's methods one after another; stored fits are reused."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from rung import plugins
from rung.climbing import precision
from rung.climbing.corpora import Screened
from rung.climbing.indexing import index_here
from rung.climbing.project import Project
from rung.climbing.scoring import Scoring
from rung.errors import RungError
from rung.evaluate import memory
from rung.lm.data_policy import require_data_policy
from rung.lm.engine_kinds import can
from rung.lm.engines import Engines
from rung.methods import multiprocess
from rung.methods.base import Method, Run, options
from rung.methods.chain import rewarded
from rung.predictor import Predictor
from rung.store import Store
from rung.task import Task
from rung.types import TrainData, digest

Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class FitContext:
    """What a fit depends on besides its methods."""

    task: Task
    store: Store
    engines: Engines
    data: TrainData
    start: Predictor
    """What the first method begins with."""
    scoring: Scoring
    """Answers are rewarded by its metric, for methods that learn from rewards."""
    screened: Callable[[], Screened]
    """The raw text that methods learn from; called only for one that needs raw text, since screening reads all of it."""
    frozen_bf16: bool = False
    """Whether weights that a method freezes are bfloat16 on a machine that multiplies it: by the task and the store."""

    def data_for(self, method: Method) -> TrainData:
        """What a method may learn from."""
        found = self.data.only(method.needs)
        return self.screened().applied(found) if found.corpus.files or found.general.files else found


def fit_context(project: Project, start: Predictor | None = None) -> FitContext:
    """The context of the project's own fits. `start`: by default the untouched Predictor of the usual base."""
    return FitContext(
        project.task,
        project.store,
        project.engines,
        project.inputs.data,
        start or project.start,
        project.scoring,
        lambda: project.screened,
        project.frozen_bf16,
    )


def fit(
    context: FitContext, chain: Sequence[Method], deadline: float, progress: Progress
) -> tuple[Predictor, list[dict[str, Any]]]:
    """Fit a rung's methods one after another; stored fits are reused.

    Returns the fitted Predictor and a note of each fit: seconds, peak memory in bytes, dollars, the method's own notes.
    `deadline` is a `time.monotonic()`; BudgetError after it.
    """
    predictor, notes = context.start, []
    for method, key in zip(chain, fit_keys(context, chain)):
        stored = context.store.fitted(key)
        if stored is None:
            predictor = _fit_alone(context, method, key, predictor, deadline, progress)
        else:
            predictor = named(stored, predictor)
        index_here(predictor, context.data, context.store, context.engines)
        notes.append(context.store.fit_notes(key))
    return predictor, notes


def _fit_alone(context: FitContext, method: Method, key: str, start: Predictor, deadline: float, progress: Progress) -> Predictor:
    """Fit one method, unless another process that shares the store has done so meanwhile."""
    with context.store.lease(f"fits/{key}", deadline):
        stored = context.store.fitted(key)
        if stored is not None:
            return named(stored, start)
        return _fit_one(context, method, key, start, deadline, progress)


def _fit_one(context: FitContext, method: Method, key: str, start: Predictor, deadline: float, progress: Progress) -> Predictor:
    """Fit one method and store the result under its key."""
    task, store, engines = context.task, context.store, context.engines
    if method.freezes or task.precision == "bfloat16":
        precision.keep(task, store, context.frozen_bf16, engines.say)
    # tuning tries teachers that the task does not name
    require_data_policy(task, method.teacher, "the teacher is", f"methods.{method.name}.teacher")
    run = Run(
        store.workplace(key),
        engines,
        task.seed,
        progress,
        deadline,
        store.folder,
        reward=lambda answer, example: context.scoring.metric().rate(answer, example),
        counts_labels_alike=task.goal.metric == "macro_f1",
        home=task.folder,
        trackers=task.trackers,
    )
    if (run.folder / "work").is_dir():
        run.notes["resumed"] = True  # only the rest is timed, so no estimate is compared with it
    progress(f"fitting {method.name}", 0.0)
    memory.reset_peak()
    before, started = engines.spent(), time.monotonic()
    data = context.data_for(method)
    if data.corpus.files or data.general.files:
        run.notes["raw_text"] = context.screened().notes()
        for text in context.screened().sentences():
            progress(text, 0.0)
    trains = method.checkpoints or method.family in multiprocess.TRAINS
    # a method without checkpoints stores its answers and gets further with each attempt
    with store.trying(key) if trains else nullcontext():
        fitted = multiprocess.fit(method, start, replace(data, examples=(*data.examples, *start.taught)), run)
    note = {"seconds": time.monotonic() - started, "peak_memory_bytes": memory.peak(), "notes": run.notes}
    if trains:
        memory.give_back()  # the model that answers is opened beside what is kept
    # a resumed fit counts only the rest, and a cached answer costs nothing
    spent = engines.spent()
    note["usd"] = spent.usd - (before.usd if before else 0.0) if spent else 0.0
    return store.keep_fit(key, fitted, note)


def named(stored: Predictor, *given: Predictor) -> Predictor:
    """A stored Predictor. RungError if it would ask a server that none of those given asks: the store must not add one."""
    if stored.then:
        named(stored.then, *given)
    if not can(stored.model).local and stored.model.name not in {one.model.name for one in given}:
        raise RungError(
            f"a stored fit would ask {stored.model.name!r}, which rung.yaml does not name.",
            where=".rung/fits",
            remedy="Delete the folder .rung, or name the model under base.",
        )
    return stored


def unseen(store: Store, what: str, file: str, instead: str = "") -> RungError:
    """Another machine has done what is not in this machine's store, which is never done again in silence.

    `file`: where it should be in the store's folder; `instead`: another way out.
    """
    place = "Mount the folder at the same path on every machine, with the same RUNG_KEY_FILE"
    remedy = f"{place}, or share a store that has a place for files."
    return RungError(f"{what}.", where=str(store.folder / file), remedy=f"{remedy} {instead}".rstrip())


def fit_keys(context: FitContext, chain: Sequence[Method]) -> list[str]:
    """The key of each fit of a rung: what it starts from, the method, its options, the data and the seed."""
    keys, before = [], context.start.digest
    for method in chain:
        data = context.data_for(method).digest
        given = [before, method.name, method.fit_version, options(method), data, context.task.seed]
        given += filter(None, [plugins.origin(method)])  # another version of a plug-in may fit differently
        given += ["bfloat16"] if method.freezes and context.frozen_bf16 else []
        before = digest([*given, *rewarded(method, context.scoring.key, context.task.folder)])
        keys.append(before)
    return keys
