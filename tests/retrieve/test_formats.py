"""The other formats that stand among documents: each is read as its program shows it, or counted and named as not read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from office_files import epub, odt, pptx, shape, xlsx

from rung.errors import DataError
from rung.retrieve.formats.readers import read
from rung.retrieve.knowledge import documents
from rung.retrieve.unread import not_read


def said(ending: str, content: str | bytes) -> list[tuple[tuple[str, ...], str]]:
    data = content.encode() if isinstance(content, str) else content
    return [(block.heading, block.text) for block in read(ending, data).done()]


MDX = """import A from "a"
export const b = {
  x: 1,
}

# Glaze

{/* a note
to us */}

<Card title="Fire twice" icon={<X/>}>
At 10<sup>3</sup> degrees.
</Card>

```js
import x from "y"
```

import duties are due.

<Tab label="npm" />
"""


def test_mdx() -> None:
    assert [(block.text.strip(), block.first_line) for block in read(".mdx", MDX.encode()).done()] == [
        ("Fire twice\nAt 10^3 degrees.", 11),
        ('```js\nimport x from "y"\n```', 15),
        ("import duties are due.", 19),
        ("npm", 21),
    ]


def cell(kind: str, source: str | list[str], *outputs: object) -> dict[str, object]:
    return {"cell_type": kind, "source": source, "outputs": list(outputs)}


def test_notebook() -> None:
    cells = [
        cell("markdown", ["# A\n", "text"]),
        cell("code", "1+1", {"data": {"text/plain": ["2"]}}, {"text": "\x1b[31mred\x1b[0m"}, {"data": {"image/png": "x"}}, None),
        cell("markdown", "## B"),
        cell("raw", "as it is"),
    ]
    texts = [(("A",), "text"), (("A",), "1+1"), (("A",), "2"), (("A",), "red"), (("A", "B"), "as it is")]
    assert said(".ipynb", json.dumps({"cells": cells})) == texts
    assert said(".ipynb", json.dumps({"worksheets": [{"cells": cells}]})) == texts
    assert all(not block.first_line for block in read(".ipynb", json.dumps({"cells": cells}).encode()).done())
    for broken in ("[]", '{"cells": 3}', '{"cells": [', '"x"', "{}"):
        with pytest.raises(DataError, match=r"notebook|broken"):
            read(".ipynb", broken.encode())


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ('[{"q": "x", "n": {"m": 2.10}}, {"q": null, "l": [1, "b"]}]', [((), "q: x\nn.m: 2.10"), ((), "l: 1, b")]),
        (
            '{"a": 1, "b": {"c": true}, "r": [{"q": "x"}, "y"]}',
            [((), "a: 1"), (("b",), "c: true"), (("r",), "q: x"), (("r",), "y")],
        ),
        ('"x"', [((), "x")]),
        ("12345678901234567890123.0", [((), "12345678901234567890123.0")]),
        ("1" * 5000, [((), "1" * 5000)]),
        ("null", []),
    ],
)
def test_json(content: str, texts: list[object]) -> None:
    assert said(".json", content) == texts


def test_broken_json_is_placed() -> None:
    with pytest.raises(DataError, match="line 2, column 1"):
        read(".json", b'{"a":\n')


def test_yaml_is_its_own_text() -> None:
    assert [(b.text, b.first_line) for b in read(".yml", b"a: 1\n\nb: &x [1]\n").done()] == [("a: 1", 1), ("b: &x [1]", 3)]


ROW = "<a:tr>{}</a:tr>"
CELL = "<a:tc{}><a:txBody><a:p><a:r><a:t>{}</a:t></a:r></a:p></a:txBody></a:tc>"


def test_pptx() -> None:
    table = "<p:graphicFrame><a:graphic><a:graphicData><a:tbl>" + ROW.format(
        CELL.format(' rowSpan="2"', "a") + CELL.format("", "b")
    )
    table += (
        ROW.format(CELL.format(' vMerge="1"', "") + CELL.format("", "c"))
        + "</a:tbl></a:graphicData></a:graphic></p:graphicFrame>"
    )
    high = '<a:p><a:r><a:t>10</a:t></a:r><a:r><a:rPr baseline="30000"/><a:t>6</a:t></a:r><a:br/><a:fld><a:t>x</a:t></a:fld></a:p>'
    first = f"<p:grpSp>{shape(high)}</p:grpSp>{shape('Rates', 'title')}{table}{shape('3', 'sldNum')}"
    data = pptx(first, shape("secret"), shape("last"), notes="say it", hidden=2)
    assert [(b.heading, b.text, b.page) for b in read(".pptx", data).done()] == [
        (("Rates",), "10^6\nx", 1),
        (("Rates",), "a | b\na | c", 1),
        (("Rates",), "Notes: say it", 1),
        ((), "last", 3),
    ]


def test_spreadsheets() -> None:
    pytest.importorskip("python_calamine")
    data = xlsx(
        Fees=[["", "", ""], ["Boat", "Fee", ""], ["Heron", 40.0, ""], ["Tern", 2.5, ""]],
        Note=[["read me"]],
        hidden=[["a", "b"]] * 2,
    )
    assert said(".xlsx", data) == [
        (("Fees",), "Boat: Heron\nFee: 40"),
        (("Fees",), "Boat: Tern\nFee: 2.5"),
        (("Note",), "read me"),
    ]


def test_odt() -> None:
    styles = "".join(
        f'<style:style style:name="{name}"><style:text-properties {what}/></style:style>'
        for name, what in {"up": 'style:text-position="super 58%"', "no": 'text:display="none"'}.items()
    )
    note = "<text:note><text:note-citation>1</text:note-citation>"
    note += "<text:note-body><text:p>by post</text:p></text:note-body></text:note>"
    table = '<table:table><table:table-row><table:table-cell table:number-rows-spanned="2"><text:p>a</text:p></table:table-cell>'
    table += (
        "<table:table-cell><text:p>b</text:p></table:table-cell></table:table-row><table:table-row><table:covered-table-cell/>"
    )
    table += "<table:table-cell><text:p>c</text:p></table:table-cell></table:table-row></table:table>"
    body = '<text:tracked-changes><text:p>gone</text:p></text:tracked-changes><text:h text:outline-level="1">A</text:h>'
    body += f'<text:p>10<text:span text:style-name="up">6</text:span><text:s text:c="2"/>m{note}'
    body += '<text:span text:style-name="no">x</text:span></text:p>'
    body += f"<text:list><text:list-item><text:p>one</text:p></text:list-item></text:list>{table}"
    assert said(".odt", odt(body, styles)) == [
        (("A",), "10^6  m[1]"),
        (("A",), "[1] by post"),
        (("A",), "- one"),
        (("A",), "a | b\na | c"),
    ]


def test_epub() -> None:
    chapters = ("<html><body><h1>A</h1><p>one</p></body></html>", "<html><body><p>two</p></body></html>")
    assert said(".epub", epub(*chapters)) == [(("A",), "one"), ((), "two")]
    with pytest.raises(DataError, match="DRM"):
        read(".epub", epub(*chapters, encrypted="OPS/c 1.xhtml"))


def test_rtf() -> None:
    pytest.importorskip("striprtf")
    text = r"{\rtf1\ansi{\fonttbl{\f0 Arial;}}\f0 Wait 1\_24 h\'fcr\par{\v hidden}{\*\x ignored}\trowd a\cell b\cell\row}"
    assert said(".rtf", text) == [((), "Wait 1-24 hür"), ((), "a | b")]


def test_mail() -> None:
    text = (
        "Subject: =?utf-8?q?F=C3=BCr?=\nFrom: a@b.example\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x\n\n--x\n"
    )
    text += "Content-Type: multipart/alternative; boundary=y\n\n--y\nContent-Type: text/html\n\n<p>rich</p>\n--y\n"
    text += "Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\nsch=F6n\n--y--\n--x\n"
    text += "Content-Type: application/pdf\nContent-Disposition: attachment; filename=a.pdf\n\nx\n--x--\n"
    assert said(".eml", text) == [
        (("Für",), "From: a@b.example"),
        (("Für",), "schön"),
        (("Für",), "Attachment, not read: a.pdf"),
    ]
    odd = said(".eml", "Subject: a\nFrom:Content-Type: multipart/mixed; boundary=x\n\nwords")
    assert odd == [(("a",), "From: Content-Type: multipart/mixed; boundary=x"), (("a",), "words")]
    with pytest.raises(DataError, match="no mail"):
        read(".eml", b"just words")


@pytest.mark.parametrize("ending", [".docx", ".pptx", ".odt", ".epub", ".xlsx"])
def test_damaged_archives_are_refused(ending: str) -> None:
    pytest.importorskip("python_calamine")
    for data in (b"", b"PK\x03\x04 no more", epub("<p>x</p>")[:-40], b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600):
        with pytest.raises(Exception):  # noqa: B017 `parse` makes a refusal of whatever it is
            read(ending, data)
    with pytest.raises(DataError, match=r"missing|no |cannot") if ending not in (".epub", ".xlsx") else pytest.raises(Exception):
        read(ending, epub() if ending != ".epub" else odt(""))


def test_what_is_not_read_is_counted_and_named(tmp_path: Path) -> None:
    for name in ("a.md", "b.pages", "c.pages", "d.PNG", "LICENSE"):
        (tmp_path / "docs" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "docs" / name).write_text("x")
    found = documents(tmp_path, ("docs",))
    assert found.ignored == ("docs/LICENSE", "docs/b.pages", "docs/c.pages", "docs/d.PNG")
    message = not_read(found.ignored)
    assert message.startswith("4 files are not read") and "2 .pages" in message and "docs/d.PNG" in message
    (tmp_path / "docs" / "a.md").unlink()
    with pytest.raises(DataError, match=r"4 files are not read.*2 \.pages"):
        documents(tmp_path, ("docs",))
    assert not_read(()) == ""
    assert not_read([f"{i}.x" for i in range(1000)]).count(".x") == 11
