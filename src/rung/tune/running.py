"""Trials under way: fitted in order, then raced."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from rung.climbing import fit as fitting
from rung.climbing.executors import Executor
from rung.climbing.executors.trial import TrialJob
from rung.climbing.train_parts import TrainParts
from rung.errors import BudgetError, RungError
from rung.evaluate.predict import NoAnswersError, answer
from rung.metrics import score
from rung.predictor import Predictor
from rung.sequential.interim import bounds
from rung.sequential.race import Outcome, race
from rung.tune.trials import Status, Trial, pace
from rung.tune.verdict import ERROR, RaceSetup
from rung.types import Example, Record


class Watcher(Protocol):
    """Receives progress. Trials are identified by index."""

    def changed(self, trials: Sequence[Trial]) -> None: ...
    def progress(self, trial: int, text: str, share: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Shown:
    """The watcher of trials as that of an executor's jobs."""

    watcher: Watcher
    trials: Sequence[Trial]

    def began(self, rung: str) -> None: ...

    def progress(self, rung: str, text: str, share: float) -> None:
        self.watcher.progress(next(i for i in range(len(self.trials)) if job_name(i) == rung), text, share)


def job_name(trial: int) -> str:
    """Of a trial's jobs."""
    return f"trial {trial}"


class _TrialFailedError(Exception):
    """A trial could not answer: its index, status and reason."""


@dataclass
class Running:
    """The running trials."""

    parts: TrainParts
    track: RaceSetup
    deadline: float
    watcher: Watcher
    trials: list[Trial]
    executor: Executor

    def set(self, i: int, **now: Any) -> None:
        self.trials[i] = replace(self.trials[i], **now)
        self.watcher.changed(self.trials)

    # --- fitting ----------------------------------------------------------------------------------------------

    def fit(self) -> dict[int, Predictor]:
        """Fit as many trials as the time allows, reserving the time to answer with those fitted."""
        fitted: dict[int, Predictor] = {}
        jobs = [self._job(i, refused=partial(self._refused, i), ends=partial(self._ends, i)) for i in range(len(self.trials))]
        with closing(self.executor.run(jobs)) as records:
            for i, record in enumerate(records):
                if record.status == "done":
                    if predictor := self._fitted(i):
                        fitted[i] = predictor
                elif self.trials[i].status == "waiting":
                    self.set(i, status=_status(record), reason=record.reason)
        return fitted

    def _job(self, i: int, **more: Any) -> TrialJob:
        trial = self.trials[i]
        return TrialJob(job_name(i), trial.methods, trial.given, self.parts, trial.estimate, **more)

    def _fitted(self, i: int) -> Predictor | None:
        """A trial that is fitted, as the store has it; None if it cannot be used. RungError if the store does not have it."""
        context, trial = self.parts.context, self.trials[i]
        if missing := self._job(i).missing:
            raise self._unseen(i, "is fitted, but this machine does not see its fit", f"fits/{missing[0]}")
        try:
            predictor, notes = fitting.fit(context, trial.methods, self.deadline, partial(self.watcher.progress, i))
        except BudgetError as error:
            self.set(i, status="stopped", reason=error.what)
        except Exception as error:  # a failed trial is recorded, and the race continues
            self.set(i, status="failed", reason=_error_text(error))
        else:
            self.set(i, status="fitted", fit_seconds=sum(note["seconds"] for note in notes))
            return predictor
        return None

    def _ends(self, i: int, until: float) -> float:
        """When a trial's fit must have ended, so that it and those before it have the time to answer."""
        asked = [self.trials[i], *(one for one in self.trials if one.status == "fitted")]
        return until - max(1.0, pace(self.trials)) * len(self.track.rows) * sum(one.estimate.row_seconds for one in asked)

    def _refused(self, i: int, key: str) -> str:
        takes, left = pace(self.trials) * self.trials[i].estimate.fit_seconds, self._ends(i, self.deadline) - time.monotonic()
        if takes <= left or self.parts.context.store.fitted(key):
            return ""
        reason = f"needs about {takes / 60:.1f} minutes to fit, and {max(0.0, left) / 60:.1f} are left"
        self.set(i, status="not begun", reason=reason)
        return reason

    # --- racing -----------------------------------------------------------------------------------------------

    def race(self, fitted: dict[int, Predictor]) -> Outcome | None:
        """Race the fitted trials; None if time ran out.

        A trial that fails is removed from `fitted`, and the race restarts with the cached answers of the others.
        """
        track = self.track
        while fitted:
            try:
                askers, ahead = [self._asker(i, one) for i, one in fitted.items()], partial(self._answered, list(fitted))
                outcome = race(
                    askers, track.rows, track.schedule, alpha=ERROR, clusters=track.clusters, binary=track.binary, ahead=ahead
                )
            except _TrialFailedError as error:
                i, status, reason = error.args
                fitted.pop(i)
                self.set(i, status=status, reason=reason)
                continue
            except BudgetError as error:
                for i in fitted:
                    self.set(i, status="stopped", reason=error.what)
                return None
            dropped = {one.candidate: f"at stage {one.look + 1} of {len(track.schedule.sizes)}" for one in outcome.dropped}
            for place, i in enumerate(fitted):
                self.set(i, status="dropped" if place in dropped else "left", reason=dropped.get(place, ""))
            return outcome
        return None

    def _answered(self, numbers: Sequence[int], left: Sequence[int], rows: int) -> None:
        """Have the trials left in the race answer a stage's rows at the same time. RungError if the store has no answers then."""
        if not self.executor.concurrent:
            return
        asked = [numbers[place] for place in left]
        with closing(self.executor.run([self._job(i, rows=rows) for i in asked])) as records:
            found: Mapping[int, Record] = dict(zip(asked, records, strict=True))
        for i, record in found.items():
            if record.status == "failed":
                raise _TrialFailedError(i, _status(record), record.reason)
            if record.status == "skipped":
                raise BudgetError(record.reason)
            if file := self._job(i, rows=rows).unseen:
                raise self._unseen(i, f"has answered {rows} rows, but this machine does not see all of its answers", file)

    def _unseen(self, i: int, what: str, file: str) -> RungError:
        return fitting.unseen(self.parts.context.store, f"trial {i} ({self.trials[i].name}) {what}", file)

    def _asker(self, i: int, predictor: Predictor) -> Callable[[Sequence[Example]], Sequence[float]]:
        context, track, metric, seen = self.parts.context, self.track, self.parts.context.scoring.metric(), list[float]()

        def ask(rows: Sequence[Example]) -> Sequence[float]:
            try:
                found = answer(predictor, rows, context.store, context.engines, partial(self.watcher.progress, i), self.deadline)
                scores = score(metric, rows, found, "train")
                if scores.unscored:
                    raise NoAnswersError(f"{len(scores.unscored)} of {len(rows)} rows have no score: {scores.unscored[0].why}")
            except BudgetError:
                raise
            except Exception as error:
                status = "unanswered" if isinstance(error, NoAnswersError) else "failed"
                raise _TrialFailedError(i, status, _error_text(error)) from error
            seen.extend(scores.per_row)
            self.set(i, score=bounds(seen, *track.at(seen, 0.025)))
            return scores.per_row

        return ask


def _status(record: Record) -> Status:
    """Of a trial whose job has not done its work."""
    if record.status == "failed":
        return "lost" if record.provenance.lost else "failed"
    return "stopped"


def _error_text(error: Exception) -> str:
    return str(error) if isinstance(error, RungError) else f"{type(error).__name__}: {error}"
