"""Task files made by chance: every one is a task or a TaskError, never a traceback."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rung.errors import TaskError
from rung.task import Task, load_task

GOOD: dict[str, Any] = {
    "task": "t",
    "kind": "classify",
    "data": {"examples": "rows.csv", "split": {"dev": 0.2, "test": 0.2}, "documents": ["docs"], "access": {"docs/a.md": "hr"}},
    "labels": {"a": "one", "b": "two"},
    "base": "fake",
    "goal": {"metric": "accuracy", "at_least": 0.5, "latency_ms": 100},
    "budget": {"minutes": 5, "usd": 1.5},
    "api": {"key_env": "KEY", "retries": 2},
    "prices": {"m": {"input": 1, "output": 2}},
    "needs": {"must_cite": "yes", "teacher": "none"},
    "rungs": ["majority", "lora@x"],
    "methods": {"lora": {"rate": 0.1, "steps": [1, 2]}},
    "seed": 3,
}
SNIPPETS = (
    "&a", "*a", "<<", "!!int", "!!float", "!!python/name:os", "? ", ": ", "- ", "[", "]", "{", "}", "|", ">", "'", '"', "\\",
    "\n", "\t", "#", "%TAG", "---", "...", "~", ".nan", ".inf", "1e999", "9" * 40, "0x1", "true", "null", "\0", "\x1b", "\u202e",
    "\ud800", "http://[", "/dev/zero", "**", "../", "@", "openai:", "\u2028", "task", "goal", "data", "labels",
)  # fmt: skip
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.sampled_from(SNIPPETS),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | st.sampled_from(sorted(GOOD)), inner, max_size=4)
    ),
    max_leaves=12,
)


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, one in inner for place in _places(one, (*at, key)))]


@st.composite
def changed(draw: st.DrawFn) -> bytes:
    """A good file with some of its values replaced by others, or by others of its own."""
    made = copy.deepcopy(GOOD)
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.sampled_from(_places(made)[1:]))
        holder = made
        for key in place[:-1]:
            holder = holder[key]
        holder[place[-1]] = draw(values)
    return yaml.safe_dump(made, allow_unicode=True).encode("utf-8", "surrogatepass")


@st.composite
def scribbled(draw: st.DrawFn) -> bytes:
    """A good file with pieces of YAML put anywhere in it, or cut out."""
    text = yaml.safe_dump(GOOD)
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(SNIPPETS) | st.text(max_size=4)) + text[at + draw(st.integers(0, 5)) :]
    return text.encode("utf-8", "surrogatepass")


files = (
    changed()
    | scribbled()
    | st.lists(st.sampled_from(SNIPPETS)).map(lambda some: "".join(some).encode("utf-8", "surrogatepass"))
    | st.binary()
)


def _hold(folder: Path, content: bytes) -> None:
    (folder / "rung.yaml").write_bytes(content)
    try:
        task = load_task(folder)
    except TaskError as error:
        text = str(error)
        assert text.startswith("rung.yaml line "), text
        assert len(text) < 20_000 and not set(text) & {"\x1b", "\u202e", "\ud800"}
        text.encode()
    else:
        assert Task.model_validate(task.model_dump(mode="json")).digest == task.digest


usual = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=300)
many = settings(usual, max_examples=10_000)


@usual
@given(files)
def test_no_file_is_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    _hold(_folder(tmp_path_factory), content)


@pytest.mark.slow
@many
@given(files)
def test_no_file_of_ten_thousand_is_a_traceback(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    _hold(_folder(tmp_path_factory), content)


def _folder(factory: pytest.TempPathFactory) -> Path:
    folder = factory.getbasetemp() / "fuzzed"
    folder.mkdir(exist_ok=True)
    return folder
