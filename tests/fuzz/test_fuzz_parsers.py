"""No bytes make a reader of documents fail other than by a refusal: valid files mutated, random ones of a format's own marks.

A few inputs per format in the fast suite, 10,000 with `-m slow`.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rung.errors import DataError
from rung.retrieve.formats.readers import BINARY_READERS, TEXT_READERS, read

sys.path.insert(0, str(Path(__file__).parents[1] / "retrieve"))
from office_files import epub, odt, pptx, shape, xlsx
from test_parse import MARKDOWN, pdf
from word_files import docx, p, r, tbl, tc

PAGE = (
    "<title>T</title><main><h1>A</h1><p>10<sup>6</sup></p><table><tr><td rowspan=2>a<td>b<tr><td>c</table><ol start=3><li>x</ol>"
)
MAIL = "Subject: a\nFrom: b@c\nContent-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/html\n\n<p>a</p>\n--x--\n"
RST = "=====\nTitle\n=====\n\n.. note::\n\n   Kept.\n\nSub\n~~~\n\na\n"
NOTEBOOK = json.dumps(
    {"cells": [{"cell_type": "markdown", "source": ["# A\n", "x"]}, {"cell_type": "code", "outputs": [{"text": "y"}]}]}
)
WORD = docx(
    p(r("a") + r("6", '<w:vertAlign w:val="superscript"/>'))
    + tbl(tc("a", '<w:gridSpan w:val="2"/>') + tc("b"), tc("c", "<w:vMerge/>")),
    styles='<w:style w:styleId="a"><w:name w:val="heading 1"/><w:basedOn w:val="b"/></w:style>',
    numbering='<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>',
)
SEEDS: dict[str, list[bytes]] = {
    **{ending: [MARKDOWN.encode()] for ending in (".md", ".markdown", ".qmd")},
    ".mdx": [b'import a from "b"\n\n<Tab label="x">\n{/* c */}\n</Tab>\n```js\n```\n'],
    **{ending: [PAGE.encode(), b'<meta charset="gb2312"><p>\xbf\xaa</p>'] for ending in (".html", ".htm", ".xhtml")},
    **{ending: [RST.encode()] for ending in (".rst",)},
    **{ending: [b'q;a\n"two\nlines";yes\n'] for ending in (".csv", ".tsv")},
    **{ending: [b'{"q": "x", "n": 1}\n{"q": ["y"]}\n'] for ending in (".jsonl", ".ndjson")},
    ".json": [b'{"a": 1.0, "b": {"c": [1, {"d": null}]}, "r": [{"q": "x"}]}'],
    ".ipynb": [NOTEBOOK.encode()],
    ".pdf": [pdf("first page", "second page")],
    **{ending: [WORD] for ending in (".docx", ".docm", ".dotx")},
    **{ending: [pptx(shape("a", "title") + shape("b"), shape("c"), notes="d")] for ending in (".pptx", ".pptm", ".ppsx")},
    **{ending: [xlsx(A=[["a", "b"], ["c", 1.0]])] for ending in (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")},
    **{
        ending: [odt('<text:h text:outline-level="1">A</text:h><text:list><text:list-item/></text:list>')]
        for ending in (".odt", ".odp")
    },
    ".epub": [epub(PAGE, "<p>x</p>")],
    ".rtf": [rb"{\rtf1\ansi{\fonttbl{\f0 Arial;}}\f0 a\_b \'fc\par{\v x}\u8364?\trowd a\cell\row}"],
    ".eml": [MAIL.encode()],
}
TAGS = ("p", "div", "table", "tr", "td", "ul", "ol", "li", "sup", "math", "msup", "mfrac", "main", "nav", "h1", "pre", "svg")
MARKS = {
    ".md": [
        "# ",
        "- ",
        "> ",
        "|a|\n|-|\n",
        "```\n",
        "<!--",
        "-->",
        "<div>\n",
        "<sup>1</sup>",
        ":::",
        "---\n",
        "    ",
        "1. ",
        "[a]: ",
    ],
    ".html": [
        *(
            f"<{tag}>"
            for tag in [
                "p",
                "div",
                "table",
                "tr",
                "td",
                "ul",
                "ol",
                "li",
                "sup",
                "math",
                "msup",
                "mfrac",
                "main",
                "nav",
                "h1",
                "pre",
                "dialog",
                "svg",
            ]
        ),
        "</table>",
    ],
    ".rst": ["====\n", "----\n", ".. note::\n", "   ", "+--+\n", ">>> ", ".. _a:\n"],
    ".csv": [",", ";", "\t", '"', "\n", '""'],
    ".json": ["{", "}", "[", "]", '"a"', ":", ",", "1e999", "-0", "null", "\n"],
    ".rtf": ["{\\rtf1 ", "{", "}", "\\par ", "\\'", "\\u8364?", "\\bin9 ", "\\cell ", "\\row ", "\\uc0 ", "\\fonttbl "],
    ".eml": [
        "Subject: ",
        "From: ",
        "\n",
        "\n\n",
        "--x\n",
        "--x--",
        "Content-Type: multipart/mixed; boundary=x\n",
        "=?utf-8?q?a?=",
        "; ",
    ],
}
MARKS |= {
    ".mdx": [*MARKS[".md"], "{/*", "*/}", "<A b={", "import a from '", "export "],
    ".ipynb": [*MARKS[".json"], '"cells"', '"source"'],
}
MARKS |= {".jsonl": MARKS[".json"], ".qmd": MARKS[".md"], ".htm": MARKS[".html"], ".tsv": MARKS[".csv"]}
REFUSALS: dict[str, tuple[type[Exception], ...]] = {
    **dict.fromkeys((*TEXT_READERS, *BINARY_READERS), (DataError, RecursionError)),
    **dict.fromkeys((".pdf", ".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".rtf"), (Exception,)),
}
"""What a reader may throw; of libraries whatever they do, which `parse` makes a refusal of."""


@st.composite
def mutated(draw: st.DrawFn, seed: bytes) -> bytes:
    """A valid file with a few runs of bytes changed; of a zip archive also inside of its members."""
    if seed.startswith(b"PK") and draw(st.booleans()):
        return _rezipped(draw, seed)
    return _changed(draw, seed)


def _changed(draw: st.DrawFn, data: bytes) -> bytes:
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(data)))
        end = min(len(data), start + draw(st.integers(0, 30)))
        new = draw(
            st.one_of(
                st.binary(max_size=8), st.just(data[start:end] * 3), st.sampled_from([b"<", b"&", b"\xff", b"-1", b"9" * 30])
            )
        )
        data = data[:start] + new + data[end:]
    return data


def _rezipped(draw: st.DrawFn, seed: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(seed)) as old, zipfile.ZipFile(out, "w") as new:
        names = old.namelist()
        chosen, dropped = draw(st.sampled_from(names)), draw(st.sampled_from([*names, "", ""]))
        for name in names:
            if name != dropped:
                content = old.read(name)
                new.writestr(name, _changed(draw, content) if name == chosen else content)
    return out.getvalue()


def inputs(ending: str) -> st.SearchStrategy[bytes]:
    changed = st.sampled_from(SEEDS.get(ending, [b"a\n\nb: c"])).flatmap(mutated)
    marks = st.lists(st.one_of(st.sampled_from(MARKS.get(ending, ["a", "\n"])), st.text(max_size=5)), max_size=40)
    return st.one_of(
        changed, changed, marks.map(lambda parts: "".join(parts).encode(errors="surrogatepass")), st.binary(max_size=60)
    )


def holds(ending: str, data: bytes) -> None:
    """The reader gives blocks that any store takes, or refuses."""
    try:
        blocks = read(ending, data).done()
    except REFUSALS[ending]:
        return
    for block in blocks:
        "\n".join((*block.heading, block.text)).encode()
        assert block.text.strip()
        assert 0 <= block.first_line <= block.last_line <= data.count(b"\n") + data.count(b"\r") + data.count(b"\0\n") + 1
        assert block.kind in ("text", "table", "code")


def check(ending: str, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(inputs(ending))
    def run(data: bytes) -> None:
        holds(ending, data)

    run()


@pytest.mark.parametrize("ending", [*TEXT_READERS, *BINARY_READERS])
def test_a_few_inputs(ending: str) -> None:
    check(ending, 40)


@pytest.mark.slow
@pytest.mark.parametrize("ending", [*TEXT_READERS, *BINARY_READERS])
def test_ten_thousand_inputs(ending: str) -> None:
    check(ending, 10_000)
