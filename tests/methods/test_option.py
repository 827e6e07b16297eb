"""Every option of every method has bounds, and they hold wherever options enter: rung.yaml, tuning, Python."""

from __future__ import annotations

from dataclasses import fields
from math import inf, isfinite, nan
from typing import Annotated, Any, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Le, Lt
from hypothesis import given, settings
from hypothesis import strategies as st

from rung import methods
from rung.errors import TaskError
from rung.machine import Machine
from rung.methods import METHODS
from rung.methods.base import options
from rung.methods.chain import estimate_rung
from rung.methods.facts import Facts
from rung.methods.option import Count, Natural, Part, Rate, Share, Weight, describe, types
from rung.tune.trials import plan

FACTS = Facts(
    train_rows=9, parameters=10**6, encoder_parameters=10**6, shared_tokens=5, input_tokens=5, output_tokens=5, labels=0, pairs=5
)
ALL = [(name, option) for name, method in METHODS.items() for option in options(method)]


def plain(kind: Any) -> tuple[Any, list[Any]]:
    """A type without null, and its bounds."""
    kind = next((one for one in get_args(kind) if one is not type(None)), kind) if type(None) in get_args(kind) else kind
    return (get_args(kind)[0], list(get_args(kind)[1:])) if get_origin(kind) is Annotated else (kind, [])


def outside(kind: Any) -> list[Any]:
    """Values that an option of this type cannot take, by its bounds."""
    inner, marks = plain(kind)
    bad: list[Any] = [{"a": 1}]
    if inner in (int, float):
        bad += ["many", True, nan, inf, -inf, 10**400]
        for mark in marks:
            match mark:
                case Ge(least):
                    bad += [least - 1, -(10**6)]
                case Gt(floor):
                    bad += [floor, floor - 0.5]
                case Le(most):
                    bad += [most + 1, most + 1e-9]
                case Lt(ceiling):
                    bad += [ceiling, ceiling + 7]
    if inner is int:
        bad += [1.5]
    return bad


@pytest.mark.parametrize(("name", "option"), ALL)
def test_a_number_has_a_lower_bound(name: str, option: str) -> None:
    inner, marks = plain(types(type(METHODS[name]))[option])
    if inner in (int, float):
        assert any(isinstance(mark, Ge | Gt) for mark in marks), f"{option} of {name} takes any number"


@pytest.mark.parametrize(("name", "option"), ALL)
def test_what_is_out_of_bounds_is_refused_and_the_default_is_not(name: str, option: str) -> None:
    method = METHODS[name]
    default = options(method)[option]
    assert options(methods.rung(name, {name: {option: default}})[0]) == options(method)
    for value in outside(types(type(method))[option]):
        with pytest.raises(TaskError, match=rf"^rung.yaml methods.{name}.{option}: {option} must be .*, got "):
            methods.rung(name, {name: {option: value}})
        with pytest.raises(TaskError, match=rf"{option} must be .*, got "):
            type(method)(**{**options(method), option: value})


def test_a_grid_of_tuning_is_held_to_the_bounds() -> None:
    with pytest.raises(TaskError, match=r"^--set lora.rank: rank must be at least 1, got 0\. The default is 16\."):
        plan("lora", {}, ["lora.rank=8,0"])
    with pytest.raises(TaskError, match=r"dropout must be at least 0 and below 1, got 2"):
        plan("lora", {}, ["lora.dropout=2"])


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("lora", {"rank": 0}, "rank must be at least 1, got 0."),
        ("few-shot", {"shots": -3}, "shots must be at least 0, got -3."),
        ("distil", {"least": 7}, "least must be between 0 and 1, got 7."),
        ("rag", {"passages": -1}, "passages must be at least 1, got -1."),
        ("reasoning", {"samples": 0}, "samples must be at least 1, got 0."),
        ("lora", {"epochs": "many"}, "epochs must be a whole number of at least 1, got 'many'."),
        ("lora", {"learning_rate": nan}, "learning_rate must be a finite number, got nan."),
        ("encoder-full", {"learning_rate": 0}, "learning_rate must be above 0, got 0."),
        ("encoder-full", {"learning_rate": "x"}, "learning_rate must be a number above 0 or nothing, got 'x'."),
        ("nearest", {"rule": "none"}, "rule must be 'majority' or 'nearest', got 'none'."),
        ("structured", {"json": 1}, "json must be true or false, got 1."),
        ("encoder", {"strengths": []}, "strengths must be at least 1 long, got []."),
        ("encoder", {"strengths": [0]}, "strengths must be above 0, got [0]."),
        ("grpo", {"samples": 1}, "samples must be at least 2, got 1."),
        ("peft", {"size": 0}, "size must be at least 1 for the kind bottleneck, got 0."),
    ],
)
def test_the_error_is_in_plain_words(name: str, given: dict[str, Any], said: str) -> None:
    name = "bottleneck" if name == "peft" else name
    with pytest.raises(TaskError) as caught:
        methods.rung(name, {name: given})
    assert caught.value.what == said
    assert caught.value.where.startswith(f"rung.yaml methods.{name}") and caught.value.remedy


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([Count, Natural, Rate, Weight, Share, Part]), st.integers(-20, 20) | st.floats(-3, 3))
def test_bounds_agree_with_arithmetic(kind: Any, value: float) -> None:
    inside = {
        Count: value >= 1,
        Natural: value >= 0,
        Rate: value > 0,
        Weight: value >= 0,
        Share: 0 <= value <= 1,
        Part: 0 <= value < 1,
    }[kind]
    whole = kind in (Count, Natural)
    name, option = next((name, option) for name, option in ALL if types(type(METHODS[name]))[option] == kind)
    taken = True
    try:
        methods.rung(name, {name: {option: value}})
    except TaskError:
        taken = False
    assert taken == (inside and (not whole or isinstance(value, int)))


def test_a_value_is_stored_as_its_option_s_type() -> None:
    for made in (methods.rung("lora", {"lora": {"learning_rate": 1}})[0], type(METHODS["lora"])(learning_rate=1)):
        assert type(options(made)["learning_rate"]) is float
    (made,) = methods.rung("encoder", {"encoder": {"strengths": [1, 2]}})
    assert options(made)["strengths"] == (1.0, 2.0)


def test_a_type_is_described() -> None:
    assert describe(Count) == "a whole number of at least 1" and describe(Rate) == "a number above 0"
    assert describe(Part) == "a number of at least 0 and below 1" and describe(str | None) == "text or nothing"


TRAINED = sorted(name for name, method in METHODS.items() if "learning_rate" in options(method))


@pytest.mark.parametrize("name", TRAINED)
def test_the_least_numbers_are_taken_and_estimated(name: str, machine: Machine) -> None:
    kinds = types(type(METHODS[name]))
    least = {one.name: mark.ge for one in fields(METHODS[name]) for mark in plain(kinds[one.name])[1] if isinstance(mark, Ge)}
    least |= {"size": options(METHODS[name])["size"]} if "size" in least else {}
    assert isfinite(estimate_rung(methods.rung(name, {name: least}), FACTS, machine).fit_seconds)
