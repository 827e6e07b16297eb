"""The documentation site builds strictly, as `make docs` builds it, and what is broken in it fails."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

commands = pytest.importorskip("mkdocs.commands.build")
config = pytest.importorskip("mkdocs.config")
exceptions = pytest.importorskip("mkdocs.exceptions")

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Iterator[Path]:
    shutil.copytree(ROOT / "docs", tmp_path / "docs", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    yield tmp_path
    logging.getLogger("mkdocs").handlers.clear()  # a build adds a counter of its own


def build(folder: Path) -> Path:
    commands.build(config.load_config(str(folder / "mkdocs.yml")))
    return folder / "build" / "site"


def test_the_site_builds_and_loads_nothing_from_elsewhere(copy: Path) -> None:
    site = build(copy)
    page = (site / "index.html").read_text(encoding="utf-8")
    assert "How rung works" in page and (site / "methods" / "lora" / "index.html").exists()
    assert 'src="http' not in page and '<link href="http' not in page


@pytest.mark.parametrize("fault", ["[gone](gone.md)", "[gone](task.md#no-such-heading)"])
def test_a_broken_link_fails(copy: Path, fault: str) -> None:
    with (copy / "docs" / "glossary.md").open("a", encoding="utf-8") as file:
        file.write(f"\n{fault}\n")
    with pytest.raises(exceptions.Abort, match="strict mode"):
        build(copy)


def test_a_page_without_a_place_in_the_menu_fails(copy: Path) -> None:
    (copy / "docs" / "orphan.md").write_text("# Orphan\n", encoding="utf-8")
    with pytest.raises(exceptions.Abort, match="strict mode"):
        build(copy)
