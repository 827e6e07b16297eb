"""Measuring one rung: fit it, answer and score the dev rows, and record what that took."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rung import files, metrics
from rung.climbing import cascading
from rung.climbing.fit import Progress
from rung.climbing.out_of_fold import Fitted
from rung.climbing.project import Project
from rung.climbing.selecting import scored, selecting_on, selection
from rung.errors import BudgetError, RungError, disk_full
from rung.evaluate import forgetting, memory
from rung.evaluate.injection import cached_attack
from rung.evaluate.predict import answer, latency
from rung.evaluate.provenance import gather, plugins_of
from rung.lm.base import InServer, ServerFacts
from rung.lm.engine_kinds import can
from rung.methods.base import options
from rung.methods.chain import asks_api
from rung.planning import corrections
from rung.planning.steps import Step
from rung.predictor import Predictor
from rung.sequential.race import RacePlan, score_until_decided
from rung.store import LeaseLostError
from rung.types import Cost, Example, Forgetting, Prediction, Provenance, Raced, Record, Scores, digest


def record_or_key(project: Project, step: Step, until: float, race: RacePlan | None = None) -> Record | str:
    """The record of a rung that is not to be measured now (stored, impossible, or too long), else its measurement's key."""
    record = Record(rung=step.rung, status="skipped", reason=step.skip, quote=step.estimate)
    if step.estimate is None:
        return record
    project.scoring.validate()
    key = rung_key(project, step, race)
    for stored in reversed(project.store.records()):
        if stored.provenance.key == key and _settled(stored):
            return replace(stored, rung=step.rung)  # the order of `bases` may have changed
    left = until - time.monotonic()
    if (quoted := step.estimate.fit_seconds) > left:
        return replace(
            record,
            reason=f"fitting is estimated at {quoted / 60:.1f} minutes, and the budget has {max(0, left) / 60:.1f} left",
        )
    return key


def measured(
    project: Project, step: Step, key: str, until: float, progress: Progress, race: RacePlan | None = None
) -> tuple[Record, bool]:
    """A rung measured now, and whether its record is to be stored. A failure is recorded; DiskFullError if there is no space."""
    blank = Record(rung=step.rung, status="skipped", quote=step.estimate)

    def work() -> tuple[Record, bool]:
        if step.usual and (why := cascading.doubtful(project, step, until, progress)):
            return replace(blank, reason=why), False
        return _with_gaps(_measured(project, step, key, until, progress, race)), True

    return guarded(blank, key, project.store.folder, work)


def guarded(blank: Record, key: str, folder: Path, work: Callable[[], tuple[Record, bool]]) -> tuple[Record, bool]:
    """What `work` gives; a failure is recorded. DiskFullError if the store's folder has no space."""
    try:
        return work()
    except BudgetError as error:
        return replace(blank, reason=str(error)), True
    except LeaseLostError:  # another driver goes on with it
        raise
    except Exception as error:  # a failure is recorded, and the others go on
        if files.is_full(error):  # the next one would fail as well
            raise disk_full(folder, error) from error
        text = str(error) if isinstance(error, RungError) else f"{type(error).__name__}: {error}"
        return failed(blank, key, text, traceback.format_exc()), True


def failed(blank: Record, key: str, why: str, where: str = "", *, lost: bool = False) -> Record:
    """The record of what could not be done. `where`: a traceback; `lost`: see `Provenance.lost`."""
    found = Provenance(key=key, traceback=where or None, lost=lost or None)
    return replace(blank, status="failed", reason=why, provenance=found)


def keep(project: Project, record: Record) -> None:
    """Store a record, and how far its estimate was off."""
    project.store.keep_record(record)
    if ratios := corrections.measured_against_estimate(record, project.machine):
        corrections.append_history(project.machine, ratios)


def _settled(record: Record) -> bool:
    """Whether a stored measurement is final: every row has its score, or asking again would not change it."""
    found = record.provenance
    old = bool(found.errors) and found.failed is None  # older versions counted failed rows as wrong
    return record.status == "done" and not found.again and not old


def _measured(project: Project, step: Step, key: str, until: float, progress: Progress, race: RacePlan | None) -> Record:
    fitted = cascading.fit_step(project, step, until, progress)
    predictor, notes = fitted.predictor, fitted.notes
    memory.reset_peak()
    dev, sure = project.inputs.splits.dev, selection(project, fitted, until, progress)

    def score(rows: Sequence[Example]) -> Scores:
        predictions = answer(predictor, rows, project.store, project.engines, progress, until)
        return scored(project, predictions, rows, "dev", sure)

    found, raced = score_until_decided(race, score) if race else (score(dev), None)
    known = project.store.predictions(predictor.digest)
    predictions = [known[row] for row in found.ids]
    progress("measuring latency", 1.0)
    with project.alone():
        waiting = latency(predictor, dev, project.store, project.engines)
    server = _server(project, predictor)
    progress("measuring what was forgotten", 1.0)
    return Record(
        rung=step.rung,
        status="done",
        scores=found,
        quote=step.estimate,
        cost=_cost(project, predictor, [*notes, *([asdict(sure)] if sure else [])], predictions, server),
        latency=waiting,
        forgetting=_forgetting(project, fitted),  # after the peak
        predictor=predictor.digest,
        selection=sure,
        provenance=replace(
            _provenance(project, step, key, fitted, predictions, raced), server=asdict(server) if server else None
        ),
    )


