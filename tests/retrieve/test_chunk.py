"""Cutting documents: nothing lost, nothing too long, true lines, names that only their own section changes."""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.retrieve.chunk import CHARACTERS_PER_TOKEN, CountTokens, chunk
from rung.retrieve.formats.markdown import read_markdown
from rung.retrieve.formats.plain import read_text_file
from rung.retrieve.parse import listing, parse
from rung.retrieve.passage import Block, Document, Passage, embedded_text

ROOT = Path(__file__).parents[2]
AXOLOTL = ROOT.parent / "shared" / "data" / "docs_axolotl"


def words(text: str) -> int:
    return len(text.split())


def marks(text: str) -> int:
    """As many tokenizers count: words, punctuation and line breaks."""
    return len(re.findall(r"\w+|[^\w\s]|\n+", text))


def markdown(text: str, path: str = "a.md") -> Document:
    return Document(path, "", read_markdown(text).done())


WORD = st.text("abcdefgh", min_size=1, max_size=8)
SENTENCE = st.lists(WORD, min_size=1, max_size=12).map(lambda found: " ".join(found) + ".")
TEXT = st.one_of(
    st.lists(SENTENCE, min_size=1, max_size=8).map(" ".join),
    st.lists(SENTENCE, min_size=1, max_size=12).map("\n".join),
    st.text("ab 。c\n、?!:退货政策", min_size=1, max_size=200).filter(lambda text: bool(text.strip())),
)
HEADING = st.lists(st.sampled_from(["A", "B", "A longer heading of words"]), max_size=3).map(tuple)
BLOCK = st.builds(Block, TEXT, HEADING, kind=st.sampled_from(["text", "table", "code"]), page=st.sampled_from([0, 0, 0, 1, 2]))
DOCUMENT = st.lists(BLOCK, max_size=12).map(lambda found: Document("a.md", "", tuple(found)))
SIZE = st.integers(4, 60)


@given(DOCUMENT, SIZE, st.integers(0, 20), st.sampled_from([words, marks, len]))
@settings(deadline=None)
def test_nothing_is_lost_and_the_order_is_kept(document: Document, size: int, overlap: int, count: CountTokens) -> None:
    """Every passage but for what it repeats, put together, is the text of the blocks, character by character."""
    wanted = "".join("".join(block.text.split()) for block in document.blocks)
    read = {0}  # how far it may have come: where words repeat, there is more than one way to put them together
    for passage in chunk(document, count, size, overlap):
        new = "".join(passage.text.split())
        ends = {(at, at - repeated + len(new)) for at in read for repeated in range(min(at, len(new) - 1) + 1)}
        read = {end for at, end in ends if end > at and wanted[end - len(new) : end] == new}
    assert len(wanted) in read


