"""Final output of commands: check, leaderboard, decision, answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rung import calls
from rung.claims.shares import ERROR
from rung.cli.screens.console import styled
from rung.cli.screens.form import MARKS, add_column, bases_line, format_interval, format_seconds, format_usd
from rung.data.finding import Finding
from rung.decisions import Decision, Verdict
from rung.evaluate.prompt_spread import Spread, spreads
from rung.types import Prediction, Record, Scores
from rung.visible import one_line

VERDICTS = {"meets": "bold green", "fails": "bold red", "undecided": "bold yellow"}
SEVERITIES = {"block": "bold red", "warn": "yellow", "note": "cyan"}


def findings(found: Sequence[Finding]) -> RenderableType:
    table = Table(box=None, pad_edge=False, show_header=False)
    for finding in found:
        places = f" ({finding.places})" if finding.where else ""
        text = styled("{}[dim]{}[/]", finding.what, places)
        if finding.remedy:
            text = styled("{}\n[italic]{}[/]", text, finding.remedy)
        table.add_row(Text(finding.severity, SEVERITIES[finding.severity]), text)
    return table


def masked(pieces: Sequence[tuple[str, bool]]) -> RenderableType:
    """One training row as the model sees it; target tokens are coloured."""
    text = Text("one row as a trainable model sees it (")
    text.append("coloured", style="black on green")
    text.append(": what it learns to say)\n\n")
    for piece, target in pieces:
        text.append(piece.replace("\n", "⏎\n"), style="black on green" if target else "dim")
    return text


def leaderboard(
    records: Sequence[Record], decision: Decision, goal: Any, bases: Mapping[str, str] | None = None
) -> RenderableType:
    verdicts = {verdict.rung: verdict.verdict for verdict in decision.rungs}
    rows = max((record.scores.overall.n for record in records if record.scores), default=0)
    touched = any(record.forgetting for record in records)
    table = Table(
        header_style="bold", box=None, pad_edge=False, padding=(0, 1, 0, 0)
    )  # fits 80 columns; --json and the report have more
    forgets = ["forgets"] if touched else []
    selective = goal.get("coverage") is not None
    of = f"{goal['metric']} of answered (dev)" if selective else f"{goal['metric']} (dev, n={rows})"
    answered = ["answers"] if selective else []
    for name in ("", "rung", of, *answered, "fit", "p95", "a month", *forgets, "goal"):
        add_column(table, name, left=name in ("", "rung", "goal"))
    for record in records:
        style = "bold" if record.rung == decision.chosen else ""
        if record.scores and record.cost and record.latency:
            table.add_row(
                MARKS[record.status],
                record.rung,
                format_interval(record.scores.overall),
                *([_share(record.scores)] if selective else []),
                format_seconds(record.cost.fit_seconds),
                f"{record.latency.p95.value:.0f} ms",
                format_usd(record.cost.per_month_usd),
                *([f"{record.forgetting.rise:+.3f}" if record.forgetting else ""] if touched else []),
                _verdict(verdicts.get(record.rung)),
                style=style,
            )
        else:
            cells = MARKS[record.status], record.rung, styled("[dim]{}[/]", record.status)
            table.add_row(*cells, *[""] * (len(table.columns) - 4), _verdict(verdicts.get(record.rung)))
    reasons = [styled("{} {} {}: {}", MARKS[r.status], r.rung, r.status, r.reason) for r in records if r.reason]
    reasons += [styled("[yellow]![/] {}: {}", r.rung, r.selection.why) for r in records if r.selection and r.selection.why]
    reasons += [styled("[yellow]![/] {}: {}", r.rung, text) for r in records if (text := r.provenance.shortened_text)]
    return Group(table, *reasons, *map(_spread, spreads(records)), *bases_line(bases or {}))


def _share(scores: Scores) -> str:
    return f"{scores.coverage.value:.0%} of {scores.coverage.n}" if scores.coverage else ""


def _verdict(verdict: Verdict | None) -> Text:
    return Text(verdict, VERDICTS[verdict]) if verdict else Text()


def _spread(one: Spread) -> Text:
    ends = f"{one.range.low:.3f} to {one.range.high:.3f}, n={one.range.n} of train"
    return styled("[dim]{}: {} prompts that differ only in {} score {}[/]", one.rung, one.tried, one.what, ends)


def verdict(decision: Decision) -> Text:
    """The verdict on the goal, with its reason."""
    return styled("{}  {}", _verdict(decision.verdict), decision.why)


def outcome(
    decision: Decision,
    test: Scores | None,
    seals_broken: int,
    sealed: int,
    untested: str = "",
    spending: Mapping[str, Any] | None = None,
) -> RenderableType:
    """The verdict with its one claim; then what became of the sealed rows, and of the error that claims may spend."""
    lines = [verdict(decision)]
    if test:
        fresh = f"scored on by {seals_broken} Predictors, so the score on them alone is no longer fresh"
        lines.append(styled("[dim]sealed {}[/]", f"opened once, for {decision.chosen}" if seals_broken == 1 else fresh))
    elif untested:
        lines.append(styled("[bold yellow]sealed[/] {}", untested))
    elif sealed:
        lines.append(styled("[dim]sealed {} rows stay sealed until a rung has a fair chance to be proved on them[/]", sealed))
    if spending:
        spent = spending["before"] + spending["error"] + spending.get("after", 0.0)
        split = f"{spent:.3g} is spent on these rows, {ERROR - spent:.2g} is left for later climbs"
        lines.append(styled("[dim]claims may be wrong with a chance of {}: {}[/]", f"{ERROR:g}", split))
    return Group(*lines)


def answer(found: Prediction) -> Text:
    """An answer with confidence and citations, or why there is none."""
    text = styled("{}", calls.shown(found.output) or (f"Not sure. Best guess: {found.guess}" if found.guess else "I don't know."))
    if found.confidence is not None:
        text.append(f"  ({found.confidence:.0%})", style="dim")
    if found.abstained:
        text.append(f"\n{found.abstained}", style="dim")
    for number, source in enumerate(found.sources, 1):
        if source.cited or found.abstained:
            text.append(f"\n[{number}] {one_line(source.where)}", style="dim" if found.abstained else "cyan")
    return text
