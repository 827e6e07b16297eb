"""Tables for notebooks. Every text is escaped: rungs, reasons and rows may hold whatever a stranger wrote."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from rung.visible import visible

LEFT = "padding: .2em .8em; text-align: left; vertical-align: top;"
RIGHT = "padding: .2em .8em; text-align: right; vertical-align: top; white-space: nowrap; font-variant-numeric: tabular-nums;"
COLOURS = {"meets": "#1a7f37", "fails": "#cf222e", "undecided": "#9a6700"}
"""Read on white and on dark grounds alike."""


def escaped(text: object) -> str:
    """A text that is shown as it is, whatever it holds."""
    return html.escape(visible(str(text)))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, left: Sequence[str], bold: Sequence[bool] = ()) -> str:
    """A table of texts; the columns in `left` are set to the left, the others are numbers. `bold`: the rows that stand out."""
    styles = [LEFT if column in left else RIGHT for column in columns]
    styles[0] += " white-space: nowrap;"  # names of rungs have hyphens
    heads = "".join(f'<th style="{style}">{escaped(name)}</th>' for name, style in zip(columns, styles, strict=True))
    lines = [f"<tr>{heads}</tr>"]
    for number, row in enumerate(rows):
        weight = " font-weight: bold;" if number < len(bold) and bold[number] else ""
        cells = (f'<td style="{style}{weight}">{verdict(cell)}</td>' for cell, style in zip(row, styles, strict=True))
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f'<table style="border-collapse: collapse;">{"".join(lines)}</table>'


def verdict(cell: object) -> str:
    """A cell; verdicts have their colours."""
    text = escaped(cell)
    return f'<span style="color: {COLOURS[text]};">{text}</span>' if text in COLOURS else text


def line(label: str, text: str) -> str:
    """A line of text below a table."""
    return f'<div style="margin: .3em .8em;"><b>{verdict(label)}</b> {escaped(text)}</div>'
