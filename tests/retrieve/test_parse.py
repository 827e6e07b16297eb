"""Reading documents: places are true, headings are kept, and a hostile file is refused by name while the rest goes on."""

from __future__ import annotations

import io
import os
import socket
import struct
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.errors import DataError
from rung.retrieve.formats import archive, isolated, readers, source
from rung.retrieve.formats import html as html_reader
from rung.retrieve.formats.blocks import clean
from rung.retrieve.parse import listing, parse, relative
from rung.retrieve.passage import Block, Document, Refused

AXOLOTL = Path(__file__).parents[3] / "shared" / "data" / "docs_axolotl"


def read(folder: Path, name: str, content: str | bytes) -> Document | Refused:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return parse(path, folder)


def blocks(folder: Path, name: str, content: str | bytes) -> tuple[Block, ...]:
    document = read(folder, name, content)
    assert isinstance(document, Document), document
    return document.blocks


def refusal(folder: Path, name: str, content: str | bytes) -> Refused:
    found = read(folder, name, content)
    assert isinstance(found, Refused), found
    assert found.path == name
    return found


# Formats

MARKDOWN = """---
title: Returns
description: What goes back
---

# Returns

Within *30 days*.

## How {#how}

1. Pack it.
2. Send it.

```python
# not a heading
```

| item | days |
|---|---|
| bike | 30 |

<!-- a note
to ourselves -->

Setext
------

Last.

## Nothing said here
"""


def test_markdown(tmp_path: Path) -> None:
    assert blocks(tmp_path, "a.md", MARKDOWN) == (
        Block("What goes back", ("Returns",), 1, 4),
        Block("Within *30 days*.", ("Returns",), 8, 8),
        Block("1. Pack it.\n2. Send it.", ("Returns", "How"), 12, 13),
        Block("```python\n# not a heading\n```", ("Returns", "How"), 15, 17, kind="code"),
        Block("| item | days |\n|---|---|\n| bike | 30 |", ("Returns", "How"), 19, 21, kind="table"),
        Block("Last.", ("Returns", "Setext"), 29, 29),
        Block("Nothing said here", ("Returns", "Nothing said here"), 31, 31),
    )


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("`snake_case` and *emphasis*", "snake_case and emphasis"),
        ("**A** [link](b.md) {.unnumbered}", "A link"),
        ("keep_under_scores {braces}", "keep_under_scores {braces}"),
        ("2 * 3 * 4", "2 * 3 * 4"),
    ],
)
def test_a_heading_is_read_as_a_reader_would(tmp_path: Path, written: str, read: str) -> None:
    assert blocks(tmp_path, "a.md", f"# {written}\n\ntext")[0].heading == (read,)


def test_headings_in_a_quarto_div_end_with_it(tmp_path: Path) -> None:
    text = "# A\n\n::: {.panel-tabset}\n\n## pip\n\none\n\n## uv\n\ntwo\n\n:::\n\n::: {.callout-note}\nNote this.\n:::\n\nafter\n"
    assert [(b.heading, b.text, b.first_line) for b in blocks(tmp_path, "a.qmd", text)] == [
        (("A", "pip"), "one", 7),
        (("A", "uv"), "two", 11),
        (("A",), "::: {.callout-note}\nNote this.", 15),
        (("A",), "after", 19),
    ]


@pytest.mark.parametrize("front", ["---\na: [\n---\n", "---\njust words\n---\n", "---\nnever closed\n"])
def test_front_matter_that_is_none_is_text(tmp_path: Path, front: str) -> None:
    words = " ".join(" ".join((*b.heading, b.text)) for b in blocks(tmp_path, "a.md", front + "\nbody\n"))
    assert "body" in words
    assert front.split("\n")[1] in words


def test_html_in_markdown(tmp_path: Path) -> None:
    text = "# CO<sub>2</sub>\n\nAt 10<sup>6</sup> m.\n\n- 1<sup>st</sup>\n\n"
    text += "<div>\n10<sup>3</sup>\n<script>\nx\n</script>\n</div>\n"
    text += "\n| a<sup>2</sup> |\n|---|\n| b |\n\n```\n<sup>c</sup>\n```\n\n<table>\n<tr><td>a</td><td>b</td></tr>\n</table>\n"
    found = blocks(tmp_path, "a.md", text)
    assert {block.heading for block in found} == {("CO₂",)}
    assert [(block.text.strip(), block.first_line) for block in found] == [
        ("At 10^6 m.", 3),
        ("- 1st", 5),
        ("10^3", 7),
        ("| a^2 |\n|---|\n| b |", 14),
        ("```\n<sup>c</sup>\n```", 18),
        ("a | b", 22),
    ]


