"""A method declares all that others ask of it: nothing probes for an attribute that may be missing."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from rung.methods import METHODS
from rung.methods.base import Method

SRC = Path(__file__).parents[2] / "src" / "rung"
PLACES = [path for name in ("methods", "climb", "plan", "tune", "advise", "cli") for path in (SRC / name).rglob("*.py")]


def probes(text: str) -> list[int]:
    """Lines that ask a method, by its usual names, for an attribute with `hasattr` or a default; `name` alone has no default."""
    calls = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return [
        call.lineno
        for call in calls
        if (call.func.id == "hasattr" or (call.func.id == "getattr" and len(call.args) == 3))  # type: ignore[attr-defined]
        and ast.unparse(call.args[0]).split(".")[-1].split("[")[0] in ("method", "one", "chain", "methods", "METHODS")
        and ast.unparse(call.args[1]) != "'name'"
    ]


@pytest.mark.parametrize("path", PLACES, ids=lambda path: path.relative_to(SRC).as_posix())
def test_no_method_is_probed(path: Path) -> None:
    assert probes(path.read_text(encoding="utf-8")) == []


def test_a_probe_is_found() -> None:
    text = "getattr(method, 'teacher', '')\nhasattr(chain[0], 'patience')\ngetattr(method, option)\ngetattr(os, 'O_NONBLOCK', 0)"
    assert probes(text) == [1, 2]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_inherits_the_declarations(name: str) -> None:
    assert isinstance(METHODS[name], Method)
