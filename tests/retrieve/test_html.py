"""HTML: what a reader of the page sees is what is indexed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.retrieve.formats.html import read_html
from rung.retrieve.formats.readers import read


def said(page: str) -> list[str]:
    return [block.text for block in read_html(page).done()]


def headed(page: str) -> list[tuple[tuple[str, ...], str]]:
    return [(block.heading, block.text) for block in read_html(page).done()]


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("10<sup>6</sup> m<sup>2</sup>", "10^6 m^2"),
        ("10<sup>−6</sup>", "10^−6"),
        ("e<sup>i n</sup>", "e^(i n)"),
        ("2<sup>2<sup>3</sup></sup>", "2^(2^3)"),
        ("H<sub>2</sub>O, x<sub>max</sub>", "H₂O, x_max"),
        ("the 1<sup>st</sup> of Acme<sup>®</sup>", "the 1st of Acme®"),
        ("shown<sup>[3]</sup>", "shown[3]"),
        ("<sup>1</sup> a note", "1 a note"),
        ("10<sup>6", "106"),  # never closed: a browser raises all that follows
        ("was <del>40</del> 45", "was ~~40~~ 45"),
        ("<ruby>塔<rp>(</rp><rt>とう</rt><rp>)</rp></ruby>", "塔(とう)"),
        ("<ruby>塔<rt>とう</rt></ruby>", "塔(とう)"),
        ("a <q>word</q>", 'a "word"'),
        (
            "<math><msup><mi>x</mi><mn>2</mn></msup><mo>=</mo><mfrac><mn>1</mn><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow></mfrac></math>",
            "x^2=1/(a+b)",
        ),
        ("<math><semantics><mi>x</mi><annotation>x in TeX</annotation></semantics></math> y", "x y"),
    ],
)
def test_within_a_line(page: str, text: str) -> None:
    assert said(f"<p>{page}</p>") == [text]


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>a</p><p hidden>b</p><p>c</p>", "a c"),
        ("<p>a<p hidden>b<p>c", "a c"),
        ("<ul><li>a<li hidden>b<ul><li>b</ul><li>c</ul>d", "- a\n- c d"),
        ("<div style='color: red; Display : NONE'>b<div>b</div></div>a", "a"),
        ("<span style='visibility:hidden'>b</span>a<br hidden>c", "a\nc"),
        ("<img hidden>a<input type=hidden value=b>", "a"),
        ("<div hidden>never closed <p>b", ""),
        ("<dialog>b</dialog><dialog open>a</dialog>", "a"),
        ("<details><summary>a</summary>c</details>", "a c"),
        ("<template><p>b</p></template><noscript>b</noscript>a", "a"),
        ("<p hidden=until-found>a</p>", "a"),
        ("a<table><tr><td>x<td hidden>y<td>z</table>", "a x | z"),
    ],
)
def test_hidden_parts_are_left_out(page: str, text: str) -> None:
    assert " ".join(said(page)) == text


@pytest.mark.parametrize("tag", ["nav", "button", "select", "svg", "aside", "header"])
def test_what_is_never_closed_is_shown(tag: str) -> None:
    page = f"<main><p>before</p></main><{tag}><p>within</p><h1>Head</h1><p>after</p>"
    assert " ".join(text for text in said(page) if text != "Head") == "before within after"


def test_buttons_that_open_a_part_of_the_page_are_read() -> None:
    assert said("<pre>x = 1</pre><button>Copy</button>") == ["x = 1"]
    assert headed("<h3><button>Costs?</button></h3><div>none</div>") == [(("Costs?",), "none")]
    assert said("<button aria-expanded=false>Costs?</button><div>none</div>") == ["Costs?", "none"]


CHROME = "<header><h1>Shop</h1><a>Home</a></header><aside>ads</aside>"


def test_with_a_main_part_the_site_around_it_is_left_out_and_no_other_text() -> None:
    page = (
        f"<title>T</title>{CHROME}<p>before</p><main><header><h2>A</h2></header><p>words</p></main><p>after</p><footer>c</footer>"
    )
    assert headed(page) == [(("T",), "before"), (("T", "A"), "words"), (("T", "A"), "after")]


def test_several_main_parts() -> None:
    assert headed("<main><h1>A</h1>one</main><main><h1>B</h1>two</main>") == [(("A",), "one"), (("B",), "two")]
    page = "<div role=main>one</div><article><header><h1>B</h1></header>two</article><div role=contentinfo>c</div>"
    assert headed(page) == [((), "one"), (("B",), "two")]


def test_a_main_part_that_is_empty_hides_nothing() -> None:
    assert said("<header>a</header><main></main><footer>b</footer>") == ["a", "b"]


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<tr><td>a<td>b<tr><td>c", "a | b\nc"),
        ("<tr><td colspan=2>a<td>b<tr><td>c<td>d<td>e", "a |  | b\nc | d | e"),
        ("<tr><td rowspan=2>a<td>b<tr><td>c<tr><td>d<td>e", "a | b\na | c\nd | e"),
        ("<tr><td>a<td rowspan=2 colspan=2>b<td>c<tr><td>d<td>e", "a | b |  | c\nd | b |  | e"),
        ("<tr><td><td>b<tr><td>c<td><td>e", " | b\nc |  | e"),
        ("<tr><td>North<td><table><tr><td>van<td>12<tr><td>lorry<td>40</table><td>x", "North | van, 12; lorry, 40 | x"),
        ("<caption>Fees</caption><tr><th>a<th>b", "Fees\na | b"),
        ("<tr><td>a<p>b<ul><li>c</ul><td>d", "a b - c | d"),
        ("<tr><td colspan=99999999999>a<td rowspan=x>b", "a"),
    ],
)
def test_tables_keep_their_columns(page: str, text: str) -> None:
    found = said(f"<table>{page}</table>")[0]
    assert found.startswith(text) if "99999" in page else found == text


def test_a_page_laid_out_in_a_table() -> None:
    page = "<table><tr><td>menu</td><td><h1>A</h1><p>one</p><table><tr><td>x<td>y</table><pre>p\n  q</pre></td></tr></table><p>z"
    assert headed(page) == [((), "menu"), (("A",), "one"), (("A",), "x | y"), (("A",), "p\n  q"), (("A",), "z")]


def test_lists_have_their_numbers() -> None:
    assert said("<ol start=3><li>a<li><p>b</p><ul><li>c</ul><li value=9>d</ol>") == ["3. a\n4. b\n- c\n9. d"]
    assert said("<ol type=a reversed start=2><li>x<li>y</ol>") == ["b. x\na. y"]


@pytest.mark.parametrize(
    ("charset", "codec", "text"),
    [("iso-8859-1", "cp1252", "für 5 €"), ("gb2312", "gb18030", "开窑前请冷却"), ("Shift_JIS", "cp932", "窯を冷ます")],
)
def test_the_encoding_that_a_page_names_is_taken(charset: str, codec: str, text: str) -> None:
    page = f'<meta http-equiv="Content-Type" content="text/html; charset={charset}"><p>{text}</p>'
    assert [block.text for block in read(".html", page.encode(codec)).done()] == [text]


TAGS = (
    "p",
    "div",
    "table",
    "tr",
    "td",
    "ul",
    "ol",
    "li",
    "sup",
    "sub",
    "main",
    "nav",
    "h1",
    "pre",
    "q",
    "math",
    "msup",
    "mi",
    "select",
)


def pieces() -> st.SearchStrategy[list[str]]:
    tags = [f"<{tag}>" for tag in TAGS] + [f"</{tag}>" for tag in TAGS] + ["<td rowspan=3 colspan=2>", "<p hidden>"]
    return st.lists(st.one_of(st.sampled_from(tags), st.just("word ")))


@given(pieces())
def test_no_word_is_lost_that_a_browser_may_show(pieces: list[str]) -> None:
    found = " ".join(" ".join((*block.heading, block.text)) for block in read_html("".join(pieces)).done())
    if not {"<nav>", "<select>", "<p hidden>"} & set(pieces):
        assert found.count("word") >= min(pieces.count("word "), 3)