def test_html(tmp_path: Path) -> None:
    page = """<!doctype html><html><head><title>Shop</title><style>p {}</style></head><body>
<nav><a href="/">Home</a></nav>
<h1>Returns<a class="headerlink" href="#r">¶</a></h1>
<p>Within <b>30</b>&nbsp;days
of delivery.<script>alert(1)</script></p>
<h2>Costs</h2>
<ul><li>one</li><li><p>two</p></li></ul>
<table><tr><th>item</th><th>fee</th></tr><tr><td>box</td><td>&pound;3</td></tr></table>
<pre>a
  b</pre>
</body></html>"""
    assert blocks(tmp_path, "a.html", page) == (
        Block("Within 30 days of delivery.", ("Shop", "Returns"), 4, 5),
        Block("- one\n- two", ("Shop", "Returns", "Costs"), 7, 7),
        Block("item | fee\nbox | £3", ("Shop", "Returns", "Costs"), 8, 8, kind="table"),
        Block("a\n  b", ("Shop", "Returns", "Costs"), 9, 10, kind="code"),
    )


def test_html_that_is_fed_in_pieces_reads_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = "<title>T</title>" + "".join(f"<h2>H{i}</h2>\n<p>x &amp; <i>y</i>{i}</p><ul><li>z</ul>\n" for i in range(30))
    whole = blocks(tmp_path, "a.html", page)
    monkeypatch.setattr(html_reader, "PIECE", 100)
    assert blocks(tmp_path, "a.html", page) == whole


def test_rst(tmp_path: Path) -> None:
    head = "=====\nTitle\n=====\n\n.. _target:\n\nIntro.\n\nPart\n----\nText\n\n"
    text = head + ".. note::\n\n   Kept.\n\n.. code-block:: py\n\n   x = 1\n\nSub\n~~~\n\na\n"
    assert blocks(tmp_path, "a.rst", text) == (
        Block("Intro.", ("Title",), 7, 7),
        Block("Text", ("Title", "Part"), 11, 11),
        Block(".. note::\n\n   Kept.", ("Title", "Part"), 13, 15),
        Block(".. code-block:: py\n\n   x = 1", ("Title", "Part"), 17, 19, kind="code"),
        Block("a", ("Title", "Part", "Sub"), 24, 24),
    )


def test_text(tmp_path: Path) -> None:
    assert blocks(tmp_path, "a.txt", "one\r\ntwo\r\n\r\n\r\nthree") == (Block("one\ntwo", (), 1, 2), Block("three", (), 5, 5))


def test_rows(tmp_path: Path) -> None:
    assert blocks(tmp_path, "a.csv", 'q;a\n"two\nlines";yes\n\nx;\n') == (
        Block("q: two\nlines\na: yes", (), 2, 3, kind="table"),
        Block("q: x", (), 5, 5, kind="table"),
    )
    assert blocks(tmp_path, "a.jsonl", '{"q": "x", "n": 1, "none": null}\n{"q": ["y"]}\n') == (
        Block("q: x\nn: 1", (), 1, 1, kind="table"),
        Block('q: ["y"]', (), 2, 2, kind="table"),
    )


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.csv", "a,b\n1,2\n1,2,3\n", "line 3"),
        ("a.csv", 'a,b\n1,2\n"x\n', "line 3"),
        ("a.jsonl", '{"a": 1}\n{"a": \n', "line 2"),
        ("a.jsonl", '{"a": 1}\n[1]\n', "line 2"),
    ],
)
def test_a_broken_row_is_named(tmp_path: Path, name: str, content: str, line: str) -> None:
    assert line in refusal(tmp_path, name, content).reason


# PDF


