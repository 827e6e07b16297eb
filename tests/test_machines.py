"""Machines by name: figures on paper, with prices that a user may replace."""

from __future__ import annotations

from pathlib import Path

import pytest

from rung.errors import RungError
from rung.lm.this_machine import load_or_measure
from rung.machine import own_prices
from rung.plan.machines import JOINED, KINDS, REACHED, named


def test_eight_of_a_kind() -> None:
    one, eight = named("h100"), named("H100x8")
    assert one.gflops["bfloat16"] == pytest.approx(989_000 * REACHED)
    assert eight.gflops["bfloat16"] == pytest.approx(989_000 * REACHED * (1 + 7 * JOINED))
    assert (eight.memory_bytes, eight.usd_per_hour) == (8 * one.memory_bytes, 8 * one.usd_per_hour)
    assert "assumed" in eight.name and eight.name.startswith("8 x NVIDIA H100")
    assert eight.training_seconds(10**9, 1.0, 10**6) < one.training_seconds(10**9, 1.0, 10**6)


def test_every_kind_has_a_price_of_its_own() -> None:
    for kind in KINDS:
        assert named(kind).usd_per_hour > 0
        assert named(f"{kind}x2").memory_bytes == 2 * named(kind).memory_bytes
    assert named("rtx4090").usd_per_hour != named("rtx3090").usd_per_hour


@pytest.mark.parametrize("name", ["h100x0", "x8", "h100x", "rt", "", "9090", "h100x-1"])
def test_an_unknown_machine_is_told_the_known_ones(name: str) -> None:
    with pytest.raises(RungError, match="h200"):
        named(name)


def test_own_prices_stand_before_the_list(home: Path) -> None:
    assert own_prices() == {}
    (home / "prices.yaml").write_text("machines: {H100: 1.25, core: 0.5}\n")
    assert named("h100x4").usd_per_hour == 5.0
    assert load_or_measure().usd_per_hour == 1.0  # the made-up machine has two cores
    assert load_or_measure(usd_per_hour=0.3).usd_per_hour == 0.3
    (home / "prices.yaml").write_text("machines: [h100]\n")
    with pytest.raises(RungError, match="dollars an hour by kind"):
        named("h100")
