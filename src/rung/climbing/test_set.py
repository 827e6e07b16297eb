"""The sealed test rows: opened for the rung that meets the goal; every look is counted and its outcome reported."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rung import metrics
from rung.climbing.fit import fit, fit_context
from rung.climbing.project import Project
from rung.errors import RungError
from rung.evaluate.predict import answer
from rung.store import scores
from rung.types import Record, Scores, digest


@dataclass(frozen=True, slots=True)
class Opened:
    """Outcome of scoring a rung on the test rows."""

    test: Scores | None
    """None while the rows are sealed, or if the look did not finish."""
    seals_broken: int
    """Number of Predictors scored on the test rows. Above one, the score is no longer unbiased."""
    untested: str = ""
    """Why a rung that meets the goal has no test score; empty otherwise."""


def looks(project: Project) -> dict[str, Any]:
    """Each look at the present test rows, by its key."""
    return {
        name: look for name, look in project.store.read("test.json").items() if look["seal"] == project.inputs.splits.test.digest
    }


def opened(project: Project, record: Record) -> Opened:
    """The score on the test rows of the rung that meets the goal; each new look is counted.

    A look with rows to ask again (a call that failed) is not stored; the next climb continues it.
    """
    name = digest([record.predictor, project.inputs.splits.test.digest, project.scoring.key])
    seen = looks(project)
    if name not in seen:
        try:
            found = _shown(project, record)
        except Exception as error:  # reported, so that the measurements are not lost
            why = str(error) if isinstance(error, RungError) else f"{type(error).__name__}: {error}"
            return Opened(None, len(seen), f"{why} Climb again to finish it.")
        if isinstance(found, str):
            return Opened(None, len(seen), found)
        look = {"seal": project.inputs.splits.test.digest, "rung": record.rung, "scores": asdict(found)}
        seen[name] = look
        project.store.write("test.json", {**project.store.read("test.json"), name: look})
    return Opened(scores(seen[name]["scores"]), len(seen))


def _shown(project: Project, record: Record) -> Scores | str:
    """A rung's score on the test rows, or why there is none yet."""
    step = next(step for step in project.plan.steps if step.rung == record.rung)
    predictor, _ = fit(fit_context(project, step.base.start), step.methods, float("inf"), lambda *_: None)
    rows = project.inputs.splits.test.open()
    predictions = answer(predictor, rows, project.store, project.engines, lambda *_: None, float("inf"))
    found = metrics.score(project.scoring.metric(), rows, predictions, "test", kind=project.task.kind)
    again = [one.why for one in found.unscored if one.again]
    if again:
        return f"{len(again)} of {len(rows)} sealed rows have no answer or no mark yet: {again[0]} Climb again to ask them."
    return found
