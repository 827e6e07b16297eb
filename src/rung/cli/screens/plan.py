"""Output of `rung plan`: cost estimates, advice, answers, assumptions that matter, and the review after a climb."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rung.advise.advise import Chart
from rung.advise.draw import value
from rung.advise.questions import ASSUMED, Answer
from rung.advise.review import PlanReview
from rung.claims.prospects import prospect, selective_prospect
from rung.cli.screens.console import join_texts, styled
from rung.cli.screens.form import add_column, bases_line, format_bytes, format_interval, format_seconds, format_usd
from rung.evaluate.judging import JudgeEstimate, JudgeEstimates
from rung.methods import METHODS
from rung.methods.base import Family
from rung.methods.shared_options import AnswerOptions
from rung.metrics.stats import smallest_difference
from rung.planning.steps import BreakEven, Step, bases_asked
from rung.planning.total import Total
from rung.task.base_names import AT
from rung.task.sections import Goal
from rung.types import Cost

STYLES = {"do": "green", "later": "yellow", "don't": "dim"}
NEAREST = 3
"""Break-even volumes shown: those nearest to the task's own."""
SHARES = (0.1, 0.2, 0.3)
INNER = {"small_base", "full_memory_gb", "full_fits", "corpus_hours"}
"""Intermediate answers that are not shown."""


def plan(steps: Sequence[Step], chart: Chart, breaks: Sequence[BreakEven], volume: int, dev_rows: int) -> RenderableType:
    """A plan before a climb."""
    return Group(
        _quotes(steps, chart.first),
        *_skipped(steps),
        *bases_line(bases_asked(steps)),
        *_tariffs(steps),
        styled("[dim]a month: {} calls. {}{}[/]", f"{volume:,}", _corrected(steps), _at_most(steps)),
        "",
        _flowchart(chart, _unlisted(steps)),
        "",
        *_answers(chart.answers),
        "",
        *_flips(chart),
        *_breaks(breaks, volume),
        _resolution(dev_rows),
    )


def _tariffs(steps: Sequence[Step]) -> list[Text]:
    """Token prices of APIs, with their date."""
    asked = {step.base.start.model.name: tariff for step in steps if (tariff := step.base.facts.tariff)}
    return [
        styled(
            "[dim]{}: ${} per million input tokens, ${} output{}[/]",
            name,
            f"{one.input:g}",
            f"{one.output:g}",
            f", as of {one.noted}; set your own under prices" if one.noted else "",
        )
        for name, one in asked.items()
    ]


