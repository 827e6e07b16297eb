"""The visible text of a page as it flows by: lines, lists, tables and headings put together to blocks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from rung.retrieve.formats.blocks import Blocks, clean
from rung.retrieve.formats.grid import Cell, lines, nested
from rung.retrieve.formats.numerals import counted
from rung.retrieve.formats.scripts import lowered, raised

DEEPEST_TABLE, DEEPEST_SCRIPT = 20, 10
_BAR = "\x1f"
"""Stands between the cells of a row."""
_ITEM = "\x1e"
"""Stands before the bullet or number of a list's item; no text holds it, since it would have been cleaned out."""
_APART_FROM_TEXT = re.compile(f"({_ITEM}[^ \n]+) *\n\\s*")
"""Bullets whose text a paragraph of its own holds."""
_ITEM_IN_ITEM = re.compile(f"(?:{_ITEM}[^ \n]+ )+{_ITEM}")
_BARE_ITEM = re.compile(f"{_ITEM}[^ \n]+ *")
_MARKS = {ord(_ITEM): None, ord(_BAR): " | "}
_FORMS = {"a": "lowerLetter", "A": "upperLetter", "i": "lowerRoman", "I": "upperRoman"}
_BEFORE_AND_AFTER = {"q": ('"', '"'), "del": ("~~", "~~"), "s": ("~~", "~~"), "strike": ("~~", "~~"), "rt": ("(", ")")}


@dataclass(slots=True)
class _List:
    next: int = 0
    step: int = 1
    form: str = ""
    """Empty for bullets."""


@dataclass(slots=True)
class _Table:
    outer: list[str]
    """Where the text around it goes."""
    lists: list[_List]
    """Lists that are open around it."""
    rows: list[list[Cell]] = field(default_factory=list)
    cell: tuple[int, int] | None = None
    """Columns and rows of the cell that is open."""


