"""Numbers that stand apart in a document stay apart in its text: raised ones, cells of a table, words beside tags."""

from __future__ import annotations

import pytest

from rung.retrieve.formats.isolated import blocks_of


def said(ending: str, text: str) -> list[str]:
    return [block.text for block in blocks_of(ending, text.encode())]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        (r"10{\super 6} m", "10^6 m"),
        (r"10{\rtlch\f1 \super\ltrch -6}", "10^-6"),
        (r"10\super 6\nosupersub  m", "10^6 m"),
        (r"x{\super n+1}", "x^(n+1)"),
        (r"CO{\sub 2}", "CO₂"),
        (r"on the 1{\super st}", "on the 1st"),
        (r"{\superfluous 6}", "6"),
    ],
)
def test_raised_text_of_rtf_is_apart_from_what_it_stands_at(source: str, text: str) -> None:
    pytest.importorskip("striprtf")
    assert said(".rtf", rf"{{\rtf1\ansi {source}\par}}") == [text]


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<details><summary>Limit 1</summary>0 days</details>", "Limit 1 0 days"),
        ("<ul><li>5</li><li>10</li></ul>", "5 10"),
        ("<p>5<br>6 a<b>b</b>c</p>", "5 6 abc"),
        ("<div>\n\n</div>", ""),
    ],
)
def test_tags_in_markdown_that_begin_a_line_part_words(source: str, text: str) -> None:
    assert "".join(said(".md", source)) == text


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("<Tabs><Tab title='Plan 1'>0 EUR</Tab></Tabs>", "Plan 1: 0 EUR"),
        ("<Step>Wait 5</Step><Step>10 min</Step>", "Wait 5 10 min"),
        ("5<Br/>6", "5 6"),
        ("press <Kbd>Ctrl</Kbd>, then", "press Ctrl, then"),
        ("see<Link title='x'/>", "see x"),
    ],
)
def test_components_of_mdx_part_words(source: str, text: str) -> None:
    assert said(".mdx", source) == [text]


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("sep=;\nname;price\nA;1,5\n", [("name: A\nprice: 1,5", 3)]),
        ("name, first;price\nA;1,5\nB;2,5\n", [("name, first: A\nprice: 1,5", 2), ("name, first: B\nprice: 2,5", 3)]),
        ("a|b\n1|2\n", [("a: 1\nb: 2", 2)]),
        ("a,b\n1,2\n", [("a: 1\nb: 2", 2)]),
    ],
)
def test_a_table_of_knowledge_has_the_separator_of_a_table_of_rows(source: str, lines: list[tuple[str, int]]) -> None:
    assert [(block.text, block.first_line) for block in blocks_of(".csv", source.encode())] == lines


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("Click <Button label='Save'/>, then", "Click Save, then"),
        ("(<Kbd label='Ctrl'/>)", "(Ctrl)"),
        ("<Tab title='Plan 1:'>x</Tab>", "Plan 1: x"),
        ("<Card title='What?'>Text</Card>", "What? Text"),
    ],
)
def test_punctuation_around_components_of_mdx_stays(source: str, words: str) -> None:
    assert said(".mdx", source) == [words]