def _table(*names: str, left: tuple[str, ...]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in names:
        add_column(table, name, left=name in left)
    return table


def _quotes(steps: Sequence[Step], first: str) -> Table:
    table = _table("rung", "advice", "fit", "an answer", "memory", "once", "a month", left=("rung", "advice"))
    table.padding = (0, 1, 0, 0)  # a usual cascade's name fits 80 columns
    for step in steps:
        if step.estimate and step.advice:
            verdict = styled("[bold green]first choice[/]") if step.rung == first else _verdict(step.advice.verdict)
            table.add_row(step.rung, verdict, *_cells(step.estimate), style="bold" if step.rung == first else "")
    return table


def _cells(cost: Cost) -> tuple[str, ...]:
    return (
        format_seconds(cost.fit_seconds),
        format_seconds(cost.row_seconds),
        format_bytes(cost.memory_bytes),
        format_usd(cost.once_usd),
        format_usd(cost.per_month_usd),
    )


def _verdict(verdict: str) -> Text:
    return Text(verdict, STYLES[verdict])


def _skipped(steps: Sequence[Step]) -> Iterator[Text]:
    for step in steps:
        if not step.estimate:
            yield styled("[yellow]–[/] {} is not tried: {}", step.rung, step.skip)


def _corrected(steps: Sequence[Step]) -> str:
    known = [step.rung for step in steps if step.estimate and step.scale.runs]
    return (
        f"Corrected by earlier measurements: {', '.join(known)}." if known else "No estimate is corrected by a measurement yet."
    )


def _at_most(steps: Sequence[Step]) -> str:
    """Which fits are estimated with epochs that they may not need."""
    stops = [
        step.rung
        for step in steps
        if step.estimate and any(isinstance(one, AnswerOptions) and one.may_stop for one in step.methods)
    ]
    return f" Estimated with all epochs, may end sooner: {', '.join(stops)}." if stops else ""


def _unlisted(steps: Sequence[Step]) -> dict[str, str]:
    """Families without a rung in the plan, with their methods."""
    listed = {method.family for step in steps for method in step.methods} | {Family.PROMPTING}
    found: dict[str, str] = {}
    for name, method in METHODS.items():
        if (one := method.family) and one not in listed:
            found[one] = f"{found[one]}, {name}" if one in found else name
    return found


def _flowchart(chart: Chart, unlisted: Mapping[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("advice", "family", "why"):
        table.add_column(name, no_wrap=name != "why")
    entries = [("", one) for one in chart.advice] + [(f"{AT}{name}", one) for name, some in chart.bases.items() for one in some]
    for base, advice in entries:
        sources = f" ({', '.join(advice.sources)})" if advice.sources else ""
        name = unlisted.get(advice.family, "") if advice.verdict != "don't" else ""
        named = f"; tried only if named under `rungs`: {name}" if name else ""
        why = styled("{}[dim]{}{}[/]", advice.why, sources, named)
        table.add_row(_verdict(advice.verdict), advice.family + base, why)
    return table


def _answers(answers: Sequence[Answer]) -> Iterator[RenderableType]:
    yield styled("[bold]answers[/] [dim](rung.yaml: needs, or --ask)[/]")
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for origin in ("given", "read", "assumed"):
        shown = [_answer(one) for one in answers if one.origin == origin and one.key not in INNER and one.value != 0]
        if shown:
            table.add_row(styled("[bold]{}[/]", origin), join_texts(" · ", shown))
    yield table


def _answer(answer: Answer) -> Text:
    how = f" ({answer.how})" if answer.how and answer.origin == "read" else ""
    shown = f"${answer.value:,.0f}" if answer.key.endswith("_usd") else value(answer.value)
    name = answer.key.removesuffix("_usd").replace("_", " ")
    if answer.key not in ASSUMED:
        return styled("{} {}", name, shown)
    return styled("{} [bold]{}[/][dim]{}[/]", name, shown, how)


def _flips(chart: Chart) -> Iterator[Text]:
    for flip in chart.flips:
        name, changes = flip.key.replace("_", " "), "; ".join(flip.changes)
        yield styled("[bold]if[/] {} were {}, not {}: {}", name, value(flip.instead), value(flip.assumed), changes)
    if not chart.flips:
        yield styled("[dim]no single assumed answer would change the advice[/]")


def _breaks(breaks: Sequence[BreakEven], volume: int) -> Iterator[Text]:
    near = sorted(breaks, key=lambda one: abs(math.log(one.volume / volume)))[:NEAREST]
    for one in near:
        from_ = f"{one.volume:,.0f}"
        yield styled("[bold]from {} calls a month[/] {} is cheaper than {} over a year", from_, one.above, one.below)
    if len(breaks) > NEAREST:
        yield styled("[dim]{} more break-even volumes with --json[/]", len(breaks) - NEAREST)


def _resolution(rows: int) -> Text:
    shown = [(gap, share) for gap, share in differences(rows) if gap is not None]
    if not shown:
        return styled("[bold]{} dev rows[/] are too few to distinguish two rungs", rows)
    gaps = ", ".join(f"{100 * gap:.1f} points ({share:.0%})" for gap, share in shown)
    return styled(
        "[bold]{} dev rows[/] show a difference of {}; in brackets the share of rows that only one of two rungs gets right",
        rows,
        gaps,
    )


def held_out(dev: int, sealed: int, goal: Goal, rungs: int) -> Text:
    """What the held-out rows can show: the true score that a rung needs to be proved 8 times in 10."""
    if goal.coverage is not None:
        return _held_out_selective(dev, sealed, goal, goal.coverage, rungs)
    far, near = (prospect(dev + sealed, goal.at_least, n).true_score for n in (1, max(1, rungs)))
    if far is None:
        return styled("[bold]{} dev and {} sealed rows[/] cannot show {} >= {}", dev, sealed, goal.metric, f"{goal.at_least:g}")
    others = "not even a perfect one" if near is None else f"{near:.3f}"
    return styled(
        "[bold]{} dev and {} sealed rows[/] prove {} >= {} of a rung whose true score is {}, 8 times in 10 ({} if all are near)",
        *(dev, sealed, goal.metric, f"{goal.at_least:g}", f"{far:.3f}", others),
    )


def _held_out_selective(dev: int, sealed: int, goal: Goal, coverage: float, rungs: int) -> Text:
    """For a goal with a coverage: the fewest rows to answer, and of these to get right."""
    found = selective_prospect(dev + sealed, goal.at_least, coverage, 1)
    aim = f"{goal.metric} >= {goal.at_least:g} at coverage {coverage:g}"
    if not found.possible:
        return styled("[bold]{} dev and {} sealed rows[/] cannot show {}", dev, sealed, aim)
    more = "; more if several rungs are near it" if rungs > 1 else ""
    return styled(
        "[bold]{} dev and {} sealed rows[/] prove {} if a rung answers {} of them and is right on {} of these{}",
        *(dev, sealed, aim, found.coverage.needed, found.score.needed, more),
    )


def total(found: Total, dev_rows: int, minutes: float | None) -> Text:
    """Estimated duration of the whole climb, and its parts. `minutes`: its budget."""
    parts = [f"{format_seconds(found.fit)} to fit", f"{format_seconds(found.answer)} to answer {dev_rows} dev rows"]
    parts += [f"{format_seconds(found.forget)} to measure forgetting"] if found.forget else []
    return styled(
        "[bold]all rungs[/] take about {}: {}; a climb stops where one meets the goal{}",
        format_seconds(found.seconds),
        ", ".join(parts),
        f", or after the budget of {minutes:g} minutes" if minutes is not None and 60 * minutes < found.seconds else "",
    )


def judge(found: JudgeEstimates) -> Text:
    """Estimated calls of the LLM judge, and their cost."""
    calls = [f"{_asked(found.a_rung)} for each rung"]
    calls += [f"{_asked(found.people)} on people's marks, once"] if found.people.calls else []
    also = f", and by the fits of {', '.join(found.rewards)}, which are not counted here" if found.rewards else ""
    return styled("[bold]the judge[/] is asked {}{}", "; ".join(calls), also)


def _asked(quote: JudgeEstimate) -> str:
    return f"{quote.calls:,} times ({format_usd(quote.usd)}, {format_seconds(quote.seconds)})"


def differences(rows: int) -> list[tuple[float | None, float]]:
    """Smallest difference that this many rows show with power 0.8, by the share of rows that only one of two gets right."""
    return [(smallest_difference(rows, share) if rows else None, share) for share in SHARES]


def plan_review(found: PlanReview, first: str) -> RenderableType:
    """Expected and measured results side by side."""
    table = _table("rung", "advice", "score (dev)", "fit", "estimate", "answer", "estimate", left=("rung", "advice"))
    for line in found.lines:
        quoted = line.quoted or Cost()
        table.add_row(
            line.rung,
            "first choice" if line.rung == first else line.advice,
            format_interval(line.score),
            format_seconds(line.measured.fit_seconds),
            styled("[dim]{}[/]", format_seconds(quoted.fit_seconds)),
            format_seconds(line.measured.row_seconds),
            styled("[dim]{}[/]", format_seconds(quoted.row_seconds)),
            style="bold" if line.rung == found.winner else "",
        )
    if found.winner == first:
        note = f"The first choice, {first}, scored best."
    elif found.tied:
        note = f"{found.winner} scored best; the first choice, {first}, is not shown to be worse."
    else:
        note = ""
    return Group(styled("[bold]plan and measurement, from the last climb[/]"), table, *filter(None, [note]), *_wrong(found))


def _wrong(found: PlanReview) -> Iterator[Text]:
    for sentence in found.wrong:
        yield styled("[yellow]wrong[/] {}", sentence)
