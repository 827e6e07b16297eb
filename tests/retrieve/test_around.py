"""Hits with what stands around them: the same section alone, nothing twice, and rows of a table under its head."""

from __future__ import annotations

from pathlib import Path

import pytest

from rung.retrieve.around import widened
from rung.retrieve.chunk import chunk
from rung.retrieve.parse import parse
from rung.retrieve.passage import Passage
from rung.retrieve.search import Hit
from rung.retrieve.sqlite import Sqlite
from rung.retrieve.store import Change, IndexConfig, Store

PARTS = [Passage(f"p{i}", "long.md", ("Long",), f"part {i}", first_line=i + 1, last_line=i + 1) for i in range(6)]
OTHER = Passage("q0", "long.md", ("Next",), "another section", first_line=9, last_line=9)


def stored(folder: Path, *passages: Passage) -> Store:
    store = Sqlite(folder / "index")
    paths = dict.fromkeys(one.path for one in passages)
    store.apply([Change(path, "x", tuple(one for one in passages if one.path == path)) for path in paths], IndexConfig())
    return store


def hits(*passages: Passage) -> list[Hit]:
    return [Hit(one, 1.0 / rank) for rank, one in enumerate(passages, 1)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return stored(tmp_path, *PARTS, OTHER)


def test_neighbours_of_the_same_section_are_joined(store: Store) -> None:
    [one] = widened(store, hits(PARTS[2]), 1)
    assert one.passage.text == "part 1\n\npart 2\n\npart 3"
    assert (one.passage.id, one.passage.first_line, one.passage.last_line, one.score) == ("p2", 2, 4, 1.0)
    [last] = widened(store, hits(PARTS[5]), 2)
    assert last.passage.text == "part 3\n\npart 4\n\npart 5", "the next section is not joined"
    assert widened(store, hits(OTHER), 3)[0].passage == OTHER


def test_nothing_is_shown_twice(store: Store) -> None:
    first, second = widened(store, hits(PARTS[1], PARTS[2], PARTS[4]), 1)
    assert first.passage.text == "part 0\n\npart 1\n\npart 2"
    assert second.passage.text == "part 3\n\npart 4\n\npart 5"


def test_a_hit_that_is_gone_stays_as_it_was(store: Store) -> None:
    gone = Passage("gone", "long.md", ("Long",), "old text")
    assert widened(store, hits(gone), 1)[0].passage == gone
    assert widened(store, hits(Passage("x", "no.md", (), "text")), 1)[0].passage.text == "text"


def test_joined_passages_are_the_document_again(tmp_path: Path) -> None:
    sentences = [f"Sentence number {i} says something of its own about the matter." for i in range(40)]
    (tmp_path / "a.md").write_text("# Title\n\n" + " ".join(sentences) + "\n")
    passages = chunk(parse(tmp_path / "a.md", tmp_path), lambda text: len(text.split()), 60, 15)
    assert len(passages) > 4
    [whole] = widened(stored(tmp_path, *passages), hits(passages[2]), 99)
    assert whole.passage.text == " ".join(sentences)


def test_rows_of_a_table_get_its_head(tmp_path: Path) -> None:
    rows = [f"| part {i} | {i} years |" for i in range(30)]
    (tmp_path / "a.md").write_text("# Title\n\nWarranty:\n\n| name | warranty |\n| --- | --- |\n" + "\n".join(rows) + "\n")
    passages = chunk(parse(tmp_path / "a.md", tmp_path), lambda text: len(text.split()), 60, 0)
    late = next(one for one in passages if "part 20 " in one.text)
    assert "warranty" not in late.text
    for each in (0, 1):
        [found] = widened(stored(tmp_path / str(each), *passages), hits(late), each)
        assert found.passage.text.startswith("| name | warranty |\n| --- | --- |\n| part ")
        assert found.passage.text.count("warranty") == 1
    [start] = widened(stored(tmp_path / "start", *passages), hits(next(one for one in passages if "name" in one.text)), 0)
    assert start.passage.text.count("| name | warranty |") == 1
