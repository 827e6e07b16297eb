"""What is public: named in one place, documented, typed, and quick to import."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

import rung
import rung.api

ROOT = Path(__file__).parents[2]
NAMES = sorted(rung.__all__)


def fresh(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_names_are_those_of_the_api() -> None:
    assert sorted(rung.api.__all__) == NAMES == sorted(set(NAMES)) and set(NAMES) <= set(dir(rung))
    with pytest.raises(AttributeError, match="no attribute 'climbs'"):
        _ = rung.climbs  # type: ignore[attr-defined]


def test_importing_is_quick_and_loads_nothing() -> None:
    code = (
        "import sys, time; start = time.process_time(); import rung; print(time.process_time() - start,"
        "[name for name in ('torch', 'pydantic', 'pandas', 'numpy', 'rich', 'rung.api') if name in sys.modules])"
    )
    taken, loaded = fresh(code).split(" ", 1)
    assert float(taken) < 0.3 and loaded == "[]"


def test_no_public_name_loads_torch() -> None:
    code = "import sys, rung; [getattr(rung, name) for name in rung.__all__]"
    assert fresh(f"{code}; print([name for name in ('torch', 'pandas', 'polars') if name in sys.modules])") == "[]"


def test_no_public_name_is_that_of_a_module() -> None:
    """Importing a submodule binds its name in `rung`, in place of the public one."""
    modules = {path.stem for path in (ROOT / "src" / "rung").iterdir()}
    assert not modules & set(NAMES)


@pytest.mark.parametrize("first", ["rung.climbing.fit, rung.planning.steps", "rung.api", "rung.cli", "json"])
def test_climb_and_plan_can_be_called_whatever_was_imported_before(first: str) -> None:
    shown = "print(inspect.signature(rung.climb), inspect.signature(rung.plan))"
    code = f"import {first}, rung, inspect; {shown}; rung.climb('nowhere')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith("(task: ") and "everything: " in done.stdout
    assert "rung.errors.TaskError: nowhere" in done.stderr and "the file does not exist" in done.stderr
    assert "make one: rung init" in done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_is_documented_and_typed(name: str) -> None:
    value = getattr(rung.api, name)
    assert f"`rung.{name}`" in (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    assert inspect.getdoc(value) and (name.endswith("Error") or "```python" in inspect.getdoc(value))
    for part in (value, *(one for key, one in vars(value).items() if not key.startswith("_"))):
        if isinstance(part, property):
            part = part.fget
        if inspect.isfunction(part):
            missing = {*inspect.signature(part).parameters, "return"} - {"self", "cls"} - set(part.__annotations__)
            assert inspect.getdoc(part) and not missing, f"{name}.{part.__name__}: {missing or 'no docstring'}"


@pytest.mark.parametrize("name", [name for name in NAMES if is_dataclass(getattr(rung, name))])
def test_help_says_what_each_attribute_is(name: str) -> None:
    """`help` shows the docstring of a class, not the texts below its fields."""
    made = getattr(rung, name)
    attributes = [one.name for one in fields(made) if not one.name.startswith("_")]
    assert attributes and all(re.search(rf"^        {one}: \S", made.__doc__, re.MULTILINE) for one in attributes)
