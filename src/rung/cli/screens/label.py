"""What a person who labels sees: a row, the keys, the end of a sitting."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import ROUNDED
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from rung.cli.screens.console import styled
from rung.cli.screens.form import format_interval
from rung.data.agreement import Agreement
from rung.data.drawn import RANDOM
from rung.labelling.sitting import PROPOSED, Drawn, Sitting
from rung.labelling.typed import MAX_FOUND, Answers
from rung.types import UNKNOWN
from rung.visible import one_line, visible

MAX_DIFFERING = 10
LONGEST = 60


def row(drawn: Drawn, sitting: Sitting) -> RenderableType:
    """One row with where it stands and how it was drawn."""
    at = f"{len(sitting.done) + 1} of {sitting.asked}"
    how = "drawn at random" if drawn.drawn in (RANDOM, PROPOSED) else f"chosen by {drawn.drawn}"
    title = styled("[bold]{}[/] [dim]for {}, {}[/]", at, drawn.split, "labelled before by someone else" if drawn.first else how)
    table = Table(box=ROUNDED, border_style="dim", expand=True, header_style="")
    table.add_column(title)
    table.add_row(Text(visible(drawn.row.input)))
    return table


def labels(shown: Sequence[str], numbers: Sequence[int] = ()) -> RenderableType:
    """Labels with their numbers, if they have any."""
    cells = [styled("[bold cyan]{}[/] {}", number, one_line(label)) for number, label in zip(numbers, shown)]
    return Columns(cells or [Text(one_line(label)) for label in shown], padding=(0, 3))


def proposal(drawn: Drawn, answers: Answers) -> RenderableType:
    """The proposed answer, which Enter accepts."""
    sure = "" if drawn.confidence is None else f", {drawn.confidence:.0%} sure"
    sure += "" if answers.kind == "classify" else "; :e edits"
    return styled("[bold cyan]Enter[/] {} [dim]({} proposes{})[/]", drawn.proposal, drawn.proposed_by, sure)


def keys(answers: Answers, many: bool) -> RenderableType:
    """One line of what can be typed."""
    if answers.kind != "classify":
        return styled("[dim]type the answer  :u undo  :s skip  :x cannot be answered  :q stop  :? help[/]")
    how = "type a part of the label" if many or not answers.numbered else "number or name"
    how += ", several with commas, 0 for none" * answers.several
    return styled("[dim]{}  u undo  s skip  x cannot be answered  q stop  ? help[/]", how)


def help_(answers: Answers) -> RenderableType:
    """All that can be typed."""
    table = Table(box=None, pad_edge=False, show_header=False)
    if answers.kind == "classify":
        table.add_row("number", "the label with that number")
        table.add_row("text", f"the label of that name, or up to {MAX_FOUND} labels like it; start with / to search by a digit")
        table.add_row("a", "list all labels")
        if answers.several:
            table.add_row("1, 4", "several labels, separated by commas; 0 for none of them")
        if not answers.closed:
            table.add_row("+text", "a label that no row has yet")
    else:
        table.add_row("text", "the answer; a \\ at the end of a line continues it on the next")
        table.add_row(":e", "edit the proposal")
    table.add_row("Enter", "accept the proposal, where there is one")
    table.add_row(":u", "undo: take the last answer back and ask again")
    table.add_row(":s", "skip; the row is asked again in a later sitting. Many skips make the rows easier than the task")
    table.add_row(":x", "cannot be answered from what is shown")
    table.add_row(":q", "stop; every answer is saved already, and the same command goes on from here")
    if answers.kind == "classify":
        table.add_row("", "the colon may be left out, unless a label has that name")
    return table


def ended(sitting: Sitting) -> RenderableType:
    """What was done, and where it is."""
    counts = sitting.counts
    parts = [
        f"{counts[did]} {word}"
        for did, word in (
            ("label", "labelled"),
            ("second", "labelled a second time"),
            ("unanswerable", "cannot be answered"),
            ("skip", "skipped"),
        )
        if did in counts
    ]
    said = ", ".join(parts) or "nothing labelled"
    where = sitting.sheet.journal.name if "second" in counts else sitting.sheet.label
    return styled("[bold]{}[/]{}", said, f"; saved in {one_line(where)}" if counts else "")


def agreement(found: Agreement, goal: float) -> RenderableType:
    """How far two people agree, and the rows they differ on."""
    parts = [f"{found.metric} {format_interval(found.score)}"] if found.score else []
    parts += [f"Cohen's kappa {format_interval(found.kappa)}"] if found.kappa else []
    lines: list[RenderableType] = [
        styled("[bold]Two people[/] agree on {} of {} rows: {}", _same(found), len(found.pairs), ", ".join(parts) or "no metric")
    ]
    if found.score and found.score.value < goal:
        how = "is above" if found.score.high < goal else "may be above"
        lines.append(styled("[yellow]The goal of {} {} what two people agree on.[/]", f"{goal:g}", how))
    if found.differing:
        lines.append(_differing(found))
    return Group(*lines)


def _differing(found: Agreement) -> RenderableType:
    table = Table("input", "first", "second", box=None, pad_edge=False, header_style="bold")
    for pair in found.differing[:MAX_DIFFERING]:
        table.add_row(_short(pair.input), _said(pair.first, pair.first_by), _said(pair.output, pair.by))
    more = len(found.differing) - MAX_DIFFERING
    return Group(table, *([Text(f"and {more} more in the journal", "dim")] if more > 0 else []))


def _said(output: str, by: str) -> Text:
    text = "(cannot be answered)" if output == UNKNOWN else _short(output)
    return styled("{}[dim]{}[/]", text, f" {one_line(by)}" if by else "")


def _same(found: Agreement) -> int:
    return len(found.pairs) - len(found.differing)


def _short(text: str) -> str:
    shown = one_line(text)
    return shown if len(shown) <= LONGEST else f"{shown[: LONGEST - 1]}…"
