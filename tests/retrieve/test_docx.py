"""Word documents: what Word shows is what is indexed."""

from __future__ import annotations

import pytest
from word_files import docx, p, r, tbl, tc

from rung.errors import DataError
from rung.retrieve.formats.docx import read_docx


def said(body: str, **parts: str) -> list[str]:
    return [block.text for block in read_docx(docx(body, **parts)).done()]


def headed(body: str, **parts: str) -> list[tuple[tuple[str, ...], str]]:
    return [(block.heading, block.text) for block in read_docx(docx(body, **parts)).done()]


def field(code: str, result: str) -> str:
    def mark(kind: str) -> str:
        return f'<w:r><w:fldChar w:fldCharType="{kind}"/></w:r>'

    return f"{mark('begin')}<w:r><w:instrText>{code}</w:instrText></w:r>{mark('separate')}{result}{mark('end')}"


SUP, SUB = '<w:vertAlign w:val="superscript"/>', '<w:vertAlign w:val="subscript"/>'
BOX = "<w:txbxContent>{}</w:txbxContent>"


@pytest.mark.parametrize(
    ("inside", "text"),
    [
        ("<w:r><w:t>1</w:t><w:noBreakHyphen/><w:t>24 hours</w:t></w:r>", "1-24 hours"),
        ("<w:r><w:t>co</w:t><w:softHyphen/><w:t>operate</w:t><w:tab/><w:t>x</w:t><w:br/><w:t>y</w:t></w:r>", "cooperate\tx\ny"),
        ('<w:r><w:sym w:font="Symbol" w:char="F0B3"/><w:sym w:font="Wingdings" w:char="F0FC"/></w:r>', "≥✓"),
        ('<w:r><w:sym w:font="Nobody\'s" w:char="F041"/><w:sym w:font="Arial" w:char="2192"/></w:r>', "\ufffd→"),
        (r("a\uf0b1", '<w:rFonts w:ascii="Symbol"/>'), "α±"),
        (r("10") + "<!-- a comment -->", "10"),
        (r("10") + r("-", SUP) + r("6", SUP) + r(" H") + r("2", SUB) + r("O"), "10^-6 H₂O"),
        (r("was ") + r("40", "<w:strike/>") + r(" 45", '<w:strike w:val="0"/>'), "was ~~40~~ 45"),
        (f"<w:del>{r('a')}</w:del><w:ins>{r('b')}</w:ins><w:moveFrom>{r('c')}</w:moveFrom><w:moveTo>{r('d')}</w:moveTo>", "bd"),
        (f"<w:ins><w:del>{r('a')}</w:del>{r('b')}</w:ins>", "b"),
        (r("a") + r("b", "<w:vanish/>") + r("c", '<w:vanish w:val="false"/>') + r("d", "<w:webHidden/>"), "acd"),
        (f"<w:hyperlink>{r('a')}</w:hyperlink><w:smartTag>{r('b')}</w:smartTag><w:fldSimple>{r('c')}</w:fldSimple>", "abc"),
        (
            f"<w:sdt><w:sdtPr/><w:sdtContent>{r('a')}<w:sdt><w:sdtContent>{r('b')}</w:sdtContent></w:sdt></w:sdtContent></w:sdt>",
            "ab",
        ),
        (r("see ") + field(" REF x ", r("Table 4")), "see Table 4"),
        (field(" IF " + "</w:instrText></w:r>" + field("MERGEFIELD a", r("inner")) + "<w:r><w:instrText>", r("outer")), "outer"),
        ('<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>x</w:instrText></w:r>', ""),
        (
            '<w:r><w:fldChar w:fldCharType="begin"><w:ffData><w:checkBox><w:checked/></w:checkBox></w:ffData></w:fldChar></w:r>',
            "☒",
        ),
        (f"<w:r><w:ruby><w:rt>{r('とう')}</w:rt><w:rubyBase>{r('塔')}</w:rubyBase></w:ruby></w:r>", "塔(とう)"),
    ],
)
def test_within_a_paragraph(inside: str, text: str) -> None:
    assert [found.strip() for found in said(p(inside) + p("end"))] == [*filter(None, [text]), "end"]


def omml(inside: str) -> str:
    return f"<m:oMath>{inside}</m:oMath>"


def m(text: str) -> str:
    return f"<m:r><m:t>{text}</m:t></m:r>"