def pdf(*texts: str, streams: tuple[bytes, ...] = (), kids: str = "") -> bytes:
    """A small PDF: a page for each text, or for each ready-made content stream."""
    streams = streams or tuple(_stream(f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET".encode()) for text in texts)
    kids = kids or " ".join(f"{4 + 2 * i} 0 R" for i in range(len(streams)))
    objects = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        f"<</Type/Pages/Count {len(streams)}/Kids[{kids}]>>".encode(),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    for i, stream in enumerate(streams):
        resources = f"/Resources<</Font<</F1 3 0 R>>>>/Contents {5 + 2 * i} 0 R"
        objects += [f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]{resources}>>".encode(), stream]
    out, places = b"%PDF-1.4\n", []
    for i, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (i, content)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    head = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    return out + head + table + b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, len(out))


def _stream(data: bytes, filters: bytes = b"") -> bytes:
    return b"<<%s/Length %d>>stream\n%s\nendstream" % (filters, len(data), data)


ALGORITHMS = ("RC4-40", "RC4-128", "AES-128", "AES-256-R5", "AES-256")


def locked_pdf(password: str = "a password", algorithm: str = "RC4-128") -> bytes:
    from pypdf import PdfReader, PdfWriter

    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(pdf("secret"))))
    writer.encrypt(password, "the owner's", algorithm=algorithm)
    out = io.BytesIO()
    writer.write(out)
    return out.getvalue()


def test_pdf_pages(tmp_path: Path) -> None:
    assert blocks(tmp_path, "a.pdf", pdf("first page", "second page")) == (
        Block("first page", (), page=1),
        Block("second page", (), page=2),
    )


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(pdf("cut off here")[:200], "PdfStreamError", id="cut off"),
        pytest.param(b"%PDF-1.7 no more than a name", "failed", id="name only"),
        pytest.param(locked_pdf(), "locked with a password", id="locked"),
        pytest.param(pdf("x", kids="4 0 R 2 0 R"), "cyclic", id="endless pages"),
        pytest.param(pdf(streams=(_stream(zlib.compress(b" " * 10**8), b"/Filter/FlateDecode"),)), "Limit", id="bomb"),
        pytest.param(pdf(streams=(_stream(b""),)), "no text", id="scan"),
    ],
)
def test_a_bad_pdf_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    assert reason in refusal(tmp_path, "a.pdf", content).reason


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_encrypted_pdf_is_read_if_it_opens_without_a_password(algorithm: str) -> None:
    assert [block.text for block in readers.read(".pdf", locked_pdf("", algorithm)).done()] == ["secret"]
    with pytest.raises(DataError, match="locked with a password"):
        readers.read(".pdf", locked_pdf("a password", algorithm))


def test_a_missing_part_for_encrypted_pdfs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError

    def fail(*_: object) -> None:
        raise DependencyError("cryptography>=3.1 is required for AES algorithm")

    monkeypatch.setattr(PdfReader, "decrypt", fail)
    with pytest.raises(DataError) as caught:
        readers.read(".pdf", locked_pdf("", "RC4-128"))
    assert "pypdf[crypto]" in caught.value.remedy


def test_a_reader_that_takes_too_long_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolated, "SECONDS", 0.001)
    assert "took over" in refusal(tmp_path, "a.pdf", pdf("x")).reason


# Word


def word() -> bytes:
    docx = pytest.importorskip("docx")
    document = docx.Document()
    document.add_heading("Handbook", 0)
    document.add_heading("Leave", 1)
    document.add_paragraph("Twenty-five days.")
    document.add_paragraph("ask first", style="List Bullet")
    table = document.add_table(2, 2)
    for cell, text in zip((c for row in table.rows for c in row.cells), ("kind", "days", "sick", "10")):
        cell.text = text
    document.add_heading("Pay", 2)
    document.add_paragraph("On the last day.")
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def test_docx(tmp_path: Path) -> None:
    assert blocks(tmp_path, "a.docx", word()) == (
        Block("Twenty-five days.", ("Handbook", "Leave")),
        Block("- ask first", ("Handbook", "Leave")),
        Block("kind | days\nsick | 10", ("Handbook", "Leave"), kind="table"),
        Block("On the last day.", ("Handbook", "Leave", "Pay")),
    )


def zipped(size: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", b"a" * size)
    return out.getvalue()


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    assert "zip bomb" in refusal(tmp_path, "a.docx", zipped(archive.MEMBER_CHECKED + 10**6)).reason


def test_a_zip_bomb_by_its_declared_size_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zipped(1001)
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("unpacked"))
    monkeypatch.setattr(archive, "MOST_UNPACKED", 1000)
    with pytest.raises(DataError, match="zip bomb"):
        readers.read(".docx", bomb)


