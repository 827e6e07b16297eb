"""Jupyter notebooks: cells of Markdown and code in order, with the text that code has printed. https://nbformat.readthedocs.io"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from rung.errors import DataError
from rung.retrieve.formats.blocks import Blocks
from rung.retrieve.formats.markdown import read_into

LONGEST_OUTPUT = 4_000
"""Characters of one output; logs of training go on for pages."""
_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def read_notebook(text: str) -> Blocks:
    """Blocks of all cells; headings go on from cell to cell. Raises DataError for what is no notebook."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"it is broken JSON in line {error.lineno}: {error.msg}.", remedy="Save it anew in Jupyter.") from None
    cells = _cells(found)
    if cells is None:
        raise DataError("it is no notebook: it has no list of cells.", remedy="Save it anew in Jupyter.")
    blocks = Blocks()
    for cell in cells:
        source = _text(cell.get("source", cell.get("input")))
        if cell.get("cell_type") in ("markdown", "heading"):
            level = cell.get("level")
            read_into(blocks, f"{'#' * level} {source}" if isinstance(level, int) and 0 < level < 7 else source)
        else:
            blocks.add(source, kind="code" if cell.get("cell_type") == "code" else "text")
            for output in _outputs(cell):
                blocks.add(output, kind="code")
    return blocks.without_lines()


def _cells(found: Any) -> list[dict[str, Any]] | None:
    """Of formats 4 and 3, which keeps them on worksheets."""
    if not isinstance(found, dict):
        return None
    sheets = found.get("worksheets")
    lists = [found.get("cells")] if not isinstance(sheets, list) else [s.get("cells") for s in sheets if isinstance(s, dict)]
    if not all(isinstance(cells, list) for cells in lists):
        return None
    return [cell for cells in lists for cell in cells or () if isinstance(cell, dict)]


def _outputs(cell: dict[str, Any]) -> Iterator[str]:
    outputs = cell.get("outputs")
    for output in outputs if isinstance(outputs, list) else ():
        if isinstance(output, dict):
            data = output.get("data")
            said = output.get("text") or (data.get("text/plain") if isinstance(data, dict) else None)
            yield _COLOURS.sub("", _text(said))[:LONGEST_OUTPUT]


def _text(value: Any) -> str:
    """Sources are a text or a list of lines."""
    if isinstance(value, list):
        return "".join(line for line in value if isinstance(line, str))
    return value if isinstance(value, str) else ""
