"""What `rung plan` tells programs and asks people: the plan as plain data, as Mermaid text, and the questions left open."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import TypeAdapter

from rung.flowchart import draw
from rung.flowchart.hindsight import Foretold
from rung.flowchart.questions import ASSUMED, Answer, question
from rung.measure import judging
from rung.methods.base import rewarded
from rung.plan.bases import CALL_SECONDS
from rung.plan.steps import bases_asked, break_evens
from rung.plan.total import Total, total
from rung.site import Site
from rung.terminal.plan import differences


def content(site: Site) -> dict[str, Any]:
    """The JSON of `plan`."""
    based = bases_asked(site.steps)
    return {
        "first": site.chart.first,
        "rungs": [
            {
                "rung": step.rung,
                "base": based.get(step.rung),
                "advice": step.advice.verdict if step.advice else "don't",
                "why": step.advice.why if step.advice else step.skip,
                "quote": step.quote,
                "skip": step.skip,
                "raw_quote": step.raw,
                "scale": step.scale,
            }
            for step in site.steps
        ],
        "answers": [asdict(answer) | {"question": question(answer.key)} for answer in site.chart.answers],
        "flowchart": site.chart.advice,
        "flowchart_of_other_bases": site.chart.bases,
        "flips": site.chart.flips,
        "break_even": break_evens(site.steps),
        "smallest_difference": {
            "dev_rows": len(site.splits.dev),
            "at": [{"discordant_share": share, "difference": gap} for gap, share in differences(len(site.splits.dev))],
        },
        "machine": asdict(site.machine),
        "hindsight": before.hindsight if (before := foretold(site)) else None,
        "judge": judged(site),
        "all_rungs_seconds": asdict(whole(site)),
    }


def whole(site: Site) -> Total:
    """How long a climb takes that tries every rung."""
    return total(site.steps, len(site.splits.dev), site.probe, site.machine)


def judged(site: Site) -> judging.Quotes | None:
    """What the judge will be asked; None where the task has none."""
    task, judge = site.task, site.judge
    if judge is None:
        return None
    dev = [judge.row(row, row.output) for row in site.splits.dev]
    marked = [row for row, _ in judging.people(task, judge)]
    each, once = (judging.quote(task, judge, rows, site.engines, CALL_SECONDS) for rows in (dev, marked))
    learning = [step.rung for step in site.steps if step.quote and any(rewarded(m, "", task.folder) for m in step.methods)]
    return judging.Quotes(each, once, tuple(learning))


def mermaid(site: Site) -> str:
    """The flowchart as Mermaid text, which many wikis and editors draw."""
    goal = site.task.goal
    return draw.mermaid(site.chart, f"{goal.metric} at least {goal.at_least:g}")


def open_questions(site: Site) -> list[Answer]:
    """What rung.yaml does not answer, each with the answer that is taken without one."""
    return [one for one in site.chart.answers if one.key in ASSUMED and one.origin != "given"]


def foretold(site: Site) -> Foretold | None:
    """The prior of the last climb, and how it fared against the measurements; None before the first."""
    kept = site.store.read("decision.json").get("plan")
    return TypeAdapter(Foretold).validate_python(kept) if kept else None