def _provenance(
    project: Project, step: Step, key: str, fitted: Fitted, predictions: Sequence[Prediction], raced: Raced | None
) -> Provenance:
    """What a measurement was made of and with."""
    return replace(
        gather(project.task.folder, project.worker),
        key=key,
        raw_quote=step.raw or Cost(),
        formulas=corrections.FORMULA_VERSION,
        remote=any(asks_api(one.methods, one.base.start.model) for one in step.parts or (step,)),
        api=asdict(spent) if (spent := project.engines.spent()) else None,
        writes=not project.inputs.data.labels,
        base=step.base.start.model.digest,
        train=project.inputs.data.digest,
        dev=dev_digest(project),
        test=project.inputs.splits.test.digest,
        fits=tuple(cascading.step_keys(project, step)),
        plugins=plugins_of(step.all_methods, project.task.goal.metric, fitted.predictor.model) or None,
        options=tuple({"method": method.name, **options(method)} for method in step.all_methods),
        given=project.task.methods,
        seed=project.task.seed,
        precision=_precision(project, fitted),
        notes=tuple(note["notes"] for note in fitted.notes),
        attack=cached_attack(fitted.predictor, project.inputs.splits.dev, project.store, project.engines),
        errors=sum(bool(p.error) for p in predictions),
        failed=sum(p.failed for p in predictions),
        shortened=sum(bool(p.left_out) for p in predictions) or None,
        again=sum(p.failed for p in predictions),
        race=raced,
    )


def _precision(project: Project, fitted: Fitted) -> dict[str, str] | None:
    """In which type weights were multiplied, in answers and beside the last adapter; None if no engine of rung answered."""
    models = [one.model for one in (fitted.predictor, fitted.predictor.then) if one and can(one.model).precisions]
    if not models:
        return None
    worker = project.worker
    answered = (models[-1].precision if worker.multiplies_bf16 else "") or worker.dtype
    trained = [note["notes"]["precision"] for note in fitted.notes if "precision" in note["notes"]]
    return {"answered": answered} | ({"trained": trained[-1]} if trained else {})


def _server(project: Project, predictor: Predictor) -> ServerFacts | None:
    """The server that a model of this rung is in; of two that of the first. None where all answers came from the store."""
    engines = project.engines
    asked = [one.model for one in (predictor, predictor.then) if one and one.model in engines.opened]
    return next((one.server for one in map(engines.open, asked) if isinstance(one, InServer)), None)


def _cost(
    project: Project,
    predictor: Predictor,
    notes: Sequence[dict[str, Any]],
    predictions: Sequence[Prediction],
    server: ServerFacts | None,
) -> Cost:
    """The measured cost: of fits and threshold as noted, of answers by this machine's time or an endpoint's tokens.

    Memory is that of the process that holds the model, where it is seen from here.
    """
    held = server.memory_bytes if server and server.memory_bytes else memory.peak()
    row_seconds = sum(one.seconds for one in predictions) / len(predictions)
    fit_seconds = sum(note["seconds"] for note in notes)
    row_usd = 0.0
    for model, some in cascading.asked(project, predictor, predictions):
        tariff = project.engines.price(model)
        tokens = [sum(getattr(one, part) for one in some) for part in ("tokens_in", "tokens_out", "tokens_cached")]
        usd = tariff.usd(*tokens) if tariff else project.worker.usd(sum(one.seconds for one in some))
        row_usd += usd / len(predictions)
    return Cost(
        fit_seconds=fit_seconds,
        row_seconds=row_seconds,
        memory_bytes=max([held, *(note.get("peak_memory_bytes", 0) for note in notes)]),
        once_usd=project.worker.usd(fit_seconds) + sum(note.get("usd", 0.0) for note in notes),
        per_month_usd=row_usd * project.task.volume,
        per_1k_usd=1000 * row_usd,
    )


def _with_gaps(record: Record) -> Record:
    """The record with the number of rows without a score, the reason, and how many are asked again next time."""
    if not record.scores or not (missing := record.scores.unscored):
        return record
    reason = (
        f"{len(missing)} of {len(record.scores.ids)} rows have no score, and count neither for nor against it: {missing[0].why}"
    )
    again = max(record.provenance.again or 0, sum(row.again for row in missing))
    return replace(record, reason=reason, provenance=replace(record.provenance, again=again))


def rung_key(project: Project, step: Step, race: RacePlan | None = None) -> str:
    """The key of a rung's measurement: its fits, rows, metric and probe, and the race plan if it is raced."""
    raced = [[asdict(race.schedule), [row.id for row in race.rows], race.goal, race.error]] if race else []
    dev = [[example.id, dict(example.extra)] for example in project.inputs.splits.dev]
    start, tariff = step.base.start, step.base.facts.tariff
    fits = cascading.step_keys(project, step)
    measured = [
        start.digest,
        fits,
        dev,
        project.scoring.key,
        project.task.volume,
        project.machine.usd_per_hour,
        project.criteria.probe.digest,
    ]
    measured += [asdict(tariff)] if tariff else []
    measured += metrics.secondary_rules(project.task.kind)
    measured += selecting_on(project)
    return digest([*measured, *raced])


def dev_digest(project: Project) -> str:
    """Digest of the dev rows."""
    return digest([example.id for example in project.inputs.splits.dev])


def _forgetting(project: Project, fitted: Fitted) -> Forgetting | None:
    """What the model that answers has forgotten; of a cascade's two that which forgot more."""
    starts = [part.base.start for part in fitted.step.parts or (fitted.step,)]
    models = [one.model for one in (fitted.predictor, fitted.predictor.then) if one]
    how = (project.criteria.probe, project.store, project.engines)
    found = [forgetting.measure_forgetting(model, start.model, *how) for model, start in zip(models, starts)]
    return max((one for one in found if one), key=lambda one: one.rise, default=None)
