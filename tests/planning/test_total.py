"""How long a whole climb takes, by hand: shared fits once, dev rows, and general ability where weights are touched."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from rung import methods
from rung.cli.screens import plan as screen
from rung.cli.screens.plan import _at_most
from rung.evaluate import forgetting
from rung.machine import Machine
from rung.planning.corrections import Correction
from rung.planning.steps import Step
from rung.planning.total import Total, total
from rung.types import Cost

PROBE = forgetting.Probe(("four letters",), (forgetting.Question("why", ("ab", "cde"), 0),))


def step(rung: str, fit: float | None, row: float = 0.0, base: str = "a") -> Step:
    start: Any = SimpleNamespace(start=SimpleNamespace(digest=base), facts=SimpleNamespace(parameters=1000))
    return Step(rung, methods.rung(rung, {}), start, None if fit is None else Cost(fit_seconds=fit, row_seconds=row))


def test_a_fit_that_others_go_on_from_is_counted_once(machine: Machine) -> None:
    steps = [step("zero-shot", 0.0, 0.5), step("rag", 10.0, 2.0), step("rag+few-shot", 11.0, 2.0), step("rag+lora", 30.0, 2.0)]
    found = total(steps, 100, PROBE, machine)
    assert found.fit == pytest.approx(10 + 1 + 20)
    assert found.answer == pytest.approx(650)
    elsewhere = total([*steps, step("rag+lora", 30.0, base="b")], 100, PROBE, machine)
    assert elsewhere.fit == pytest.approx(61), "another base shares no fit"
    corrected = total([step("rag", 10.0), step("rag+lora", 4.0)], 100, PROBE, machine)
    assert corrected.fit == pytest.approx(10), "no fit takes less than no time"


def test_what_is_not_tried_takes_no_time(machine: Machine) -> None:
    found = total([step("lora", None)], 100, PROBE, machine)
    assert found.seconds == 0


def test_general_ability_is_measured_of_each_touched_model_and_once_of_what_it_began_with(machine: Machine) -> None:
    once = forgetting.seconds(PROBE, 1000, machine)
    assert once == pytest.approx(machine.prefill_seconds(1000, (12 + 3 + 2 + 3) // 4))
    found = total([step("zero-shot", 0.0), step("lora", 1.0), step("full", 1.0), step("encoder", 1.0)], 10, PROBE, machine)
    assert found.forget == pytest.approx(3 * once)
    assert total([step("zero-shot", 0.0), step("few-shot", 1.0)], 10, PROBE, machine).forget == 0


def test_fits_that_may_end_early_are_named() -> None:
    def early(**more: int) -> Step:
        return replace(step("lora", 30.0), methods=methods.rung("lora", {"lora": {"stop_below": 0.1, **more}}))

    assert _at_most([step("rag", 10.0), early(), step("rag+lora", None), step("full", 30.0)]) == (
        " Estimated with all epochs, may end sooner: lora."
    )
    assert "lora" in _at_most([replace(early(), scale=Correction(runs=1))]), "a fit with more rows may end sooner too"
    assert _at_most([step("lora", 30.0)]) == _at_most([early(epochs=1)]) == _at_most([early(patience=1)]) == ""


def test_the_budget_is_named_where_it_may_end_a_climb() -> None:
    found = Total(600.0, 500.0, 100.0)
    assert "or after the budget of 5 minutes" in screen.total(found, 100, 5.0).plain
    assert not any("budget" in screen.total(found, 100, minutes).plain for minutes in (None, 20.0)), "it has none, or time enough"
