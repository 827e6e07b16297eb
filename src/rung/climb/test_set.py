"""The sealed test rows: opened for the rung that meets the goal, each look counted, and what befalls it told."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rung import metrics
from rung.climb.fit import fit, fit_context
from rung.climb.project import Project
from rung.errors import RungError
from rung.evaluate.predict import answer
from rung.store import scores
from rung.types import Record, Scores, digest


@dataclass(frozen=True, slots=True)
class Opened:
    """What came of showing a rung the sealed rows."""

    test: Scores | None
    """None while the seal holds, or where the look could not be finished."""
    seals_broken: int
    """How many different Predictors have been shown the test rows. More than one: the number is no longer fresh."""
    untested: str = ""
    """Why the rung has no number though it meets the goal; empty where it has one, or needs none."""


def looks(project: Project) -> dict[str, Any]:
    """Each look at the sealed rows as they are now, by what was shown them."""
    return {
        name: look for name, look in project.store.read("test.json").items() if look["seal"] == project.inputs.splits.test.digest
    }


def opened(project: Project, record: Record) -> Opened:
    """The score on the sealed rows of the rung that meets the goal; each new look at them is counted.

    A look with rows that may fare better another time (a call that failed) is not kept: the next climb goes on with it.
    """
    name = digest([record.predictor, project.inputs.splits.test.digest, project.scoring.key])
    seen = looks(project)
    if name not in seen:
        try:
            found = _shown(project, record)
        except Exception as error:  # as of a rung: told, and nothing that was measured is lost
            why = str(error) if isinstance(error, RungError) else f"{type(error).__name__}: {error}"
            return Opened(None, len(seen), f"{why} Climb again to go on with it.")
        if isinstance(found, str):
            return Opened(None, len(seen), found)
        look = {"seal": project.inputs.splits.test.digest, "rung": record.rung, "scores": asdict(found)}
        seen[name] = look
        project.store.write("test.json", {**project.store.read("test.json"), name: look})
    return Opened(scores(seen[name]["scores"]), len(seen))


def _shown(project: Project, record: Record) -> Scores | str:
    """A rung's score on the sealed rows, or why there is none yet."""
    step = next(step for step in project.plan.steps if step.rung == record.rung)
    predictor, _ = fit(fit_context(project, step.base.start), step.methods, float("inf"), lambda *_: None)
    rows = project.inputs.splits.test.open()
    predictions = answer(predictor, rows, project.store, project.engines, lambda *_: None, float("inf"))
    found = metrics.score(project.scoring.metric(), rows, predictions, "test", kind=project.task.kind)
    again = [one.why for one in found.unscored if one.again]
    if again:
        return f"{len(again)} of {len(rows)} sealed rows have no answer or no mark yet: {again[0]} Climb again to ask them."
    return found