class Flow:
    """Takes the tags and texts that are seen, in their order."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks
        self.level = -1
        """Of the heading being read; -1 outside."""
        self.parts: list[str] = []
        self.first = self.last = 0
        self.kind: Literal["text", "table", "code"] = "text"
        self.pre = 0
        self.lists: list[_List] = []
        self.tables: list[_Table] = []
        self.real: list[bool] = []
        """Of each open table, whether it is one; others only lay the page out: they hold headings or code, or stand too deep."""
        self.scripts: list[tuple[str, list[str], int]] = []

    def text(self, data: str, line: int) -> None:
        """Words, with the line of the source where they begin."""
        if data.strip():
            if not self.first:
                self.first = line + data.count("\n", 0, len(data) - len(data.lstrip()))
            self.last = line + data.count("\n", 0, len(data.rstrip()))
        self.parts.append(clean(data) if self.pre else re.sub(r"\s+", " ", clean(data)))

    def heading(self, level: int) -> None:
        """A heading opens. It ends lists and tables: pages are laid out in tables that hold headings."""
        self._dissolve()
        self.lists = []
        self.flush()
        self.level = level

    def end_heading(self) -> None:
        if self.level >= 0:
            self.flush()
        self.level = -1

    def block(self, tag: str, given: Mapping[str, str | None]) -> None:
        """A tag that stands on a line of its own opens."""
        if tag in ("td", "th", "tr", "tbody", "thead", "tfoot") and self.tables:
            self._end_cell()
            if tag in ("td", "th"):
                self._cell(given)
            elif tag == "tr":
                self.tables[-1].rows.append([])
            return
        if tag == "pre":
            self._dissolve()
        self._apart()
        if tag in ("ul", "ol", "dl"):
            self.lists.append(_list(tag, given))
        elif tag == "li":
            self.parts.append(self._item(given))
        elif tag == "pre":
            self.pre += 1
            self.kind = self.kind if self.first else "code"
        elif tag == "table":
            self._table()

    def end_block(self, tag: str) -> None:
        if tag in ("td", "th", "tr", "tbody", "thead", "tfoot") and self.tables:
            self._end_cell()
            return
        if tag == "table" and self.real and self.real.pop():
            self._end_table()
        if tag in ("ul", "ol", "dl") and self.lists:
            self.lists.pop()
        if tag == "pre":
            self.pre = max(0, self.pre - 1)
        self._apart()

    def inline(self, tag: str) -> None:
        """A tag within a line opens."""
        if tag == "br":
            self.parts.append("\n")
        elif tag in ("sup", "sub"):
            if len(self.scripts) < DEEPEST_SCRIPT:
                self.scripts.append((tag, self.parts, len(self.parts)))
        elif tag in _BEFORE_AND_AFTER:
            self.parts.append(_BEFORE_AND_AFTER[tag][0])

    def end_inline(self, tag: str) -> None:
        if tag in ("sup", "sub"):
            self._end_script(tag)
        elif tag in _BEFORE_AND_AFTER:
            before, after = _BEFORE_AND_AFTER[tag]
            if self.parts and self.parts[-1] == before:
                self.parts.pop()
            else:
                self.parts.append(after)

    def end(self) -> None:
        """No more will come."""
        while self.tables:
            self._end_table()
        self.flush()

    def flush(self) -> None:
        """Hand on what was read since the last block."""
        text = "".join(self.parts)
        text = (text.translate(_MARKS) if self.kind == "code" else _laid(text)).strip("\n")
        if self.level >= 0:
            self.blocks.heading(self.level, text, self.first)
            self.level = -1 if text else self.level
        elif self.first:
            self.blocks.add(text, self.first, self.last, kind=self.kind)
        self.parts, self.first, self.kind, self.scripts = [], 0, "text", []

    def _apart(self) -> None:
        """End a line inside a list, a cell or code, else a block."""
        if self.lists or self.pre or self.tables:
            self.parts.append("\n")
        else:
            self.flush()

    def _item(self, given: Mapping[str, str | None]) -> str:
        one = self.lists[-1] if self.lists else _List()
        if not one.form:
            return f"{_ITEM}- "
        number = _number(given.get("value"), one.next)
        one.next = number + one.step
        return f"{_ITEM}{counted(number, one.form)}. "

    def _table(self) -> None:
        self.real.append(len(self.tables) < DEEPEST_TABLE)
        if not self.real[-1]:
            return
        if not self.first:
            self.kind = "table"
        self.tables.append(_Table(self.parts, self.lists))
        self.lists = []

    def _cell(self, given: Mapping[str, str | None]) -> None:
        table = self.tables[-1]
        if not table.rows:
            table.rows.append([])
        table.cell = (_number(given.get("colspan"), 1), _number(given.get("rowspan"), 1))
        self.parts = []

    def _end_cell(self) -> None:
        table = self.tables[-1]
        if table.cell:
            text = "".join(self.parts)
            table.rows[-1].append(Cell(_laid(text).replace("\n", " "), *table.cell))
            table.cell, self.parts, self.lists = None, table.outer, []

    def _end_table(self) -> None:
        self._end_cell()
        table = self.tables.pop()
        rows = lines(table.rows, _BAR)
        in_cell = any(one.cell for one in self.tables)
        self.parts, self.lists = table.outer, table.lists
        self.parts += ["\n", nested(rows, _BAR) if in_cell else "\n".join(rows), "\n"]

    def _dissolve(self) -> None:
        """Open tables turn out to lay the page out: what they hold is text like any other."""
        while self.tables:
            self._end_table()
        self.real = [False for _ in self.real]

    def _end_script(self, tag: str) -> None:
        if not self.scripts or self.scripts[-1][0] != tag:
            return
        _, parts, start = self.scripts.pop()
        if parts is not self.parts:
            return
        text = "".join(parts[start:])
        before = next((part for part in reversed(parts[max(0, start - 20) : start]) if part), "")
        if "\n" not in text:
            parts[start:] = [raised(before, text) if tag == "sup" else lowered(before, text)]


def _laid(text: str) -> str:
    """Lines without blanks at their ends, bullets with their text, no blank lines."""
    text = _ITEM_IN_ITEM.sub(_ITEM, _APART_FROM_TEXT.sub(r"\1 ", text))
    found = (
        " | ".join(" ".join(cell.split()) for cell in line.split(_BAR))
        for line in text.split("\n")
        if not _BARE_ITEM.fullmatch(line.strip())
    )
    return "\n".join(line.replace(_ITEM, "") for line in found if line.strip(" |-"))


def _list(tag: str, given: Mapping[str, str | None]) -> _List:
    if tag != "ol":
        return _List()
    step = -1 if "reversed" in given else 1
    return _List(_number(given.get("start"), 1), step, _FORMS.get(given.get("type") or "", "decimal"))


def _number(text: str | None, default: int) -> int:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 7 else default
