"""What `rung plan` prints: quotes, the flowchart's advice and answers, what would change it, and the prior after a climb."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from rung.flowchart.advise import Chart
from rung.flowchart.draw import value
from rung.flowchart.hindsight import Hindsight
from rung.flowchart.questions import ASSUMED, Answer
from rung.measure.judging import Quote, Quotes
from rung.methods import METHODS
from rung.methods.base import Family, family
from rung.metrics.stats import smallest_difference
from rung.plan.steps import BreakEven, Step, bases_asked
from rung.plan.total import Total
from rung.task.base_names import AT
from rung.terminal.form import column, dollars, duration, points, size, which_bases
from rung.types import Cost

STYLES = {"do": "green", "later": "yellow", "don't": "dim"}
NEAREST = 3
"""Break-even volumes shown: those nearest to the task's own."""
SHARES = (0.1, 0.2, 0.3)
INNER = {"small_base", "full_memory_gb", "full_fits", "corpus_hours"}
"""Answers that only other answers are worked out from."""


def plan(steps: Sequence[Step], chart: Chart, breaks: Sequence[BreakEven], volume: int, dev_rows: int) -> RenderableType:
    """The whole of a plan before a climb."""
    return Group(
        _quotes(steps, chart.first),
        *_skipped(steps),
        *which_bases(bases_asked(steps)),
        *_tariffs(steps),
        f"[dim]a month: {volume:,} calls. {_corrected(steps)}[/]",
        "",
        _flowchart(chart, _unlisted(steps)),
        "",
        *_answers(chart.answers),
        "",
        *_flips(chart),
        *_breaks(breaks, volume),
        _resolution(dev_rows),
    )


def _tariffs(steps: Sequence[Step]) -> list[str]:
    """What endpoints ask for tokens, and how old that is."""
    asked = {step.base.start.model.name: tariff for step in steps if (tariff := step.base.facts.tariff)}
    return [
        f"[dim]{escape(name)}: ${one.input:g} a million tokens read, ${one.output:g} written"
        f"{f', noted in {one.noted}; put what you pay under prices' if one.noted else ''}[/]"
        for name, one in asked.items()
    ]


