"""Patterns of documents: what they match, and a limit on the entries scanned."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from rung.errors import DataError
from rung.retrieve import glob
from rung.retrieve.glob import bounded, matching
from rung.retrieve.parse import listing

PATTERNS = (
    "**/*.md",
    "*",
    "a*/**/*.md",
    "**/b/*.md",
    "a/**/c/**/*.md",
    "**",
    "a/b/x.md",
    "[ax]*",
    "a/./b/*.md",
    "a/b/../*.md",
    "no/*",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a/b/c/x.md", "a/b/x.md", "a/y.md", "x.md", "x.txt", "a/b/c/d/e/z.md", "[odd]/o.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    return tmp_path


@pytest.mark.parametrize("pattern", PATTERNS)
def test_it_names_what_pathlib_names(folder: Path, pattern: str) -> None:
    assert matching(folder, pattern) == sorted(set(folder.glob(pattern)))


def test_many_stars_take_no_time(folder: Path) -> None:
    deep = folder
    for i in range(40):
        deep = deep / f"d{i}"
        deep.mkdir()
    (deep / "end.md").write_text("x")
    start = time.process_time()
    assert folder / "a/y.md" in matching(folder, "**/**/**/**/**/*.md")
    assert deep / "end.md" in matching(folder, "**/d3/**/d9/**/d20/**/*.md")
    assert time.process_time() - start < 1


def test_a_pattern_that_leads_through_too_much_is_an_error(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glob, "MAX_ENTRIES", 5)
    with pytest.raises(DataError, match=r"'\*\*/\*.md' contains more than 5"):
        listing(folder, ("**/*.md",))
    with pytest.raises(DataError, match="'a' contains more than 5"):
        listing(folder, ("a",))
    assert list(bounded([(folder, ["a"], ["b"])], "few"))
