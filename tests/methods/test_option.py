"""Numbers that cannot be are refused where rung.yaml is read: a quote never divides by them."""

from __future__ import annotations

from dataclasses import fields
from math import isfinite
from typing import Any

import pytest

from rung import methods
from rung.errors import TaskError
from rung.machine import Machine
from rung.methods import METHODS
from rung.methods.chain import estimate_rung
from rung.methods.facts import Facts

COUNTS = {"batch", "epochs", "updates", "tokens", "alpha", "steps", "window", "step"} | {
    *("measured", "parameters", "vocabulary", "context"),
}
BAD: dict[str, tuple[float, ...]] = {
    **dict.fromkeys(COUNTS, (0, -1)),
    **dict.fromkeys(("learning_rate", "clip"), (0, -0.1, float("inf"))),
    **dict.fromkeys(("patience", "longest", "size", "rank"), (-1,)),
    **dict.fromkeys(("weight_decay", "gamma", "beta"), (-0.1,)),
    **dict.fromkeys(("held", "dropout", "warmup", "replay"), (-0.1, 1.1)),
}
FACTS = Facts(
    train_rows=9, parameters=10**6, encoder_parameters=10**6, shared_tokens=5, input_tokens=5, output_tokens=5, labels=0, pairs=5
)
TRAINED = sorted(name for name, method in METHODS.items() if hasattr(method, "learning_rate"))


def own(name: str) -> set[str]:
    return {field.name for field in fields(METHODS[name])}  # type: ignore[arg-type]


@pytest.mark.parametrize("name", TRAINED)
def test_a_number_that_cannot_be_is_refused_with_its_bound(name: str) -> None:
    for option in own(name) & BAD.keys():
        for value in BAD[option]:
            with pytest.raises(TaskError, match=rf"methods.{name}.{option}: {option} is .* Input should be"):
                methods.rung(name, {name: {option: value}})


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        *((name, "rank", 0) for name in ("lora", "qlora", "dpo", "reward", "grpo")),
        ("dpo", "beta", 0),
        ("grpo", "samples", 1),
        ("encoder", "strengths", []),
        ("encoder", "strengths", [0]),
    ],
)
def test_what_one_method_alone_cannot_take(name: str, option: str, value: Any) -> None:
    with pytest.raises(TaskError, match=rf"methods.{name}.{option}"):
        methods.rung(name, {name: {option: value}})


@pytest.mark.parametrize("name", TRAINED)
def test_the_least_numbers_are_taken_and_quoted(name: str, machine: Machine) -> None:
    least = dict.fromkeys(own(name) & COUNTS, 1) | dict.fromkeys(own(name) & {"patience", "longest"}, 0)
    assert isfinite(estimate_rung(methods.rung(name, {name: least}), FACTS, machine).fit_seconds)