def _table(*names: str, left: tuple[str, ...]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in names:
        column(table, name, left=name in left)
    return table


def _quotes(steps: Sequence[Step], first: str) -> Table:
    table = _table("rung", "advice", "fit", "an answer", "memory", "once", "a month", left=("rung", "advice"))
    for step in steps:
        if step.quote and step.advice:
            verdict = "[bold green]first choice[/]" if step.rung == first else _verdict(step.advice.verdict)
            table.add_row(step.rung, verdict, *_cells(step.quote), style="bold" if step.rung == first else "")
    return table


def _cells(cost: Cost) -> tuple[str, ...]:
    return (
        duration(cost.fit_seconds),
        duration(cost.row_seconds),
        size(cost.memory_bytes),
        dollars(cost.once_usd),
        dollars(cost.per_month_usd),
    )


def _verdict(verdict: str) -> str:
    return f"[{STYLES[verdict]}]{verdict}[/]"


def _skipped(steps: Sequence[Step]) -> Iterator[str]:
    for step in steps:
        if not step.quote:
            yield f"[yellow]–[/] {step.rung} is not tried: {escape(step.skip)}"


def _corrected(steps: Sequence[Step]) -> str:
    known = [step.rung for step in steps if step.quote and step.scale.runs]
    return f"Corrected by earlier measurements: {', '.join(known)}." if known else "No quote is corrected by a measurement yet."


def _unlisted(steps: Sequence[Step]) -> dict[str, str]:
    """Of each family that no rung of the plan is of: the methods by which a rung could be named."""
    listed = {family(method) for step in steps for method in step.methods} | {Family.PROMPTING}
    found: dict[str, str] = {}
    for name, method in METHODS.items():
        if (one := family(method)) and one not in listed:
            found[one] = f"{found[one]}, {name}" if one in found else name
    return found


def _flowchart(chart: Chart, unlisted: Mapping[str, str]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("advice", "family", "why"):
        table.add_column(name, no_wrap=name != "why")
    told = [("", one) for one in chart.advice] + [(f"{AT}{name}", one) for name, some in chart.bases.items() for one in some]
    for base, advice in told:
        sources = f" [dim]({', '.join(advice.sources)})[/]" if advice.sources else ""
        name = unlisted.get(advice.family, "") if advice.verdict != "don't" else ""
        named = f" [dim]Not tried unless `rungs` names it: {name}.[/]" if name else ""
        table.add_row(_verdict(advice.verdict), advice.family + base, escape(advice.why) + sources + named)
    return table


def _answers(answers: Sequence[Answer]) -> Iterator[RenderableType]:
    yield "[bold]answers[/] [dim](rung.yaml: needs, or --ask)[/]"
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    for origin in ("given", "read", "assumed"):
        told = [_answer(one) for one in answers if one.origin == origin and one.key not in INNER and one.value != 0]
        if told:
            table.add_row(f"[bold]{origin}[/]", " · ".join(told))
    yield table


def _answer(answer: Answer) -> str:
    how = f" [dim]({escape(answer.how)})[/]" if answer.how and answer.origin == "read" else ""
    shown = f"${answer.value:,.0f}" if answer.key.endswith("_usd") else value(answer.value)
    name = answer.key.removesuffix("_usd").replace("_", " ")
    return f"{name} [bold]{escape(shown)}[/]{how}" if answer.key in ASSUMED else f"{name} {escape(shown)}"


def _flips(chart: Chart) -> Iterator[str]:
    for flip in chart.flips:
        changes = escape("; ".join(flip.changes))
        yield f"[bold]were[/] {flip.key.replace('_', ' ')} {value(flip.instead)}, not {value(flip.assumed)}: {changes}"
    if not chart.flips:
        yield "[dim]no single assumed answer would change the advice[/]"


def _breaks(breaks: Sequence[BreakEven], volume: int) -> Iterator[str]:
    near = sorted(breaks, key=lambda one: abs(math.log(one.volume / volume)))[:NEAREST]
    for one in near:
        yield f"[bold]from {one.volume:,.0f} calls a month[/] {one.above} is cheaper than {one.below} over a year"
    if len(breaks) > NEAREST:
        yield f"[dim]{len(breaks) - NEAREST} more break-even volumes with --json[/]"


def _resolution(rows: int) -> str:
    shown = [(gap, share) for gap, share in differences(rows) if gap is not None]
    if not shown:
        return f"[bold]{rows} dev rows[/] are too few to tell two rungs apart"
    told = ", ".join(f"{100 * gap:.1f} points ({share:.0%})" for gap, share in shown)
    return f"[bold]{rows} dev rows[/] tell two rungs apart from {told}; in brackets the rows that only one gets right"


def total(found: Total, dev_rows: int) -> str:
    """How long the whole climb takes, and what that is made of."""
    parts = [f"{duration(found.fit)} to fit", f"{duration(found.answer)} to answer {dev_rows} dev rows"]
    parts += [f"{duration(found.forget)} to see what was forgotten"] if found.forget else []
    return f"[bold]all rungs[/] take about {duration(found.seconds)}: {', '.join(parts)}; a climb stops where one meets the goal"


def judge(found: Quotes) -> str:
    """What the judge will be asked, and what that costs."""
    told = [f"{_asked(found.a_rung)} for each rung"]
    told += [f"{_asked(found.people)} on people's marks, once"] if found.people.calls else []
    also = f", and by the fits of {', '.join(found.rewards)}, which are not counted here" if found.rewards else ""
    return f"[bold]the judge[/] is asked {'; '.join(told)}{escape(also)}"


def _asked(quote: Quote) -> str:
    return f"{quote.calls:,} times ({dollars(quote.usd)}, {duration(quote.seconds)})"


def differences(rows: int) -> list[tuple[float | None, float]]:
    """The smallest difference that so many rows show 8 times in 10, by the share of rows that only one of two gets right."""
    return [(smallest_difference(rows, share) if rows else None, share) for share in SHARES]


def hindsight(found: Hindsight, first: str) -> RenderableType:
    """The prior and the measurement side by side."""
    table = _table("rung", "prior", "score (dev)", "fit", "quoted", "answer", "quoted", left=("rung", "prior"))
    for line in found.lines:
        quoted = line.quoted or Cost()
        table.add_row(
            line.rung,
            "first choice" if line.rung == first else line.advice,
            points(line.score),
            duration(line.measured.fit_seconds),
            f"[dim]{duration(quoted.fit_seconds)}[/]",
            duration(line.measured.row_seconds),
            f"[dim]{duration(quoted.row_seconds)}[/]",
            style="bold" if line.rung == found.winner else "",
        )
    if found.winner == first:
        told = f"The first choice, {first}, scored best."
    elif found.tied:
        told = f"{found.winner} scored best; the first choice, {first}, is not shown to be worse."
    else:
        told = ""
    return Group("[bold]prior and measured, from the last climb[/]", table, *filter(None, [told]), *_wrong(found))


def _wrong(found: Hindsight) -> Iterator[str]:
    for sentence in found.wrong:
        yield f"[yellow]wrong[/] {escape(sentence)}"
