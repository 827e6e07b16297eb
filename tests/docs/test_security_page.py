"""docs/security.md names tests; each of them exists, and each part says what is not promised."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)
PARTS = re.split(r"^## ", TEXT, flags=re.MULTILINE)[1:]


@pytest.mark.parametrize(("file", "test"), NAMED, ids=lambda value: value)
def test_each_test_that_holds_a_promise_exists(file: str, test: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_part_has_tests_and_limits() -> None:
    assert len(PARTS) == 15
    for part in PARTS:
        assert "::test_" in part and "*Not promised*" in part, part.split("\n")[0]


def test_the_short_page_leads_to_the_long_one() -> None:
    assert "docs/security.md" in (ROOT / "SECURITY.md").read_text(encoding="utf-8")
