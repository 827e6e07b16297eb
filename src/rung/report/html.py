"""The report as one HTML file, from the climb's records and the scored rows; needs no network and no model."""

from __future__ import annotations

import base64
import hashlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pydantic import TypeAdapter

from rung import files
from rung.climbing.inputs import open_dev_rows
from rung.data.conversations import is_conversation
from rung.data.finding import Finding
from rung.errors import RungError
from rung.report import figures, numbers, pictures, rows, sources, verdict
from rung.report.coverage import coverage_plot
from rung.report.repeat import recipe
from rung.report.report_data import ReportData, overall, read_report_data
from rung.report.scatter import measures, scatter
from rung.report.spreads import spreads
from rung.report.standings import standings
from rung.report.trainings import trainings
from rung.task import base_names
from rung.types import Example, Prediction
from rung.visible import json_text, visible

if TYPE_CHECKING:
    from rung.climbing.project import Project

SHOWN = 20
"""Rows of each kind shown before the reader expands the list."""
WIDE, NARROW = (860, 430), (360, 400)
"""Size of the scatter plot on a screen and on a phone; the flowchart uses the widths."""


def write(project: Project, path: Path | None = None) -> Path:
    """Write the report of a task's last climb, by default to report.html in its folder, and return the path.

    RungError if there is no finished climb. Test rows are counted and checked for leaks but never shown, nor are rows with a
    closed source, because reports are passed on.
    """
    text = rendered(project)
    path = path or project.task.folder / "report.html"
    if not path.parent.is_dir():
        raise RungError("the folder does not exist.", where=str(path.parent), remedy="Create it, or name another place.")
    files.write_text(path, text, errors="replace")  # a lone surrogate in a row must not fail the report
    return path


def rendered(project: Project) -> str:
    """The report of a task's last climb, as `write` writes it. RungError if there is no finished climb."""
    content = project.store.read("decision.json")
    if not content:
        raise RungError(
            "there is no finished climb to report.",
            where=str(project.task.folder),
            remedy=f"Run: rung climb {project.task.folder}",
        )
    findings = TypeAdapter(tuple[Finding, ...]).validate_python(content.get("findings", ()))
    predictions = {
        one["rung"]: project.store.predictions(one["predictor"]) for one in content["records"] if one["status"] == "done"
    }
    return render(content, findings, open_dev_rows(project.task), predictions, name=project.task.folder.name)


def board(project: Project) -> dict[str, Any] | None:
    """The values of `report_lead.html` and `report_board.html` for a task's last climb; None before any has ended.

    They hold figures and reasons, and no rows.
    """
    content = project.store.read("decision.json")
    return _board(read_report_data(content)) if content else None


def _board(found: ReportData) -> dict[str, Any]:
    goal, chosen = found.task["goal"]["at_least"], found.chosen
    machine = chosen.provenance.machine if chosen else None
    drawn = figures.bars([overall(record) for record in found.measured], goal)
    return {
        "found": found,
        "task": found.task,
        "goal": goal,
        "chosen": chosen,
        "headline": verdict.headline(found),
        "sealed": "" if found.decision.claim and found.seals_broken == 1 else verdict.test_sentence(found),
        "claim": verdict.claim_text(found),
        "spent": verdict.spent_sentence(found),
        "demands": verdict.requirements(found),
        "bars": drawn,
        "standings": standings(found, drawn),
        "bases": base_names.describe(found.bases),
        "api": any(record.provenance.api for record in found.measured),
        "rises": pictures.rises(found),
        "usd_per_hour": machine["usd_per_hour"] if machine else None,
    }


def render(
    content: Mapping[str, Any],
    findings: Sequence[Finding],
    examples: Sequence[Example],
    predictions: Mapping[str, Mapping[str, Prediction]] | None = None,
    *,
    name: str,
) -> str:
    """The page. `content`: decision.json; `examples`: the dev rows; `name`: the task folder's name.

    `predictions`, by rung and row, show the passages behind answers.
    """
    found = read_report_data(content)
    goal = found.task["goal"]["at_least"]
    chosen, other = found.chosen, found.runner_up
    scored = {record.rung: record.scores for record in found.measured if record.scores}
    disputed = rows.disputed(scored, examples, (chosen.rung, other.rung) if chosen and other else None)
    points = pictures.points(found)
    return (
        _templates()
        .get_template("template.html")
        .render(
            name=name,
            other=other,
            scatters=[("wide", scatter(points, goal, *WIDE)), ("narrow", scatter(points, goal, *NARROW))] if points else [],
            flowcharts=list(zip(("wide", "narrow"), pictures.flowcharts(found, WIDE[0], NARROW[0]))),
            points=points,
            measures=measures(points),
            disputed=disputed,
            sides=_sides(disputed, chosen.rung, other.rung) if chosen and other else (),
            rows_json=_rows_json(disputed, [chosen.rung, other.rung] if chosen and other else []),
            confusions=rows.confusions(chosen.scores, examples) if chosen and chosen.scores and _labelled(found.task) else (),
            looked=sources.looked_up(found.measured, predictions or {}, examples),
            curves=coverage_plot(found.measured, found.decision.chosen, goal, due)
            if (due := found.task["goal"].get("coverage"))
            else None,
            covered=pictures.coverages(found),
            trainings=trainings(found),
            spreads=spreads(found.measured, goal),
            findings=findings,
            turns=verdict.turns_sentence(found, any(map(is_conversation, examples))),
            recipe=recipe(found),
            **_board(found),
            **_assets(),
        )
    )


def _sides(found: rows.Disputed, a: str, b: str) -> list[tuple[int, int, tuple[rows.Row, ...]]]:
    """Rows that a got right and b did not, and the reverse: shown if scripts are disabled."""
    first, second = found.rungs.index(a), found.rungs.index(b)
    return [(win, lose, rows.side(found, win, lose)) for win, lose in ((first, second), (second, first))]


def _labelled(task: Mapping[str, Any]) -> bool:
    return task["kind"] == "classify" and not task.get("multilabel")


def _hash(text: str) -> str:
    """Hash as used in a content security policy."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _rows_json(found: rows.Disputed, first: Sequence[str]) -> dict[str, Any]:
    """Data for the script that draws the rows; `written` maps unsafe texts to their escaped form."""
    data = asdict(found) | {"shown": SHOWN, "first": first}
    return data | {"written": {text: safe for text in _texts(data) if (safe := visible(text)) != text}}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    for one in inner:
        yield from _texts(one)


def _visible(value: Any) -> Any:
    """Makes printed values safe to show; our own markup is unchanged."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _assets() -> dict[str, Any]:
    """Style and script with their hashes; the content security policy allows only these."""
    style, script = _asset("report.css"), _asset("report.js")
    return {"style": Markup(style), "style_hash": _hash(style), "script": Markup(script), "script_hash": _hash(script)}


def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")


@cache
def _templates() -> Environment:
    env = Environment(
        loader=PackageLoader("rung.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.globals |= {"shown": SHOWN, "outcomes": sources.OUTCOMES, "passages": sources.PASSAGES}
    env.filters |= {**numbers.FILTERS, "quoted": shlex.quote}
    env.policies |= {"json.dumps_function": json_text, "json.dumps_kwargs": {"compact": True}}
    return env
