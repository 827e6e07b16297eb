"""Spreadsheets (xlsx, xls, ods): a section a sheet, a block a row. https://github.com/dimastbk/python-calamine"""

from __future__ import annotations

import io
from datetime import datetime, time
from typing import Any

from rung.errors import DataError
from rung.retrieve.formats.archive import check_zip
from rung.retrieve.formats.blocks import Blocks
from rung.retrieve.formats.rows import add_row


def read_sheets(data: bytes) -> Blocks:
    """The sheets that are shown; their first row that is not empty names the columns. Merged cells fill those below."""
    try:
        from python_calamine import CalamineWorkbook, PasswordError, SheetTypeEnum, SheetVisibleEnum
    except ImportError:
        raise DataError(
            "python-calamine, which reads spreadsheets, is not installed.", remedy="Run: pip install 'rung[docs]'"
        ) from None
    if data.startswith(b"PK"):
        check_zip(data)
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(data))
    except PasswordError:
        raise DataError("it is locked with a password.", remedy="Save it without one.") from None
    blocks = Blocks()
    for sheet in book.sheets_metadata:
        if sheet.typ == SheetTypeEnum.WorkSheet and sheet.visible == SheetVisibleEnum.Visible:
            blocks.leave([])
            blocks.heading(1, sheet.name)
            _sheet(blocks, book.get_sheet_by_name(sheet.name))
    return blocks


def _sheet(blocks: Blocks, sheet: Any) -> None:
    rows = [[_word(value) for value in row] for row in sheet.to_python(skip_empty_area=False)]
    for (top, left), (bottom, right) in sheet.merged_cell_ranges or ():
        for below in rows[top + 1 : bottom + 1]:
            if right < len(below):
                below[left] = below[left] or rows[top][left]
    filled = [row for row in rows if any(row)]
    if len(filled) == 1 or (filled and max(len([cell for cell in row if cell]) for row in filled) == 1):
        blocks.add("\n".join(" ".join(filter(None, row)) for row in filled))
        return
    header = filled[0] if filled else []
    for row in filled[1:]:
        add_row(blocks, zip(header, row))


def _word(value: Any) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, datetime) and value.time() == time():
        return value.date().isoformat()
    return " ".join(str(value).split()) if value is not None else ""
