"""Which rung answers for a task: the one that the last climb chose, a named one, or an unmeasured one before any climb."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rung import methods
from rung.climbing.climb import chosen, edited
from rung.climbing.fit import fit, fit_context, fit_keys, named
from rung.climbing.project import Project
from rung.climbing.selecting import with_threshold
from rung.lm.data_policy import require_data_policy
from rung.predictor import Predictor


@dataclass(frozen=True, slots=True)
class Answering:
    """A rung that answers."""

    rung: str
    predictor: Predictor
    notice: str = ""
    """What the asker should know of it: that it is unmeasured, out of date, or below the goal. Empty where nothing is."""


def answering(project: Project, rung: str = "", progress: Callable[[str, float], None] = lambda text, share: None) -> Answering:
    """The rung that answers for the project, by default the chosen one; before any climb one that trains nothing.

    RungError where a named rung is not fitted; TaskError where the rows may not be sent to its model.
    """
    last = project.store.read("decision.json")
    name = rung or last.get("decision", {}).get("chosen", "")
    if not name:
        found = unmeasured(project, progress)
    else:
        predictor = with_threshold(project, chosen(project, rung))
        found = Answering(name, predictor, "" if rung else _notice(project, last))
    for one in filter(None, (found.predictor, found.predictor.then)):
        require_data_policy(project.task, one.model.name, "the model to be asked is", "rung.yaml needs.data_may_leave")
    return found


def unmeasured(project: Project, progress: Callable[[str, float], None] = lambda text, share: None) -> Answering:
    """The first of the rungs that train nothing which the task has the data for; its index or its examples are prepared."""
    for name in methods.UNTRAINED:
        place = project.places(name)[0]
        if not place.missing:
            break
    context = fit_context(project, project.starts[place.base])
    keys = fit_keys(context, place.methods)
    predictor = project.store.fitted(keys[-1]) if keys else context.start
    if predictor is None:
        with project.store.locked():
            predictor, _ = fit(context, place.methods, float("inf"), progress)
    notice = f"{place.rung} answers. {_unmeasured(project)}"
    return Answering(place.rung, named(predictor, *project.starts.values()), notice)


def _unmeasured(project: Project) -> str:
    task = project.task
    if task.data.examples or task.data.train:
        return f"No climb has ended here, so nothing was measured: rung climb {Path(task.folder).name}"
    draft = f"rung init NEW --from {Path(task.folder).name}"
    return f"There are no questions with right answers, so nothing was measured; a model can draft some: {draft}"


def _notice(project: Project, last: dict) -> str:
    said = []
    if edited(project, last):
        said.append("rung.yaml has changed since this rung was chosen: climb again.")
    if last["decision"]["verdict"] != "meets":
        said.append(f"{last['decision']['chosen']} is the best rung so far; it was not shown to meet the goal.")
    return "\n".join(said)
