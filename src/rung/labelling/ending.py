"""The end of a sitting: how rung.yaml names the labelled file, and how far the decision is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from rung import store
from rung.claims.prospects import prospect, selective_prospect
from rung.climbing.project import Project
from rung.data.check import MIN_DEV_ROWS
from rung.labelling.pool import Held
from rung.labelling.sheet import Sheet
from rung.metrics.stats import MAX_ROWS
from rung.task import Task
from rung.task.sections import Goal
from rung.types import Record, Split

_PLAIN = re.compile(r"[\w./-]+")


def naming(sheet: Sheet, have: Held) -> str:
    """The lines of rung.yaml that name the labelled file beside the team's own; empty if it is named already."""
    data = sheet.task.data
    key = sheet.split or ("examples" if data.examples else "train")
    named = (*data.examples, *data.train, *data.dev, *data.test)
    if any(sheet.path == sheet.task.folder / name or sheet.path.is_relative_to(sheet.task.folder / name) for name in named):
        return ""
    if not (sheet.split and data.examples):
        return data_lines({key: (*getattr(data, key), sheet.label)})
    given: Mapping[Split, object] = {"train": have.loaded.train, "dev": have.loaded.dev, "test": have.loaded.test}
    names: dict[str, Sequence[str]] = {
        split: (*data.examples, *((sheet.label,) if split == key else ())) for split, rows in given.items() if rows is not None
    }
    return data_lines(names, "    # instead of examples")


def data_lines(names: Mapping[str, Sequence[str]], remark: str = "") -> str:
    """Keys under `data` as lines of rung.yaml, each with the files that it names."""
    return "\n".join([f"data:{remark}", *(f"  {key}: {_flow(some)}" for key, some in names.items())])


def _flow(names: Sequence[str]) -> str:
    shown = [name if _PLAIN.fullmatch(name) else json.dumps(name, ensure_ascii=False) for name in names]
    return shown[0] if len(shown) == 1 else f"[{', '.join(shown)}]"


def outlook(project: Project, sizes: Mapping[Split, int], have: Held) -> tuple[str, ...]:
    """How far the decision is with the rows that are labelled now, and how many more it would take, as sentences."""
    dev, sealed = sizes.get("dev", 0), sizes.get("test", 0)
    counted = ", ".join(f"{split} {sizes.get(split, 0)}" for split in ("train", "dev", "test"))
    last = project.store.read("decision.json")
    said = _after_climb(project.task, last, dev + sealed, have) if last else None
    return (f"Rows now: {counted}.", *(said if said is not None else _before_climb(project.task, dev, sealed)))


def _records(last: Mapping[str, list[dict[str, object]]]) -> dict[str, Record]:
    return {one.rung: one for one in map(store.record, last["records"])}


def _before_climb(task: Task, dev: int, sealed: int) -> tuple[str, ...]:
    """What these held-out rows could show."""
    if dev < MIN_DEV_ROWS:
        more = f"label {MIN_DEV_ROWS - dev} more with --for dev"
        return (f"{MIN_DEV_ROWS} dev rows are the least that can decide anything: {more}.",)
    goal = task.goal
    if goal.coverage is not None:
        return (_before_selective(goal, goal.coverage, dev, sealed),)
    found = prospect(dev + sealed, goal.at_least, len(task.rungs or ()) or 1)
    rows = f"{dev} dev and {sealed} test rows"
    if found.true_score is None:
        return (f"Even a perfect score on {rows} would not show {goal.metric} >= {goal.at_least:g}: label more.",)
    return (
        f"Nothing has been climbed yet. To show {goal.metric} >= {goal.at_least:g} on {rows}, a rung must score"
        f" {found.needed / found.rows:.3f} on them; one whose true score is {found.true_score:.3f} does so 8 times in 10.",
    )


def _before_selective(goal: Goal, coverage: float, dev: int, sealed: int) -> str:
    """What these rows could show of a goal with a coverage."""
    found = selective_prospect(dev + sealed, goal.at_least, coverage, 1)
    aim, rows = f"{goal.metric} >= {goal.at_least:g} at coverage {coverage:g}", f"{dev} dev and {sealed} test rows"
    if not found.possible:
        return f"Even a rung that is right on all of the rows it answers would not show {aim} on {rows}: label more."
    need = f"a rung must answer {found.coverage.needed} of them and be right on {found.score.needed} of these"
    return f"Nothing has been climbed yet. To show {aim} on {rows}, {need}."


def _after_climb(task: Task, last: Mapping[str, Any], held: int, have: Held) -> tuple[str, ...] | None:
    """The last decision, and how many of the rows that it asked for are labelled since. None if nothing was measured."""
    decision, records = store.decision(last["decision"]), _records(last)
    goal = f"{task.goal.metric} >= {task.goal.at_least:g}"
    folder = task.folder.name
    if not decision.chosen:
        return None
    if decision.verdict == "meets":
        return (f"At the last climb {decision.chosen} was shown to meet {goal}.",)
    if decision.left:
        return (f"At the last climb {', '.join(decision.left)} could not be measured: rung climb {folder}",)
    if decision.verdict == "fails":
        return (f"At the last climb every rung was shown to miss {goal}: more train rows or another rung, not more dev rows.",)
    due = [one for one in decision.rungs if one.verdict == "undecided" and one.more_rows and one.rung in records]
    if not due:
        return (f"At the last climb {goal} was undecided, and not for lack of rows: rung show {folder}",)
    nearest = min(due, key=lambda one: one.more_rows)
    scores = records[nearest.rung].scores
    assert scores, "a rung that lacks rows has a score"
    if nearest.more_rows >= MAX_ROWS:
        return (f"At the last climb {nearest.rung} scored {scores.overall}, too close to {goal} for more rows to tell apart.",)
    since = max(0, held - scores.overall.n - int(last.get("sealed", 0)))
    left = nearest.more_rows - since
    said = (
        f"At the last climb {nearest.rung} scored {scores.overall}, on dev against {goal}."
        f" About {nearest.more_rows} more dev and test rows would decide 8 times in 10;"
        f" {since} {'is' if since == 1 else 'are'} labelled since"
    )
    return (f"{said}. Next: {_more(left, have)}." if left > 0 else f"{said}: rung climb {folder}",)


def _more(rows: int, have: Held) -> str:
    """How many rows to label for that many held-out rows."""
    if have.whole:
        return f"about {rows} more with --for held-out, or {ceil(rows / (have.dev + have.test))} for all splits"
    return f"about {rows} more with --for dev and --for test"
