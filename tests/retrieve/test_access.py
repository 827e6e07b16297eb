"""Labels told from paths: the last pattern that covers one holds, and a pattern that covers nothing is never passed over."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.errors import DataError
from rung.retrieve.access import label, unmatched
from rung.retrieve.knowledge import documents, open_to_all
from rung.types import Example

STEPS = st.lists(st.text("ab.-[é", min_size=1, max_size=4).filter(lambda step: set(step) != {"."}), min_size=1, max_size=4)


@pytest.mark.parametrize(
    ("pattern", "covered", "open_"),
    [
        ("docs/internal/**", "docs/internal/a.md docs/internal/b/c.md", "docs/internal.md docs/internals/a.md internal/a.md"),
        ("docs/internal", "docs/internal/a.md docs/internal/b/c.md", "docs/internal.md other/docs/internal/a.md"),
        ("./docs/internal/", "docs/internal/a.md", "docs/a.md"),
        ("hr/*.md", "hr/pay.md", "hr/old/pay.md hr/pay.txt"),
        ("docs/**/*.md", "docs/a.md docs/b/c/a.md", "docs/a.txt a.md"),
        ("**/secret.md", "secret.md docs/secret.md", "docs/secret.md.txt docs/nosecret.md"),
        ("docs/*", "docs/a.md docs/b/a.md", "doc/a.md"),
        ("docs/?.md", "docs/a.md", "docs/ab.md"),
        ("docs/[id].md", "docs/[id].md", "docs/i.md"),
        (".", "a.md docs/b.md ../c.md", ""),
        ("../shared/**", "../shared/a.md", "shared/a.md"),
        ("docs/über.md", "docs/u\u0308ber.md docs/über.md", "docs/uber.md"),
    ],
)
def test_what_a_pattern_covers(pattern: str, covered: str, open_: str) -> None:
    rules = ((pattern, "staff"),)
    assert {path: label(rules, path) for path in covered.split()} == dict.fromkeys(covered.split(), "staff")
    assert {path: label(rules, path) for path in open_.split()} == dict.fromkeys(open_.split(), "")


def test_the_last_pattern_holds_and_an_empty_label_opens_again() -> None:
    rules = (("docs", "staff"), ("docs/hr", "hr"), ("docs/hr/holidays.md", ""))
    assert [label(rules, f"docs/{name}") for name in ("a.md", "hr/pay.md", "hr/holidays.md")] == ["staff", "hr", ""]
    assert label(rules[::-1], "docs/hr/holidays.md") == "staff"
    assert label((), "docs/a.md") == "" and unmatched(rules, ["docs/a.md"]) == ["docs/hr", "docs/hr/holidays.md"]


@given(STEPS, st.integers(0, 3))
def test_a_path_is_covered_by_itself_and_by_every_folder_above(steps: list[str], depth: int) -> None:
    path = "/".join(steps)
    above = "/".join(steps[: 1 + depth % len(steps)])
    for pattern in (path, above, f"{above}/", "**", "**/" + steps[-1]):
        assert label(((pattern, "staff"),), path) == "staff", pattern
    assert label(((path + "x", "staff"),), path) == ""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path in ("open.md", "hr/pay.md"):
        (tmp_path / "docs" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "docs" / path).write_text(f"# {path}\n\nWhat stands in {path}.\n")
    return tmp_path


def test_a_pattern_that_covers_nothing_is_an_error(folder: Path) -> None:
    with pytest.raises(DataError, match=r"data.access: 'docs/rh/\*\*' matches no document.*such as docs/hr/pay\.md"):
        documents(folder, ("docs/",), (("docs/hr/**", "hr"), ("docs/rh/**", "hr")))


def test_a_label_is_part_of_what_the_documents_are_called(folder: Path) -> None:
    names = {rules: documents(folder, ("docs/",), rules).digest for rules in ((), (("docs/hr", "hr"),), (("docs", "hr"),))}
    assert len(set(names.values())) == 3
    assert documents(folder, ("docs/",), (("docs/hr", ""),)).digest == names[()]


def test_rows_of_closed_documents_are_not_learnt_from(folder: Path) -> None:
    sources = ("", "docs/open.md", "open.md#x", "docs/hr/pay.md", "hr/pay.md#Pay", "pay.md", "./docs/hr/pay.md", "y.md")
    rows = tuple(Example(f"q{i}", "a", source=source) for i, source in enumerate(sources))
    texts = documents(folder, ("docs/",), (("docs/hr", "hr"),))
    assert [row.source for row in open_to_all(rows, texts)] == ["", "docs/open.md", "open.md#x"]
    assert open_to_all(rows, documents(folder, ("docs/",))) == rows
