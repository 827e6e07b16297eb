"""Spreadsheets: which sheet, which rows, what cells mean, and books that cannot be read."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import pytest

from rung.data import workbook
from rung.data.files import read_rows
from rung.errors import DataError

pytest.importorskip("python_calamine")

NS = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
RELS = 'xmlns="http://schemas.openxmlformats.org/package/2006/relationships"'
OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


class Error(str):
    """A formula's error."""


def cell(value: Any) -> str:
    if value is None:
        return "<c/>"
    if isinstance(value, bool):
        return f'<c t="b"><v>{int(value)}</v></c>'
    if isinstance(value, Error):
        return f'<c t="e"><v>{value}</v></c>'
    if isinstance(value, str):
        return f'<c t="inlineStr"><is><t xml:space="preserve">{escape(value)}</t></is></c>'
    return f"<c><v>{value}</v></c>"


def book(path: Path, hidden: tuple[str, ...] = (), **sheets: list[list[Any]]) -> Path:
    """A minimal .xlsx."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        state = dict.fromkeys(hidden, ' state="hidden"')
        listed = "".join(
            f'<sheet name="{name}" sheetId="{i}" r:id="r{i}"{state.get(name, "")}/>' for i, name in enumerate(sheets, 1)
        )
        root = f'<Relationship Id="r1" Type="{OFFICE}/officeDocument" Target="xl/workbook.xml"/>'
        out.writestr("_rels/.rels", f"<Relationships {RELS}>{root}</Relationships>")
        out.writestr("xl/workbook.xml", f'<workbook {NS} xmlns:r="{OFFICE}"><sheets>{listed}</sheets></workbook>')
        links = "".join(
            f'<Relationship Id="r{i}" Type="{OFFICE}/worksheet" Target="worksheets/s{i}.xml"/>' for i in range(1, len(sheets) + 1)
        )
        out.writestr("xl/_rels/workbook.xml.rels", f"<Relationships {RELS}>{links}</Relationships>")
        for i, rows in enumerate(sheets.values(), 1):
            lines = "".join(f'<row r="{n}">{"".join(map(cell, row))}</row>' for n, row in enumerate(rows, 1))
            out.writestr(f"xl/worksheets/s{i}.xml", f"<worksheet {NS}><sheetData>{lines}</sheetData></worksheet>")
        out.writestr(
            "[Content_Types].xml",
            '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
            '<Default Extension="xml" ContentType="application/xml"/></Types>',
        )
    return path


HEADER = ["text", "desk"]


def rows(path: Path, label: str = "t.xlsx") -> list[tuple[dict[str, Any], str]]:
    return [(dict(row), where) for row, where in read_rows(path, label)]


def fault(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        rows(path)
    return str(caught.value)


def test_cells_are_what_they_show(tmp_path: Path) -> None:
    path = book(
        tmp_path / "t.xlsx", Labels=[[], ["text", "desk ", "n"], ["a", 1, 1.5], [], [" b ", True, None], ["c", 12345678, "NA"]]
    )
    assert rows(path) == [
        ({"text": "a", "desk": 1, "n": 1.5}, "t.xlsx sheet 'Labels' row 3"),
        ({"text": " b ", "desk": True, "n": None}, "t.xlsx sheet 'Labels' row 5"),
        ({"text": "c", "desk": 12345678, "n": "NA"}, "t.xlsx sheet 'Labels' row 6"),
    ]


def test_a_formula_that_failed_is_a_missing_value(tmp_path: Path) -> None:
    path = book(tmp_path / "t.xlsx", Labels=[HEADER, ["a", Error("#REF!")]])
    assert [row for row, _ in rows(path)] == [{"text": "a", "desk": None}]


def test_the_one_visible_sheet_with_rows_is_read(tmp_path: Path) -> None:
    path = book(tmp_path / "t.xlsx", hidden=("Lists",), Empty=[], Labels=[HEADER, ["a", "x"]], Lists=[["x"], ["y"]])
    assert [row for row, _ in rows(path)] == [{"text": "a", "desk": "x"}]


def test_of_several_sheets_one_is_named(tmp_path: Path) -> None:
    book(tmp_path / "t.xlsx", One=[HEADER, ["a", "x"]], Two=[HEADER, ["b", "y"]])
    assert "several sheets have rows: 'One', 'Two'. Name one after a #, as in t.xlsx#One" in fault(tmp_path / "t.xlsx")
    assert rows(tmp_path / "t.xlsx#Two", "t.xlsx#Two") == [({"text": "b", "desk": "y"}, "t.xlsx#Two row 2")]
    assert "there is no sheet 'Three'. The sheets are 'One', 'Two'." in fault(tmp_path / "t.xlsx#Three")
    assert "the file does not exist" in fault(tmp_path / "u.xlsx#Two")


@pytest.mark.parametrize(
    ("sheet", "says"),
    [
        ([["text", "desk", "desk"], ["a", "x", "y"]], "row 1: the column 'desk' occurs twice"),
        ([HEADER, ["a", "x"], HEADER, ["b", "y"]], "row 3: the header occurs again among the rows"),
        ([HEADER, ["a", "x", "lost"]], "row 2: the value 'lost' has no column name"),
    ],
)
def test_faults_of_a_sheet(tmp_path: Path, sheet: list[list[Any]], says: str) -> None:
    assert says in fault(book(tmp_path / "t.xlsx", Labels=sheet))


def test_books_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = book(tmp_path / "t.xlsx", Labels=[HEADER, ["a", "x"]])
    with monkeypatch.context() as patch:
        patch.setattr(workbook, "LARGEST", 100)
        assert "the unpacked workbook is" in fault(path)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "python_calamine", None)
        assert "pip install 'rung[excel]'" in fault(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "t.xlsx: " in fault(path)
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600)
    assert "the workbook cannot be read" in fault(path)
    path.write_text("text\tdesk\na\tx\n")
    assert "t.xlsx: the file ends in .xlsx but is text" in fault(path)