def test_a_zip_that_lies_about_its_sizes_is_refused(tmp_path: Path) -> None:
    data = zipped(3_000_000)
    lie = data.replace(struct.pack("<I", 3_000_000), struct.pack("<I", 10))
    assert lie != data
    assert "BadZipFile" in refusal(tmp_path, "a.docx", lie).reason


# Hostile or unlucky


def test_what_lies_about_its_kind_is_refused(tmp_path: Path) -> None:
    assert "PNG" in refusal(tmp_path, "a.md", b"\x89PNG\r\n\x1a\n\0\0").reason
    assert "a PDF" in refusal(tmp_path, "a.txt", pdf("x")).reason
    assert "byte 4 is NUL" in refusal(tmp_path, "b.md", b"text\0\1\2").reason


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_encodings_that_say_what_they_are(tmp_path: Path, encoding: str) -> None:
    assert blocks(tmp_path, "a.md", "Größe 尺寸\n".encode(encoding))[0].text == "Größe 尺寸"


def test_utf_16_big_endian(tmp_path: Path) -> None:
    assert blocks(tmp_path, "a.md", b"\xfe\xff" + "Größe".encode("utf-16-be"))[0].text == "Größe"


@pytest.mark.parametrize(
    ("encoding", "byte", "named"),
    [("cp1252", "byte 7", "WINDOWS-1252"), ("gb18030", "byte 5", "GB18030"), ("utf-16-le", "byte 1", "UTF-16LE")],
)
def test_another_encoding_is_named_with_the_byte(tmp_path: Path, encoding: str, byte: str, named: str) -> None:
    text = {"cp1252": "line\nGrün", "gb18030": "line\n今天天气很好"}.get(encoding, "plain words")
    reason = refusal(tmp_path, "a.md", text.encode(encoding)).reason
    assert byte in reason
    assert named in reason


def test_sizes_have_caps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    huge = tmp_path / "huge.md"
    with huge.open("wb") as file:
        file.truncate(2 << 30)  # a 2 GB line, as a sparse file
    found = parse(huge, tmp_path)
    assert isinstance(found, Refused)
    assert "2,147,483,648 bytes" in found.reason
    monkeypatch.setattr(source, "LONGEST_LINE", 100)
    assert "line 2 has 101" in refusal(tmp_path, "a.md", "short\n" + "x" * 101).reason


def test_a_file_that_grows_is_read_no_further_than_the_cap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.md").write_text("x" * 100)
    monkeypatch.setattr(source, "LARGEST_FILE", 10)
    real = os.fstat
    monkeypatch.setattr(os, "fstat", lambda fd: os.stat_result([*real(fd)[:6], 5, *real(fd)[7:10]]))
    found = parse(tmp_path / "a.md", tmp_path)
    assert isinstance(found, Refused)
    assert "11 bytes" in found.reason


@pytest.mark.parametrize(("name", "content"), [("a.md", ""), ("a.txt", " \n\n"), ("a.html", "<p></p>"), ("a.md", "<!-- x -->")])
def test_nothing_in_it(tmp_path: Path, name: str, content: str) -> None:
    assert refusal(tmp_path, name, content).reason in ("it is empty.", "it contains no text.")


def test_what_is_no_plain_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    (tmp_path / "folder.md").mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(tmp_path / "s.md"))
        for name in ("pipe.md", "folder.md", "s.md", "absent.md"):
            assert isinstance(parse(tmp_path / name, tmp_path), Refused)


def test_an_unreadable_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "a.md").write_text("x")
    monkeypatch.setattr(os, "open", refuse)  # the tests may run as root, who may read all
    assert parse(tmp_path / "a.md", tmp_path) == Refused(
        "a.md", "it cannot be read: Permission denied.", "Check its permissions."
    )


