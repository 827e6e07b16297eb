"""Machines by name: figures on paper, with prices that a user may replace."""

from __future__ import annotations

from pathlib import Path

import pytest

from rung.errors import RungError
from rung.lm.this_machine import load_or_measure
from rung.machine_prices import user_prices
from rung.planning.machines import KINDS, PEAK_SHARE, SCALING_EFFICIENCY, by_name


def test_eight_of_a_kind() -> None:
    one, eight = by_name("h100"), by_name("H100x8")
    assert one.gflops["bfloat16"] == pytest.approx(989_000 * PEAK_SHARE)
    assert eight.gflops["bfloat16"] == pytest.approx(989_000 * PEAK_SHARE * (1 + 7 * SCALING_EFFICIENCY))
    assert (eight.memory_bytes, eight.usd_per_hour) == (one.memory_bytes, 8 * one.usd_per_hour)
    assert "assumed" in eight.name and eight.name.startswith("8 x NVIDIA H100")
    assert eight.training_seconds(10**9, 1.0, 10**6) < one.training_seconds(10**9, 1.0, 10**6)


def test_every_kind_has_a_price_of_its_own() -> None:
    for kind in KINDS:
        assert by_name(kind).usd_per_hour > 0
        assert by_name(f"{kind}x2").memory_bytes == by_name(kind).memory_bytes, "each holds all weights"
    assert by_name("rtx4090").usd_per_hour != by_name("rtx3090").usd_per_hour


@pytest.mark.parametrize("name", ["h100x0", "x8", "h100x", "rt", "", "9090", "h100x-1"])
def test_an_unknown_machine_is_told_the_known_ones(name: str) -> None:
    with pytest.raises(RungError, match="h200"):
        by_name(name)


def test_own_prices_stand_before_the_list(home: Path) -> None:
    assert user_prices() == {}
    (home / "prices.yaml").write_text("machines: {H100: 1.25, core: 0.5}\n")
    assert by_name("h100x4").usd_per_hour == 5.0
    assert load_or_measure().usd_per_hour == 1.0  # the made-up machine has two cores
    assert load_or_measure(usd_per_hour=0.3).usd_per_hour == 0.3
    (home / "prices.yaml").write_text("machines: [h100]\n")
    with pytest.raises(RungError, match="must map kinds to dollars per hour"):
        by_name("h100")
