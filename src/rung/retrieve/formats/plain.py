"""Plain text and reStructuredText: the source itself, cut at blank lines, with the sections that underlines make."""

from __future__ import annotations

import re
from typing import Literal

from rung.retrieve.formats.blocks import Blocks

_RULE = re.compile(r"([!-/:-@[-`{-~])\1{2,}\s*")
_TABLE = re.compile(r"\+[-=]+\+|={2,}( +={2,})+|\.\. (list-table|csv-table|table)::")
_CODE = re.compile(r"\.\. (code-block|code|sourcecode|parsed-literal|doctest|math)::|>>> ")
_SILENT = re.compile(r"\.\. _[^\n]*:\s*")
"""A link's target on a line of its own."""


def read_text_file(text: str) -> Blocks:
    """Paragraphs; plain text has no headings."""
    blocks, lines = Blocks(), text.split("\n")
    start = 0
    for i in range(len(lines) + 1):
        if i == len(lines) or not lines[i].strip():
            blocks.add("\n".join(lines[start:i]), start + 1, i)
            start = i + 1
    return blocks


def read_rst(text: str) -> Blocks:
    """Sections by their underlines, levels in the order in which their marks appear, and the source between them.

    docutils is not asked: half of what is written for Sphinx it takes for an error and drops, and a directive may
    name any file of the machine.
    """
    blocks, lines = Blocks(), text.split("\n")
    marks: list[str] = []
    i = 0
    while i < len(lines):
        if not lines[i].strip():
            i += 1
        elif title := _title(lines, i):
            mark, name, size = title
            if mark not in marks:
                marks.append(mark)
            blocks.heading(marks.index(mark) + 1, name, i + 1)
            i += size
        else:
            end = _end(lines, i)
            _add(blocks, lines[i:end], i + 1)
            i = end
    return blocks


def _title(lines: list[str], i: int) -> tuple[str, str, int] | None:
    """Its mark, its words, how many lines it takes."""
    here, below, third = (lines[i + k].rstrip() if i + k < len(lines) else "" for k in range(3))
    if _RULE.fullmatch(here):
        return (here[0] * 2, below.strip(), 3) if below and third == here and not _RULE.fullmatch(below) else None
    if _RULE.fullmatch(below) and not here[0].isspace() and len(below) >= min(4, len(here)):
        return below[0], here, 2
    return None


def _end(lines: list[str], i: int) -> int:
    """Where the block that starts at i ends: at the blank line before the next line that is not indented."""
    end = i + 1
    for k in range(i + 1, len(lines)):
        if lines[k].strip():
            if not lines[k - 1].strip() and not lines[k][0].isspace():
                break
            end = k + 1
    return end


def _add(blocks: Blocks, lines: list[str], first: int) -> None:
    kind: Literal["text", "table", "code"] = "text"
    if _TABLE.match(lines[0]):
        kind = "table"
    elif _CODE.match(lines[0]):
        kind = "code"
    text = "\n".join(lines)
    if not _RULE.fullmatch(text) and not _SILENT.fullmatch(text):
        blocks.add(text, first, first + len(lines) - 1, kind=kind)
