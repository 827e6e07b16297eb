"""The sealed test rows: opened to prove a rung that dev gives a fair chance; every look is counted and its outcome stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rung.climbing.cascading import fit_step, missing_fits
from rung.climbing.fit import unseen
from rung.climbing.held import Proof
from rung.climbing.project import Project
from rung.climbing.selecting import scored, threshold
from rung.errors import RungError
from rung.evaluate.predict import answer
from rung.planning.steps import Step
from rung.predictor import Predictor
from rung.store import LeaseLostError, scores
from rung.types import Example, Record, Scores, Split, digest

DECISION = "decision"
"""The lease of the one driver that opens sealed rows and decides."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What came of the sealed rows."""

    test: Scores | None
    """The chosen rung's score on them; None while they are sealed for it, or if the look did not finish."""
    seals_broken: int
    """Number of Predictors scored on the test rows. Above one, the score is no longer unbiased."""
    untested: str = ""
    """Why a rung with a fair chance has no test score; empty otherwise."""


def looks(project: Project) -> dict[str, Any]:
    """Each look at the present test rows, by its key."""
    return {
        name: look for name, look in project.store.read("test.json").items() if look["seal"] == project.inputs.splits.test.digest
    }


def proofs(project: Project, records: Sequence[Record]) -> dict[str, Proof]:
    """By rung, what it scored on the sealed rows, where they were opened for it."""
    seen = looks(project)
    found = {record.rung: seen[name] for record in records if (name := _name(project, record)) in seen}
    return {rung: Proof(scores(look["scores"]), scores(look["dev"]) if look.get("dev") else None) for rung, look in found.items()}


def prove(project: Project, record: Record) -> str:
    """Score a rung on the sealed rows and store the look; returns why that could not be done, or an empty text.

    LeaseLostError, with no look stored, if this driver had the lease `DECISION`, or that of a fit or of answers, and has lost it.

    A look with rows to ask again (a call that failed) is not stored; the next climb continues it. A raced rung answers the rest
    of its dev rows as well.
    """
    try:
        step = next(step for step in project.plan.steps if step.rung == record.rung)
        _require_fits(project, step, record)
        predictor = fit_step(project, step, float("inf"), lambda *_: None).predictor
        dev, raced = project.inputs.splits.dev, record.provenance.race
        if raced and raced.asked < len(dev):
            _require_answers(project, predictor, record)
            rest = _scored(project, predictor, dev, "dev", record)
        else:
            rest = None
        found = _scored(project, predictor, project.inputs.splits.test.open(), "test", record)
    except LeaseLostError:  # another driver has taken over the proof
        raise
    except Exception as error:  # reported, so that the measurements are not lost
        why = str(error) if isinstance(error, RungError) else f"{type(error).__name__}: {error}"
        return f"{why} Climb again to finish it."
    again = [one.why for one in (*found.unscored, *(rest.unscored if rest else ())) if one.again]
    if again:
        return f"{len(again)} of {len(found.ids)} sealed rows have no answer or no mark yet: {again[0]} Climb again to ask them."
    look = {"seal": project.inputs.splits.test.digest, "rung": record.rung, "scores": asdict(found)}
    look |= {"dev": asdict(rest)} if rest else {}
    with project.store.under_lease(DECISION):
        project.store.change("test.json", lambda looks: {**looks, _name(project, record): look})
    return ""


def _require_fits(project: Project, step: Step, record: Record) -> None:
    """RungError if a worker made the rung's fits and they are not in the store: this process may lack what a fit needs."""
    ran = record.provenance.ran
    if ran and (missing := missing_fits(project, step)):
        what = f"{record.rung} was fitted on {ran['node']}, and this machine does not see its fit"
        instead = f"Or fit it here: rung fit {project.task.folder} {record.rung}."
        raise unseen(project.store, what, f"fits/{missing[0]}", instead)


def _require_answers(project: Project, predictor: Predictor, record: Record) -> None:
    """RungError if a worker asked the first dev rows and their answers are not in the store: they would be paid twice."""
    ran, asked = record.provenance.ran, record.scores.ids if record.scores else ()
    if ran and not project.store.predictions(predictor.digest).keys() >= set(asked):
        what = f"{record.rung} answered {len(asked)} dev rows on {ran['node']}, and this machine does not see all of the answers"
        instead = "Or set race: false, so that the cluster asks all rows."
        raise unseen(project.store, what, f"predictions/{predictor.digest}.jsonl", instead)


def _name(project: Project, record: Record) -> str:
    cut = threshold(record.selection)
    return digest([record.predictor, project.inputs.splits.test.digest, project.scoring.key, *([asdict(cut)] if cut else [])])


def _scored(project: Project, predictor: Predictor, rows: Sequence[Example], split: Split, record: Record) -> Scores:
    predictions = answer(predictor, rows, project.store, project.engines, lambda *_: None, float("inf"))
    return scored(project, predictions, rows, split, record.selection)