@given(DOCUMENT, SIZE, st.integers(0, 20), st.sampled_from([words, marks, len]))
@settings(deadline=None)
def test_no_passage_is_over_the_size(document: Document, size: int, overlap: int, count: CountTokens) -> None:
    for passage in chunk(document, count, size, overlap):
        heading = count(" > ".join(passage.heading) + "\n") if passage.heading else 0
        assert max(count(passage.text), len(passage.text) // CHARACTERS_PER_TOKEN) <= max(size - heading, size // 2)


@given(DOCUMENT, SIZE, st.integers(0, 20))
@settings(deadline=None)
def test_passages_stay_within_a_heading_and_a_page(document: Document, size: int, overlap: int) -> None:
    """So an overlap does too: a section cut alone gives the same passages."""
    whole = [(p.heading, p.page, p.text) for p in chunk(document, words, size, overlap)]
    parts = []
    for _, group in groupby(document.blocks, key=lambda block: (block.heading, block.page)):
        alone = Document("a.md", "", tuple(group))
        parts += [(p.heading, p.page, p.text) for p in chunk(alone, words, size, overlap)]
    assert whole == parts


@given(DOCUMENT, SIZE)
@settings(deadline=None)
def test_names_are_unique_and_the_same_each_time(document: Document, size: int) -> None:
    names = [passage.id for passage in chunk(document, words, size)]
    assert names == [passage.id for passage in chunk(document, words, size)]
    assert len(set(names)) == len(names)


@given(st.lists(TEXT, min_size=2, max_size=6), st.integers(0, 5), TEXT)
@settings(deadline=None)
def test_an_edit_renames_only_its_own_section(texts: list[str], at: int, new: str) -> None:
    def cut(texts: list[str]) -> dict[str, list[str]]:
        found = chunk(Document("a.md", "", tuple(Block(text, (f"H{i}",)) for i, text in enumerate(texts))), words, 10, 3)
        return {head: [p.id for p in group] for head, group in groupby(found, key=lambda p: p.heading[0])}

    at %= len(texts)
    before, after = cut(texts), cut([*texts[:at], new, *texts[at + 1 :]])
    assert {head: ids for head, ids in before.items() if head != f"H{at}"} == {
        head: ids for head, ids in after.items() if head != f"H{at}"
    }


@given(st.lists(st.one_of(TEXT, st.sampled_from(["", "# A", "## B", "- item one", "```\ncode\n```"])), max_size=12), SIZE)
@settings(deadline=None)
def test_the_cited_lines_hold_the_text(parts: list[str], size: int) -> None:
    source = "\n\n".join(parts)
    lines = source.split("\n")
    for read in (read_markdown, read_text_file):
        for passage in chunk(Document("a.md", "", read(source).done()), words, size, 5):
            assert in_order(passage.text, "\n".join(lines[passage.first_line - 1 : passage.last_line]))


def in_order(text: str, cited: str) -> bool:
    """Whether the lines of the text stand in what is cited, one after the other; headings may stand between."""
    cited, at = "".join(cited.split()), 0
    for line in text.split("\n"):
        line = "".join(line.split())
        at = cited.find(line, at) + len(line)
        if at < len(line):
            return False
    return True


# Cases


def texts(passages: list[Passage]) -> list[str]:
    return [passage.text for passage in passages]


def test_small_blocks_under_one_heading_are_put_together() -> None:
    found = chunk(markdown("# A\n\none two\n\nthree\n\n# B\n\nfour\n"), words, 20)
    assert [(p.heading, p.text, p.first_line, p.last_line) for p in found] == [
        (("A",), "one two\n\nthree", 3, 5),
        (("B",), "four", 9, 9),
    ]


def test_a_table_is_kept_whole_where_it_fits_and_cut_at_rows_where_not() -> None:
    table = "| a | b |\n|---|---|\n" + "".join(f"| row{i} | x |\n" for i in range(10))
    document = markdown(f"intro words here\n\n{table}")
    assert texts(chunk(document, words, 57)) == ["intro words here", table.strip()]
    cut = chunk(document, words, 20, overlap=0)
    assert len(cut) > 2
    assert all(re.fullmatch(r"\|.*\|", line) for p in cut for line in p.text.split("\n") if "intro" not in line and line)
    assert [(p.first_line, p.last_line) for p in cut] == [(1, 6), (7, 10), (11, 14)]


def test_rows_of_a_table_file_are_passages_of_their_own() -> None:
    rows = tuple(Block(f"q: {i}", (), i, i, kind="table") for i in range(1, 4))
    assert texts(chunk(Document("a.csv", "", rows), words)) == ["q: 1", "q: 2", "q: 3"]


def test_whole_sentences_are_repeated() -> None:
    text = "One is here. Two is here. Three is here. Four is here. Five is here. Six is here."
    assert texts(chunk(markdown(text), words, 9, overlap=3)) == [
        "One is here. Two is here.",
        "Two is here. Three is here. Four is here.",
        "Four is here. Five is here. Six is here.",
    ]


def test_a_question_stands_with_its_answer() -> None:
    text = "**Q: first?**\n\n> A: some words that answer it\n\n**Q: second?**\n\n> A: and more words for that\n"
    found = texts(chunk(markdown(text), words, 14, overlap=0))
    assert found == ["**Q: first?**\n\n> A: some words that answer it", "**Q: second?**\n\n> A: and more words for that"]


def test_the_headings_count_in_the_size() -> None:
    heading = "# " + " ".join(f"h{i}" for i in range(10))
    for passage in chunk(markdown(f"{heading}\n\n" + "word " * 50), words, 30, 0):
        assert words(embedded_text(passage).replace(" > ", " ")) <= 30


def test_a_word_without_end_is_cut_although_it_is_one_token() -> None:
    found = chunk(markdown("x" * 50_000), lambda text: len(text.split()), 200)
    assert max(len(p.text) for p in found) < (200 + 1) * CHARACTERS_PER_TOKEN
    assert sum(len(p.text) for p in found) == 50_000


def test_equal_passages_have_different_names() -> None:
    blocks = tuple(Block("same", ("H",), page=page) for page in (1, 2))
    assert len({p.id for p in chunk(Document("a.pdf", "", blocks), words)}) == 2


def test_where() -> None:
    passage = Passage("x", "docs/returns.md", ("Returns", "Refunds"), "", 10, 24)
    assert passage.where == "docs/returns.md, Returns > Refunds, lines 10-24"
    assert Passage("x", "a.md", (), "", 3, 3).where == "a.md, line 3"
    assert Passage("x", "a.pdf", (), "", page=3).where == "a.pdf, page 3"
    assert Passage("x", "a.docx", ("H",), "").where == "a.docx, H"
    assert embedded_text(Passage("x", "a.md", ("A", "B"), "text")) == "A > B\ntext"


def test_the_access_label_is_passed_on() -> None:
    assert chunk(Document("a.md", "", (Block("x", ()),), "staff"), words)[0].access == "staff"


@pytest.mark.parametrize("root", [AXOLOTL / "v0.8.0", AXOLOTL / "v0.18.0", ROOT / "examples" / "tickets" / "docs"], ids=str)
def test_real_documents(root: Path) -> None:
    if not root.is_dir():
        pytest.skip("the public documents are not there")
    for path in listing(root).files:
        document = parse(path, root)
        assert isinstance(document, Document)
        lines = path.read_text(encoding="utf-8").split("\n")
        passages = chunk(document, marks, 200, 30)
        assert passages
        for passage in passages:
            assert marks(passage.text) <= 200
            cited = "\n".join(lines[passage.first_line - 1 : passage.last_line])
            assert in_order(passage.text, cited) or "<" in cited  # tags are left out
