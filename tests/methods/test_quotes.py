"""What writing an answer is quoted at: the less a model was told, the more it writes before it is cut."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from rung import methods
from rung.machine import Machine, width
from rung.methods import METHODS
from rung.methods.chain import estimate_rung
from rung.methods.estimate import (
    ATTENTION_FACTOR,
    DECODE_BATCH,
    DECODE_FACTOR,
    StopBehaviour,
    answer_seconds,
    estimate_base,
)
from rung.methods.facts import Facts
from rung.methods.written import CUT_RATE, UNSHOWN_LENGTH, Seen, expected_longest, lengths

WRITES = Facts(
    train_rows=100,
    parameters=100_000_000,
    encoder_parameters=1,
    shared_tokens=60.0,
    input_tokens=20.0,
    output_tokens=30.0,
    max_new_tokens=256.0,
    labels=0,
)


def quoted(stop: StopBehaviour, machine: Machine, facts: Facts = WRITES) -> float:
    return answer_seconds(20.0, 60.0, facts, machine, stop=stop)


def test_a_model_that_knows_less_is_quoted_to_write_more(machine: Machine) -> None:
    nothing, examples, trained = (quoted(one, machine) for one in StopBehaviour)
    assert nothing > 1.5 * examples > examples > 1.2 * trained
    wider = replace(WRITES, max_new_tokens=512.0)
    assert all(quoted(one, machine, wider) > quoted(one, machine) for one in StopBehaviour)


def test_an_unshown_models_answer_by_hand(machine: Machine) -> None:
    step = machine.decode_seconds(WRITES.parameters, 1, batch=0)
    written = UNSHOWN_LENGTH * 256
    reading = machine.prefill_seconds(WRITES.parameters, 20, 60 + 10)
    seen = (60 + 20 + written / 2) / width(WRITES.parameters)
    computed = reading + (DECODE_FACTOR + ATTENTION_FACTOR * seen) * machine.prefill_seconds(WRITES.parameters, written)
    assert quoted(StopBehaviour.NOTHING, machine) == pytest.approx(computed + 256 * step / DECODE_BATCH)


def test_few_dev_rows_share_the_steps_of_a_smaller_batch(machine: Machine) -> None:
    few, usual, many = (quoted(StopBehaviour.TRAINED, machine, replace(WRITES, dev_rows=rows)) for rows in (8, 0, 500))
    step = machine.decode_seconds(WRITES.parameters, 1, batch=0)
    rate = CUT_RATE[StopBehaviour.TRAINED]
    longest = {rows: 256 - (1 - rate) ** rows * (256 - WRITES.output_tokens) for rows in (8, DECODE_BATCH)}
    assert few - usual == pytest.approx(longest[8] * step / 8 - longest[DECODE_BATCH] * step / DECODE_BATCH, rel=0.05)
    assert many == usual


def test_lora_is_quoted_less_where_its_frozen_layers_are_bfloat16(machine: Machine) -> None:
    """To fit and to answer; all weights, which are trained in float32, are not."""
    exact, rounded = machine, replace(machine, bf16_speedup=2.8, frozen_bf16=True)
    lora, full = (partial(estimate_rung, methods.rung(name, {}), WRITES) for name in ("lora", "full"))
    assert lora(rounded).fit_seconds < 0.8 * lora(exact).fit_seconds and lora(rounded).row_seconds < lora(exact).row_seconds
    assert full(rounded) == full(exact)


def test_what_stands_in_front_is_attended_to(machine: Machine) -> None:
    assert answer_seconds(20.0, 700.0, WRITES, machine) > 1.3 * answer_seconds(20.0, 60.0, WRITES, machine)


def test_where_no_room_is_known_an_answer_is_as_long_as_the_rows(machine: Machine) -> None:
    unknown = replace(WRITES, max_new_tokens=0.0)
    assert quoted(StopBehaviour.NOTHING, machine, unknown) == pytest.approx(quoted(StopBehaviour.TRAINED, machine, unknown))


def test_what_was_learnt_holds_behind_passages(machine: Machine) -> None:
    rag, start = METHODS["rag"], estimate_base(WRITES, machine)
    learnt = rag.estimate(replace(start, stop_behaviour=StopBehaviour.TRAINED), WRITES, machine)
    assert learnt.row_seconds < rag.estimate(start, WRITES, machine).row_seconds


def test_a_few_answers_move_the_estimate_towards_what_they_show(machine: Machine) -> None:
    def with_seen(stop: StopBehaviour, seen: Seen) -> float:
        return quoted(stop, machine, replace(WRITES, seen={stop: seen}))

    for stop in (StopBehaviour.NOTHING, StopBehaviour.EXAMPLES):
        unseen = quoted(stop, machine)
        short, long = with_seen(stop, Seen((20, 40))), with_seen(stop, Seen((), 2))
        assert short < unseen < long <= answer_seconds(20.0, 60.0, replace(WRITES, output_tokens=256.0), machine)
    other = replace(WRITES, seen={StopBehaviour.NOTHING: Seen((1, 1))})
    assert quoted(StopBehaviour.EXAMPLES, machine, other) == quoted(StopBehaviour.EXAMPLES, machine)
    many = lengths((30.0,), 256.0, StopBehaviour.NOTHING, 24, Seen((30,) * 1000))
    assert many.mean == pytest.approx(30.0, rel=0.02) and many.longest < 100


def test_a_trained_model_writes_as_long_as_the_right_answers() -> None:
    """The mean of those that end is theirs, and the longest of a batch what so many drawn from them have."""
    right = (10.0,) * 9 + (50.0,)
    rate, reached = CUT_RATE[StopBehaviour.TRAINED], 1 - 0.9**16
    none_cut = (1 - rate) ** 16
    found = lengths(right, 128.0, StopBehaviour.TRAINED, 16)
    assert found.mean == pytest.approx((1 - rate) * 14 + rate * 128)
    assert found.longest == pytest.approx(none_cut * (50 * reached + 10 * (1 - reached)) + (1 - none_cut) * 128)
    assert lengths((14.0,), 128.0, StopBehaviour.TRAINED, 16).longest < found.longest, "they are all of one length"


@pytest.mark.parametrize(
    ("sizes", "batch", "found"), [((7.0,), 16, 7.0), ((1.0, 3.0), 1, 2.0), ((3.0, 1.0), 2, 2.5), ((1.0, 2.0), 10**6, 2.0)]
)
def test_the_longest_of_a_batch(sizes: tuple[float, ...], batch: int, found: float) -> None:
    assert expected_longest(sizes, batch) == pytest.approx(found)


def test_sampled_answers_that_end_are_spread_as_the_right_ones() -> None:
    seen, alike, odd = Seen((30,) * 10**6), (30.0,), (20.0,) * 3 + (60.0,)
    for right, longest in ((alike, 30.0), (odd, 60.0)):
        found = lengths(right, 256.0, StopBehaviour.EXAMPLES, 64, seen)
        assert (found.mean, found.longest) == (pytest.approx(30.0, rel=0.01), pytest.approx(longest, rel=0.01))
    assert lengths((0.0,), 256.0, StopBehaviour.EXAMPLES, 64, seen).longest == pytest.approx(30.0, rel=0.02), "no train row"


def test_where_no_lengths_are_known_the_mean_stands_for_all(machine: Machine) -> None:
    assert quoted(StopBehaviour.TRAINED, machine, replace(WRITES, answer_lengths=(30.0, 30.0))) == quoted(
        StopBehaviour.TRAINED, machine
    )
    spread = replace(WRITES, answer_lengths=(10.0, 50.0))
    assert quoted(StopBehaviour.TRAINED, machine, spread) > quoted(StopBehaviour.TRAINED, machine)


@pytest.mark.parametrize("name", ["lora", "full"])
def test_a_model_trained_for_fewer_steps_than_labels_is_as_unsure_as_its_base(name: str, machine: Machine) -> None:
    """32 rows are four steps at most, 320 are 20 or more."""
    facts = replace(WRITES, labels=20, output_tokens=5.0, max_new_tokens=0.0, train_rows=32)
    fitted = {
        rows: estimate_rung(methods.rung(name, {name: {"epochs": 1}}), replace(facts, train_rows=rows), machine)
        for rows in (32, 320)
    }
    few, enough = (fitted[rows].row_seconds for rows in (32, 320))
    assert few == pytest.approx(answer_seconds(20.0, 60.0, facts, machine, labels=20))
    assert enough == answer_seconds(20.0, 60.0, facts, machine)
