"""The command that shows the rungs in order, with the flowchart and the estimates of each."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rung.cli import base_advice
from rung.cli.common import Folder, Json, err, out, print_json, project_of
from rung.cli.screens.console import styled
from rung.errors import RungError
from rung.visible import visible

if TYPE_CHECKING:
    from rung.advise.questions import Answer
    from rung.climbing.project import Project


def plan(
    folder: Folder,
    ask_: Annotated[bool, typer.Option("--ask", help="Ask for what the flowchart cannot read from the data.")] = False,
    machine: Annotated[str, typer.Option("--machine", help="Estimate for another machine: h100, h100x8, a100, l4, …")] = "",
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print the flowchart as Mermaid text.")] = False,
    torchtitan: Annotated[
        Path | None,
        typer.Option("--torchtitan", help="With --machine: write a torchtitan configuration into this folder."),
    ] = None,
    json_: Json = False,
) -> None:
    """Show the rungs in order, each with its reason and its estimated time, memory and dollars. Nothing is fitted."""
    from rung.cli import plan_json
    from rung.planning import machines

    if torchtitan and not machine:
        raise RungError("--torchtitan needs the machines.", where="rung plan", remedy="Add --machine, such as --machine h100x64.")

    other = machines.by_name(machine) if machine else None
    project = project_of(folder, machine=other)
    if ask_:
        given = {one.key: _ask(one) for one in plan_json.open_questions(project)}
        project = project_of(folder, machine=other, needs=given)
        listed = ", ".join(f"{key}: {value}" for key, value in given.items())
        err.print(f"to save these answers, put them into rung.yaml:\nneeds: {{{listed}}}", soft_wrap=True)
    if torchtitan:
        for path in plan_json.write_torchtitan(project, machine, torchtitan):
            err.print(f"wrote {path}", soft_wrap=True)
    if json_:
        print_json(plan_json.content(project, machine))
    elif mermaid:
        sys.stdout.write(visible(plan_json.mermaid(project)))
    else:
        _print_plan(project, str(folder), machine)


def _print_plan(project: Project, folder: str, machine: str) -> None:
    """Print the plan as text. `machine`: the one that it is estimated for; empty for this one."""
    from rung import contention
    from rung.cli import plan_json
    from rung.cli.screens import cluster as cluster_screen
    from rung.cli.screens import plan as terminal_plan
    from rung.climbing import sampling
    from rung.planning import cluster
    from rung.planning.steps import break_evens

    breaks, rows = break_evens(project.plan.steps), len(project.inputs.splits.dev)
    out.print(terminal_plan.plan(project.plan.steps, project.plan.chart, breaks, project.task.volume, rows))
    out.print(terminal_plan.total(plan_json.whole(project), rows, project.task.budget.minutes))
    if text := sampling.summary(project):
        out.print(styled("[dim]{}[/]", text))
    goal, sealed = project.task.goal, len(project.inputs.splits.test)
    out.print(terminal_plan.held_out(rows, sealed, goal, project.plan.rungs))
    for one in plan_json.unused(project):
        out.print(styled("[dim]{} {}[/]", one.what, one.remedy))
    if asked := plan_json.judged(project):
        out.print(terminal_plan.judge(asked))
    if machine:
        out.print(cluster_screen.cluster(cluster.quotes(project.plan.steps, machine)))
    if fitting := base_advice.larger(project):
        out.print(styled("[dim]Larger bases that fit: {} (rung models --for {}).[/]", ", ".join(fitting), folder))
    out.print(styled("[dim]{}: {}. Estimates only; a climb measures.[/]", project.machine.name, _speed(project)))
    if not machine and (warning := contention.busy_warning(contention.measure_others())):
        out.print(warning, style="yellow")
    if before := plan_json.plan_review(project):
        out.print()
        out.print(terminal_plan.plan_review(before.hindsight, before.chart.first))


def _ask(open_: Answer) -> Any:
    """Ask one of the flowchart's questions. The default is what the flowchart assumes without an answer."""
    from rung.advise.questions import choices, question

    allowed = choices(open_.key)
    asked = question(open_.key) + (f" ({', '.join(map(str, allowed))})" if allowed else "")
    while (answer := typer.prompt(asked, default=open_.value, type=str if allowed else float, err=True)) not in (
        allowed or [answer]
    ):
        err.print(f"{answer!r} is not one of {', '.join(map(str, allowed))}.")
    return answer


def _speed(project: Project) -> str:
    one = project.machine
    frozen = f", frozen layers in bfloat16, {one.bf16_speedup:.1f} times as fast" if one.frozen_bf16 else ""
    return f"${one.usd_per_hour:.2f} an hour, {one.gflops[one.dtype]:.0f} GFLOP/s in {one.dtype}{frozen}"
