"""Structured output: the schema seen in train, and that nothing else is ever written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung import predictor as predictors
from rung.errors import DataError
from rung.lm.base import Decoding
from rung.lm.engines import Engines
from rung.machine import Machine
from rung.methods.base import Run
from rung.methods.reasoning import Reasoning
from rung.methods.structured import Structured, schema
from rung.predictor import Predictor
from rung.types import Example, TrainData

ROWS = tuple(
    Example(f"order {i} is late", json.dumps({"late": bool(i % 2), "kind": None if i % 3 else True} | ({"n": True} if i else {})))
    for i in range(4)
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | st.text('abé"\\ ', max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def engines(machine: Machine) -> Engines:
    return Engines(machine, say=lambda text: None)


@pytest.fixture
def start(base: Callable[[str], Path], engines: Engines) -> Predictor:
    model = engines.reference(str(base("llama")))
    return Predictor(kind="extract", model=model, instruction="Say.", decoding=Decoding(max_new_tokens=80))


def agrees(value: Any, shape: dict[str, Any]) -> bool:
    """A plain reading of the few words of JSON schema that are used."""
    if "anyOf" in shape:
        return any(agrees(value, one) for one in shape["anyOf"])
    kind = shape["type"]
    if kind == "object":
        named = isinstance(value, dict) and set(shape["required"]) <= set(value) <= set(shape["properties"])
        return named and all(agrees(value[key], shape["properties"][key]) for key in value)
    if kind == "array":
        most = shape.get("maxItems", len(value) if isinstance(value, list) else 0)
        return isinstance(value, list) and len(value) <= most and all(agrees(one, shape["items"]) for one in value)
    kinds = {"string": str, "boolean": bool, "null": type(None), "integer": int, "number": (int, float)}
    return isinstance(value, kinds[kind]) and isinstance(value, bool) <= (kind == "boolean")


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4), min_size=1, max_size=5))
def test_every_object_seen_agrees_with_its_schema(values: list[dict[str, Any]]) -> None:
    assert all(agrees(value, schema(values)) for value in values)


def test_what_all_objects_have_is_required_and_nothing_else_allowed() -> None:
    found = schema([{"a": 1, "b": "x"}, {"a": 2.5}])
    assert found["required"] == ["a"]
    assert found["properties"] == {"a": {"type": "number"}, "b": {"type": "string"}}
    assert not agrees({"a": 1, "c": 1}, found)
    assert not agrees({"b": "x"}, found)


@pytest.mark.parametrize("heat", [0.0, 1.5])
def test_a_model_that_knows_nothing_still_writes_the_form(
    start: Predictor, engines: Engines, tmp_path: Path, heat: float
) -> None:
    pytest.importorskip("llguidance")
    run = Run(tmp_path, engines)
    free = replace(start, decoding=replace(start.decoding, temperature=heat))
    held = Structured().fit(free, TrainData(ROWS), run)
    shape = schema([json.loads(row.output) for row in ROWS])
    assert run.notes["schema"] == shape
    rows = [Example(f"order {i}", "") for i in range(6)]
    found = held.predict(rows, engines)
    assert all(agrees(json.loads(p.output), shape) for p in found)
    assert [p.output for p in found] == [held.predict([row], engines)[0].output for row in rows]
    assert "".join(held.stream(rows[0], engines)) == found[0].output
    with pytest.raises(ValueError, match=r".+"):
        json.loads(free.predict(rows, engines)[0].output)


def test_strings_and_lists_keep_to_it_as_far_as_they_were_written(start: Predictor, engines: Engines) -> None:
    """A random model ends no string; what it has written is the front of such JSON."""
    pytest.importorskip("llguidance")
    shape = schema([{"name": "x", "of": ["y"]}])
    held = replace(start, decoding=replace(start.decoding, max_new_tokens=12, schema=json.dumps(shape)))
    assert held.predict([Example("a", "")], engines)[0].output.startswith('{"name": "')


def test_reasoning_is_free_and_the_answer_behind_it_is_held(start: Predictor, engines: Engines, tmp_path: Path) -> None:
    pytest.importorskip("llguidance")
    held = Structured().fit(start, TrainData(ROWS), Run(tmp_path, engines))
    thought = Reasoning(thought=8).fit(held, TrainData(ROWS), Run(tmp_path, engines))
    (prediction,) = thought.predict([Example("order", "")], engines)
    assert agrees(json.loads(prediction.output), schema([json.loads(row.output) for row in ROWS]))


def test_it_is_part_of_the_name_and_saved(start: Predictor, engines: Engines, tmp_path: Path) -> None:
    held = Structured().fit(start, TrainData(ROWS), Run(tmp_path, engines))
    assert held.digest != start.digest
    predictors.save(held, tmp_path / "saved")
    assert predictors.load(tmp_path / "saved") == held


@pytest.mark.parametrize("output", ["plain", "[1]", '"x"'])
def test_outputs_that_are_no_objects_are_named(start: Predictor, engines: Engines, tmp_path: Path, output: str) -> None:
    rows = (*ROWS, Example("x", output, where="rows.csv line 7"))
    with pytest.raises(DataError, match=r"rows\.csv line 7"):
        Structured().fit(start, TrainData(rows), Run(tmp_path, engines))


def test_without_the_library_it_is_said_what_to_install(start: Predictor, engines: Engines, monkeypatch) -> None:
    import sys

    from rung.errors import ModelError
    from rung.lm.models.json_guide import vocabulary

    monkeypatch.setitem(sys.modules, "llguidance.hf", None)
    with pytest.raises(ModelError, match=r"rung\[json\]"):
        vocabulary(None, 0)