@pytest.mark.parametrize("mark", ["<div>", "<ul><li>", "<table><tr><td>", "<b>"])
def test_deep_html_is_read(tmp_path: Path, mark: str) -> None:
    assert "words" in blocks(tmp_path, "a.html", mark * 10_000 + "words")[0].text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("- a\n" * 400_000, id="list"),
        pytest.param("> " * 50 + "a\n" * 20_000, id="lazy quote"),
        pytest.param("|a" * 40_000 + "\n" + "|-" * 40_000 + "\n", id="wide table"),
        pytest.param("---\na: &a {b: c}\n" + "".join(f"<<: [{'*a, ' * 900}*a]\n" for _ in range(9)) + "---\ntext", id="merges"),
    ],
)
def test_markdown_that_costs_much_is_read_or_refused_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF)
    monkeypatch.setattr(isolated, "SECONDS", 3)
    found = read(tmp_path, "a.md", text)
    after = resource.getrusage(resource.RUSAGE_SELF)
    assert isinstance(found, Document) or "took over" in found.reason
    assert after.ru_utime - before.ru_utime < 3
    assert after.ru_maxrss - before.ru_maxrss < 200_000  # kB


def test_a_reader_may_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rung.retrieve.formats.blocks.MOST_TEXT", 1_000_000)
    assert "1,000,000 characters" in refusal(tmp_path, "a.csv", "c" * 10_000 + "\n" + "x\n" * 1_000).reason


def test_an_endless_comment_is_refused(tmp_path: Path) -> None:
    assert "never closed" in refusal(tmp_path, "a.html", "<p>x</p><!--" + "<!--" * 50_000).reason


@pytest.mark.parametrize("error", [RecursionError("too deep"), MemoryError(), ValueError("odd")])
def test_whatever_a_reader_throws_becomes_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(_: str) -> None:
        raise error

    monkeypatch.setitem(readers.TABLE.own, "md", fail)  # type: ignore[arg-type]
    assert type(error).__name__ in refusal(tmp_path, "a.md", "x").reason


def test_json_nested_too_deep_is_refused(tmp_path: Path) -> None:
    assert "RecursionError" in refusal(tmp_path, "a.jsonl", '{"a":' + "[" * 200_000).reason


# Text


def test_what_nobody_sees_is_dropped() -> None:
    assert clean("a\u200bb\u00adc\u202ed\ufeff\x07e\x0cf\u2028g") == "abcde f g"
    assert clean("e\u0301 \ud800 \U000e0041") == "é  "
    assert clean("می\u200cخواهم") == "می\u200cخواهم"  # here the joiner is spelling


@given(st.text())
def test_cleaning_keeps_lines_and_cleans_once(text: str) -> None:
    once = clean(text)
    assert clean(once) == once
    assert once.count("\n") == text.replace("\r\n", "\n").replace("\r", "\n").count("\n")
    once.encode()  # any file and database takes it


@given(
    st.lists(st.sampled_from(["# A", "## B", "word", "", "> q", "- i", "  - j", "```", "| a |", "|---|", "<!--", "-->", ":::"]))
)
def test_markdown_blocks_are_the_lines_they_name(lines: list[str]) -> None:
    from rung.retrieve.formats.markdown import read_markdown

    last = 0
    for block in read_markdown("\n".join(lines)).done():
        cited = "\n".join(lines[block.first_line - 1 : block.last_line])
        assert block.text.strip() in cited or "--" in cited
        assert last < block.first_line <= block.last_line
        last = block.last_line


