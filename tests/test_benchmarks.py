"""Benchmarks are run seldom: that the names of rung that they use exist is checked here."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType

import pytest

FILES = sorted((Path(__file__).parents[1] / "benchmarks").glob("*.py"))


def resolved(module: str, name: str) -> object:
    """What `from module import name` gives. AttributeError if there is none."""
    found = importlib.import_module(module)
    if not hasattr(found, name):
        try:
            return importlib.import_module(f"{module}.{name}")
        except ModuleNotFoundError:
            raise AttributeError(f"{module} has no {name!r}") from None
    return getattr(found, name)


def missing(code: str) -> list[str]:
    """Names of rung in a program that do not exist: imported ones, and attributes of imported modules."""
    nodes = list(ast.walk(ast.parse(code)))
    out: list[str] = []
    modules: dict[str, ModuleType] = {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rung":
            for alias in node.names:
                try:
                    value = resolved(str(node.module), alias.name)
                except (AttributeError, ModuleNotFoundError) as error:
                    out.append(str(error))
                    continue
                if isinstance(value, ModuleType):
                    modules[alias.asname or alias.name] = value
    stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in nodes:
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id not in stored:
            module = modules.get(node.value.id)
            if module is not None and not hasattr(module, node.attr):
                out.append(f"{module.__name__} has no {node.attr!r}")
    return out


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_benchmark_uses_names_that_exist(path: Path) -> None:
    assert missing(path.read_text(encoding="utf-8")) == []


def test_a_name_that_is_gone_is_found() -> None:
    assert missing("from rung.retrieve import orders\norders.found('x')") == []
    assert missing("from rung.retrieve import orders\norders.lost('x')") == ["rung.retrieve.orders has no 'lost'"]
    assert missing("from rung.retrieve import nowhere") == ["rung.retrieve has no 'nowhere'"]
    assert missing("from rung.nowhere import x") == ["No module named 'rung.nowhere'"]
