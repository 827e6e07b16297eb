"""The plan as JSON and as Mermaid text, and the questions that rung.yaml leaves open."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from rung.advise import draw
from rung.advise.questions import ASSUMED, Answer, question
from rung.advise.review import ReviewedPlan
from rung.claims.prospects import Prospect, SelectiveProspect, prospect, selective_prospect
from rung.cli import base_advice
from rung.cli.screens.plan import differences
from rung.climbing import sampling
from rung.climbing.project import Project
from rung.data.enough import UNUSED
from rung.data.finding import Finding
from rung.evaluate import judging
from rung.methods.chain import rewarded
from rung.planning import cluster
from rung.planning.bases import CALL_SECONDS
from rung.planning.steps import bases_asked, break_evens
from rung.planning.total import Total, total


def content(project: Project, machine: str = "") -> dict[str, Any]:
    """The JSON of `plan`. `machine`: a name such as h100x8, for quotes of training on 1 to so many of them."""
    based = bases_asked(project.plan.steps)
    return {
        "first": project.plan.chart.first,
        "rungs": [
            {
                "rung": step.rung,
                "base": based.get(step.rung),
                "advice": step.advice.verdict if step.advice else "don't",
                "why": step.advice.why if step.advice else step.skip,
                "quote": step.estimate,
                "skip": step.skip,
                "raw_quote": step.raw,
                "scale": step.scale,
                "sampled": step.sampled,
            }
            for step in project.plan.steps
        ],
        "answers": [asdict(answer) | {"question": question(answer.key)} for answer in project.plan.chart.answers],
        "flowchart": project.plan.chart.advice,
        "flowchart_of_other_bases": project.plan.chart.bases,
        "flips": project.plan.chart.flips,
        "break_even": break_evens(project.plan.steps),
        "smallest_difference": {
            "dev_rows": len(project.inputs.splits.dev),
            "at": [{"discordant_share": share, "difference": gap} for gap, share in differences(len(project.inputs.splits.dev))],
        },
        "held_out": held_out(project),
        "larger_bases_that_fit": base_advice.larger(project),
        "machine": asdict(project.machine),
        "hindsight": before.hindsight if (before := plan_review(project)) else None,
        "judge": judged(project),
        "all_rungs_seconds": asdict(whole(project)),
        "samples": [asdict(one) for one in project.samples.values()],
        "to_ask": sampling.to_ask(project),
        "training_on_gpus": asdict(cluster.quotes(project.plan.steps, machine)) if machine else None,
    }


def write_torchtitan(project: Project, machine: str, folder: Path) -> list[Path]:
    """The files of a starting configuration of torchtitan on these machines."""
    from rung.planning import torchtitan

    inputs = project.inputs.data
    return torchtitan.write(folder, project.plan.steps, inputs, lambda: project.screened.corpus, project.engines, machine)


def held_out(project: Project) -> dict[str, Any]:
    """What the held-out rows can show of the goal: if all other rungs are far below it, and if all are near it."""
    splits, goal = project.inputs.splits, project.task.goal
    rows = len(splits.dev) + len(splits.test)
    far: Prospect | SelectiveProspect
    near: Prospect | SelectiveProspect
    if goal.coverage is None:
        far, near = (prospect(rows, goal.at_least, n) for n in (1, max(1, project.plan.rungs)))
    else:
        far, near = (selective_prospect(rows, goal.at_least, goal.coverage, n) for n in (1, max(1, project.plan.rungs)))
    return {
        "dev_rows": len(splits.dev),
        "sealed_rows": len(splits.test),
        "unused_rows": len(splits.unused),
        "unused_why": next((one.what for one in unused(project)), ""),
        "others_far": asdict(far),
        "others_near": asdict(near),
    }


def unused(project: Project) -> list[Finding]:
    """How many of the dev and sealed rows are used and why, if not all are."""
    return [one for one in project.inputs.splits.findings if one.code == UNUSED]


def whole(project: Project) -> Total:
    """The estimated time of a climb that tries every rung."""
    return total(project.plan.steps, len(project.inputs.splits.dev), project.criteria.probe, project.machine)


def judged(project: Project) -> judging.JudgeEstimates | None:
    """The cost estimates of the judge; None if the task has no judge."""
    task, judge = project.task, project.scoring.judge
    if judge is None:
        return None
    dev = [judge.row(row, row.output) for row in project.inputs.splits.dev]
    marked = [row for row, _ in judging.human_marks(task, judge)]
    each, once = (judging.estimate(task, judge, rows, project.engines, CALL_SECONDS) for rows in (dev, marked))
    learning = [
        step.rung for step in project.plan.steps if step.estimate and any(rewarded(m, "", task.folder) for m in step.methods)
    ]
    return judging.JudgeEstimates(each, once, tuple(learning))


def mermaid(project: Project) -> str:
    """The flowchart as Mermaid text, which many wikis and editors draw."""
    goal = project.task.goal
    return draw.mermaid(project.plan.chart, f"{goal.metric} at least {goal.at_least:g}")


def open_questions(project: Project) -> list[Answer]:
    """Questions that rung.yaml does not answer, each with the assumed answer."""
    return [one for one in project.plan.chart.answers if one.key in ASSUMED and one.origin != "given"]


def plan_review(project: Project) -> ReviewedPlan | None:
    """The prior of the last climb, and how it fared against the measurements; None before the first."""
    kept = project.store.read("decision.json").get("plan")
    return TypeAdapter(ReviewedPlan).validate_python(kept) if kept else None