# Finding them


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / ".task"
    for name in ("docs/a.md", "docs/deep/b.txt", "docs/.hidden/c.md", "docs/.d.md", "docs/logo.png", "docs/~$x.docx", "faq.csv"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("text")
    (tmp_path / "secret.md").write_text("secret")
    return root


def names(root: Path, *patterns: str) -> list[str]:
    return [relative(path, root) for path in listing(root, patterns).files]


def test_listing(folder: Path) -> None:
    assert names(folder, "docs/") == ["docs/a.md", "docs/deep/b.txt"]
    assert names(folder, "docs", "faq.csv", "docs/a.md") == ["docs/a.md", "docs/deep/b.txt", "faq.csv"]
    assert names(folder, "docs/**/*.txt", str(folder / "docs" / "deep" / "*")) == ["docs/deep/b.txt"]
    assert names(folder, "docs/*/../a.md", "**/*.md") == ["docs/a.md"]
    assert names(folder, "docs/.hidden/*.md") == ["docs/.hidden/c.md"]
    assert names(folder, "../secret.md") == ["../secret.md"]
    assert names(folder, str(folder / "docs")) == ["docs/a.md", "docs/deep/b.txt"]
    assert listing(folder, ["docs"]).ignored == ("docs/logo.png",)


@pytest.mark.parametrize("pattern", ["absent", "docs/*.pdf", "absent.md"])
def test_a_pattern_that_names_nothing_is_an_error(folder: Path, pattern: str) -> None:
    with pytest.raises(DataError, match="matches no file"):
        listing(folder, [pattern])


def test_links(folder: Path) -> None:
    docs = folder / "docs"
    (docs / "out.md").symlink_to("../../secret.md")
    (docs / "way").symlink_to(folder.parent)
    (docs / "round").symlink_to("..")
    (docs / "loop.md").symlink_to("loop.md")
    (docs / "gone.md").symlink_to("nowhere.md")
    (docs / "in.md").symlink_to("a.md")
    found = listing(folder, ["docs"])
    assert [relative(path, folder) for path in found.files] == ["docs/a.md", "docs/deep/b.txt"]
    reasons = {refused.path: refused.reason for refused in found.refused}
    assert set(reasons) == {f"docs/{name}" for name in ("out.md", "way", "round", "loop.md", "gone.md", "in.md")}
    assert "a link to 'docs/a.md'" in reasons["docs/in.md"], "the target may have another label"
    assert "out of the folder" in reasons["docs/out.md"]
    assert "cycle" in reasons["docs/loop.md"]
    for name in ("out.md", "loop.md", "gone.md", "way/secret.md"):
        assert isinstance(parse(docs / name, folder), Refused)


def test_a_glob_does_not_reach_through_a_link(folder: Path) -> None:
    (folder / "docs" / "way").symlink_to(folder.parent)
    assert "docs/way/secret.md" not in names(folder, "docs/**/*.md")


def test_a_link_put_in_place_after_the_check_is_not_followed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = folder / "docs"
    (folder.parent / "away").mkdir()
    (folder.parent / "away" / "b.txt").write_text("secret")
    monkeypatch.setattr("rung.retrieve.parse._link_out", lambda *_: None)  # the check came too early
    (docs / "a.md").unlink()
    (docs / "a.md").symlink_to(folder.parent / "secret.md")
    (docs / "deep").rename(docs / "gone")
    (docs / "deep").symlink_to(folder.parent / "away")
    for name in ("a.md", "deep/b.txt"):
        found = parse(docs / name, folder)
        assert isinstance(found, Refused) and "link" in found.reason
        assert source.content(docs / name, folder) == (found.reason, 0)
    monkeypatch.undo()
    assert isinstance(parse(folder.parent / "secret.md", folder), Document), "a file named outright is read"


def test_links_in_circles_do_not_multiply(folder: Path) -> None:
    for name in ("one", "two", "three"):
        (folder / "docs" / name).symlink_to(".")
    assert names(folder, "**/*.md") == ["docs/a.md"]


def test_a_name_that_is_no_utf8_is_refused(folder: Path) -> None:
    with open(os.fsencode(folder / "docs") + b"/\xff.md", "w") as file:  # noqa: PTH123 a Path cannot say it plainly
        file.write("x")
    found = listing(folder, ["docs"])
    assert [refused.reason for refused in found.refused] == ["its name is not UTF-8."]
    assert found.refused[0].path.encode() == b"docs/\\xff.md"


def test_one_bad_file_stops_no_other(folder: Path) -> None:
    (folder / "docs" / "bad.md").write_bytes(b"\0")
    read = [parse(path, folder) for path in listing(folder, ["docs"]).files]
    assert [type(found) for found in read] == [Document, Refused, Document]


@pytest.mark.skipif(not AXOLOTL.is_dir(), reason="the public documents are not there")
@pytest.mark.parametrize(("version", "files"), [("v0.8.0", 35), ("v0.18.0", 63)])
def test_real_documents(version: str, files: int) -> None:
    root = AXOLOTL / version
    read = [parse(path, root) for path in listing(root).files]
    assert [type(found) for found in read] == [Document] * files
    for document in read:
        assert isinstance(document, Document)
        lines = clean((root / document.path).read_text(encoding="utf-8")).split("\n")
        for block in document.blocks:
            cited = "\n".join(lines[block.first_line - 1 : block.last_line])
            assert block.text in cited or not set(block.text.split()) - set(cited.replace('"', " ").split()) or "<" in cited
