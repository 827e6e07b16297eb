"""Rows of spreadsheets (.xlsx, .xls, .xlsb, .ods), read by python-calamine, which runs no formulas or macros."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from datetime import datetime, time
from pathlib import Path
from typing import Any

from rung.data.rows import MAX_FAULTS, Rows, combine, header, repeated_header, repeats_header
from rung.errors import DataError

LARGEST = 2**30
"""Maximum unpacked bytes. A workbook is read whole, and a small file can unpack to any size."""
Cells = Sequence[Any]


def workbook_rows(path: Path, label: str, sheet: str = "") -> Rows:
    """The rows of a sheet, numbered as in the spreadsheet. Blank rows are skipped.

    Without `sheet` there must be exactly one visible sheet with rows. DataError for a missing library, a damaged, locked or too
    large file, an ambiguous sheet, a duplicate column, or a value without a column.
    """
    name, rows = _sheet(path, label, sheet)
    place = f"{label} sheet {name!r}" if not sheet else label
    names: list[str] = []
    faults: list[DataError] = []
    for number, cells in enumerate(rows, 1):
        values = [_value(cell) for cell in cells]
        if all(value is None for value in values):
            continue
        where = f"{place} row {number}"
        if not names:
            names = header(["" if value is None else str(value) for value in values], where)
            continue
        row = {name: value for name, value in zip(names, values) if name}
        if fault := _fault(names, values, where):
            faults.append(fault)
            if len(faults) == MAX_FAULTS:
                break
        elif repeats_header(row):
            faults.append(repeated_header(where))
        else:
            yield row, where
    if faults:
        raise combine(faults, label)


def _fault(names: Sequence[str], values: Cells, where: str) -> DataError | None:
    for name, value in zip(names, values):
        if not name and value is not None:
            return DataError(f"the value {value!r} has no column name.", where=where, remedy="Name the column in the first row.")
    return None


def _sheet(path: Path, label: str, wanted: str) -> tuple[str, list[Cells]]:
    """Name and rows of the selected sheet."""
    calamine = _library(label)
    _refuse_bomb(path, label)
    try:
        with path.open("rb") as file, calamine.CalamineWorkbook.from_filelike(file) as book:
            shown = [one.name for one in book.sheets_metadata if one.visible == calamine.SheetVisibleEnum.Visible]
            if wanted and wanted not in book.sheet_names:
                listed = ", ".join(map(repr, book.sheet_names))
                raise DataError(f"there is no sheet {wanted!r}.", where=label, remedy=f"The sheets are {listed}.")
            filled = {name: rows for name in ([wanted] if wanted else shown) if (rows := _filled(book, name))}
    except calamine.PasswordError:
        raise DataError("the workbook is password-protected.", where=label, remedy="Save it without one.") from None
    except calamine.CalamineError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"the workbook cannot be read: {reason}.", where=label, remedy="Save it again as .xlsx or csv.") from None
    if len(filled) > 1:
        raise DataError(
            f"several sheets have rows: {', '.join(map(repr, filled))}.",
            where=label,
            remedy=f"Name one after a #, as in {label}#{next(iter(filled))}, or hide the others.",
        )
    return next(iter(filled.items())) if filled else (wanted or path.stem, [])


def _filled(book: Any, name: str) -> list[Cells]:
    """A sheet's rows; none if all cells are empty or it is a chart."""
    from python_calamine import WorksheetNotFound

    try:
        rows = book.get_sheet_by_name(name).to_python(skip_empty_area=False)
    except WorksheetNotFound:  # a chart sheet has no cells
        return []
    return rows if any(cell not in ("", None) for row in rows for cell in row) else []


def _library(label: str) -> Any:
    try:
        import python_calamine
    except ImportError:
        raise DataError(
            "spreadsheets are read by python-calamine, which is not installed.",
            where=label,
            remedy="Run `pip install 'rung[excel]'`, or save the sheet as csv.",
        ) from None
    return python_calamine


def _refuse_bomb(path: Path, label: str) -> None:
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        size = sum(one.file_size for one in archive.infolist())
    if size > LARGEST:
        raise DataError(
            f"the unpacked workbook is {size / 2**30:.1f} GB.", where=label, remedy="Save the sheet with the rows as csv."
        )


def _value(cell: Any) -> Any:
    """A cell's value: whole numbers as int, dates without time; empty cells and failed formulas as None."""
    if cell == "" or cell is None:
        return None
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return int(cell)
    if isinstance(cell, datetime):
        return cell.date().isoformat() if cell.time() == time() else cell.isoformat(sep=" ")
    return cell if isinstance(cell, str | bool | int | float) else str(cell)