@pytest.mark.parametrize(
    ("inside", "text"),
    [
        (m("Q=vA"), "Q=vA"),
        (f"<m:sSup><m:e>{m('x')}</m:e><m:sup>{m('2')}</m:sup></m:sSup>", "x^2"),
        (f"<m:sSubSup><m:e>{m('x')}</m:e><m:sub>{m('i')}</m:sub><m:sup>{m('n+1')}</m:sup></m:sSubSup>", "x_i^(n+1)"),
        (f"<m:f><m:num>{m('a+b')}</m:num><m:den>{m('2')}</m:den></m:f>", "(a+b)/2"),
        (f"<m:rad><m:deg/><m:e>{m('x')}</m:e></m:rad>", "√(x)"),
        (f"<m:rad><m:deg>{m('3')}</m:deg><m:e>{m('x')}</m:e></m:rad>", "root(3, x)"),
        (
            '<m:nary><m:naryPr><m:chr m:val="∑"/></m:naryPr>'
            f"<m:sub>{m('i=1')}</m:sub><m:sup>{m('n')}</m:sup><m:e>{m('i')}</m:e></m:nary>",
            "∑_(i=1)^n(i)",
        ),
        (f'<m:d><m:dPr><m:begChr m:val="["/><m:endChr m:val=")"/></m:dPr><m:e>{m("a")}</m:e><m:e>{m("b")}</m:e></m:d>', "[a|b)"),
        (f"<m:func><m:fName>{m('sin')}</m:fName><m:e>{m('x')}</m:e></m:func>", "sin(x)"),
        (
            f"<m:m><m:mr><m:e>{m('a')}</m:e><m:e>{m('b')}</m:e></m:mr><m:mr><m:e>{m('c')}</m:e><m:e>{m('d')}</m:e></m:mr></m:m>",
            "[a, b; c, d]",
        ),
        (f"<w:del>{m('a')}</w:del><w:ins>{m('b')}</w:ins>", "b"),
    ],
)
def test_equations(inside: str, text: str) -> None:
    assert said(p(r("so "), omml(inside), r(" holds"))) == [f"so {text} holds"]
    assert said(p(f"<m:oMathPara>{omml(inside)}</m:oMathPara>")) == [text]


STYLES = """
<w:style w:type="paragraph" w:default="1" w:styleId="Std"><w:name w:val="Normal"/></w:style>
<w:style w:type="paragraph" w:styleId="berschrift1"><w:name w:val="heading 1"/></w:style>
<w:style w:type="paragraph" w:styleId="Ours"><w:name w:val="Our part"/><w:basedOn w:val="berschrift1"/></w:style>
<w:style w:type="paragraph" w:styleId="Outlined"><w:name w:val="x"/><w:pPr><w:outlineLvl w:val="1"/></w:pPr></w:style>
<w:style w:type="paragraph" w:styleId="Round"><w:name w:val="y"/><w:basedOn w:val="Round"/></w:style>
<w:style w:type="paragraph" w:styleId="HiddenP"><w:name w:val="z"/><w:rPr><w:vanish/></w:rPr></w:style>
<w:style w:type="character" w:styleId="HiddenR"><w:name w:val="h"/><w:rPr><w:vanish/></w:rPr></w:style>
<w:style w:type="character" w:styleId="Heir"><w:name w:val="i"/><w:basedOn w:val="HiddenR"/></w:style>
"""


def style(name: str) -> str:
    return f'<w:pStyle w:val="{name}"/>'


def test_headings_by_style_its_heirs_and_the_outline() -> None:
    body = p("A", props=style("Ours")) + p("B", props=style("Outlined")) + p("one", props=style("Round"))
    body += p("C", props='<w:outlineLvl w:val="0"/>') + p("two") + p("three", props='<w:outlineLvl w:val="9"/>')
    assert headed(body, styles=STYLES) == [(("A", "B"), "one"), (("C",), "two"), (("C",), "three")]


def test_text_hidden_by_a_style() -> None:
    run = '<w:rStyle w:val="Heir"/>'
    body = p("a", r("b", run), r("c", run + '<w:vanish w:val="0"/>')) + p("d", r("e", run), props=style("HiddenP"))
    assert said(body, styles=STYLES) == ["ac", "e"], "two styles that hide undo each other"


def test_a_paragraph_whose_end_is_deleted_or_hidden_runs_on() -> None:
    assert said(p("a ", props="<w:rPr><w:del/></w:rPr>") + p("b") + p("c ", props="<w:rPr><w:vanish/></w:rPr>") + p("d")) == [
        "a b",
        "c d",
    ]
    assert said(p("a", props="<w:rPr><w:del/></w:rPr>")) == ["a"]


def test_blocks_in_content_controls() -> None:
    control = "<w:sdt><w:sdtContent>{}</w:sdtContent></w:sdt>"
    row = f"<w:tr>{tc('a')}{control.format(tc('b'))}{tc(control.format(p('c')))}</w:tr>"
    found = said(control.format(p("x") + control.format(p("y"))) + f"<w:tbl>{row}{control.format(row)}</w:tbl>")
    assert found == ["x", "y", "a | b | c\na | b | c"]


