"""The values that methods propose to try: of options there are, of their type, the present one first."""

from __future__ import annotations

from dataclasses import fields

import pytest

from rung import methods
from rung.methods import METHODS
from rung.methods.grids import PROPOSED, Times, proposed


@pytest.mark.parametrize("name", METHODS)
def test_every_proposed_value_is_one_that_the_method_takes(name: str) -> None:
    method = METHODS[name]
    for option, values in proposed(method).items():
        assert values[0] == getattr(method, option) and len(set(values)) == len(values)
        for value in values:
            assert methods.rung(name, {name: {option: value}})


def test_proposals_are_of_options_that_there_are() -> None:
    assert set(PROPOSED) <= {type(method) for method in METHODS.values()}
    for kind, options in PROPOSED.items():
        assert set(options) <= {field.name for field in fields(kind)}


def test_a_learning_rate_is_tried_in_multiples_of_the_present_one() -> None:
    [lora] = methods.rung("lora", {"lora": {"learning_rate": 2e-3}})
    assert proposed(lora)["learning_rate"] == (2e-3, 6e-4, 6e-3)
    assert all("learning_rate" in proposed(method) for method in METHODS.values() if hasattr(method, "learning_rate"))


def test_multiples_keep_whole_numbers_whole_and_leave_zero_alone() -> None:
    assert Times((0.5, 2.0)).of(1) == (1, 2)
    assert Times((0.5, 2.0)).of(0) == ()
    assert proposed(METHODS["ia3"]).get("size", (0,)) == (0,)