@pytest.mark.parametrize(
    ("rows", "text"),
    [
        ([tc("a") + tc("b", '<w:gridSpan w:val="2"/>') + tc("c")], "a | b |  | c"),
        (
            [tc("a", '<w:vMerge w:val="restart"/>') + tc("b"), tc("", "<w:vMerge/>") + tc("c"), tc("d") + tc("e")],
            "a | b\na | c\nd | e",
        ),
        (['<w:tr><w:trPr><w:gridBefore w:val="1"/></w:trPr>' + tc("b") + "</w:tr>", tc("c") + tc("d")], " | b\nc | d"),
        ([f"<w:tr><w:trPr><w:del/></w:trPr>{tc('x')}{tc('y')}</w:tr>", tc("c") + tc("d")], "c | d"),
        ([f"<w:tr><w:trPr><w:hidden/></w:trPr>{tc('x')}{tc('y')}</w:tr>", tc("c") + tc("d")], "c | d"),
        (
            [tc("North") + tc(p("") + tbl(tc("van") + tc("12"), tc("lorry") + tc("40")) + p("")) + tc("x")],
            "North | van, 12; lorry, 40 | x",
        ),
        ([tc(p("a") + p("b")) + tc("c")], "a b | c"),
        ([tc("") + tc("b") + tc(""), tc("") + tc("") + tc("")], " | b"),
    ],
)
def test_tables_keep_their_columns(rows: list[str], text: str) -> None:
    assert said(tbl(*rows)) == [text]


def test_a_frame_of_one_cell_is_text() -> None:
    body = tbl(tc(p("Note", props=style("berschrift1")) + p("one") + tbl(tc("a") + tc("b"))))
    assert headed(body, styles=STYLES) == [(("Note",), "one"), (("Note",), "a | b")]


def test_text_boxes_are_read_once_and_apart() -> None:
    box = BOX.format(p("in the box") + p("and more"))
    both = f"<w:r><mc:AlternateContent><mc:Choice>{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback></mc:AlternateContent></w:r>"
    old = f"<w:r><w:pict>{box}</w:pict></w:r>"
    for anchored in (both, old):
        assert said(p(r("before "), anchored, r("after"))) == ["before after", "in the box", "and more"]
        assert said(tbl(tc(p(r("cell"), anchored)) + tc("b"))) == ["cell in the box and more | b"]


def test_notes_stand_behind_what_calls_them() -> None:
    notes = f'<w:footnote w:id="2">{p("<w:r><w:footnoteRef/></w:r>", " by post")}</w:footnote>'
    ends = f'<w:endnote w:id="2">{p("see above")}</w:endnote>'
    body = p("24", '<w:r><w:footnoteReference w:id="2"/></w:r>', " hours", '<w:r><w:endnoteReference w:id="2"/></w:r>') + p("end")
    assert said(body, footnotes=notes, endnotes=ends) == ["24[1] hours[2]", "[1] by post", "[2] see above", "end"]


def test_headers_and_footers_once() -> None:
    sections = "".join(f'<w:sectPr><w:{kind}Reference r:id="{kind}"/></w:sectPr>' * 2 for kind in ("header", "footer"))
    body = p("Head", props=style("berschrift1")) + p("text") + sections
    found = headed(body, styles=STYLES, header=p("Draft of May"), footer=p("3") + tbl(tc("Page") + tc("call 555")))
    assert found == [((), "Draft of May"), (("Head",), "text"), ((), "3\nPage, call 555")]


LEVELS = """<w:abstractNum w:abstractNumId="0">
<w:lvl w:ilvl="0"><w:start w:val="1"/><w:numFmt w:val="decimal"/><w:lvlText w:val="%1."/></w:lvl>
<w:lvl w:ilvl="1"><w:start w:val="1"/><w:numFmt w:val="lowerLetter"/><w:lvlText w:val="%1.%2)"/></w:lvl></w:abstractNum>
<w:abstractNum w:abstractNumId="1"><w:lvl w:ilvl="0"><w:numFmt w:val="bullet"/><w:lvlText w:val="\uf0b7"/></w:lvl></w:abstractNum>
<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num><w:num w:numId="2"><w:abstractNumId w:val="1"/></w:num>
<w:num w:numId="3"><w:abstractNumId w:val="0"/><w:lvlOverride w:ilvl="0"><w:startOverride w:val="7"/></w:lvlOverride></w:num>"""


def test_lists_have_their_numbers() -> None:
    def item(text: str, num: int, level: int = 0) -> str:
        return p(text, props=f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="{num}"/></w:numPr>')

    body = (
        item("a", 1)
        + item("b", 1, 1)
        + item("c", 1, 1)
        + item("d", 1)
        + item("e", 1, 1)
        + item("f", 2)
        + item("g", 3)
        + item("h", 3)
    )
    found = said(body + item("i", 9) + item("j", 0), numbering=LEVELS)
    assert found == ["1. a", "1.a) b", "1.b) c", "2. d", "2.a) e", "- f", "7. g", "8. h", "- i", "j"]


def test_the_strict_edition_is_read_too() -> None:
    assert [block.text for block in read_docx(docx(p("a") + tbl(tc("b") + tc("c")), strict=True)).done()] == ["a", "b | c"]


def test_what_is_no_word_document_is_refused() -> None:
    with pytest.raises(DataError, match="password"):
        read_docx(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600)
