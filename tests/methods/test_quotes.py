"""What writing an answer is quoted at: the less a model was told, the more it writes before it is cut."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rung.machine import Machine
from rung.methods.base import CHATTY, TOGETHER, Facts, Knows, answering

WRITES = Facts(
    train_rows=100,
    parameters=100_000_000,
    encoder_parameters=1,
    shared_tokens=60.0,
    input_tokens=20.0,
    output_tokens=30.0,
    room=256.0,
    labels=0,
)


def test_a_model_that_knows_less_is_quoted_to_write_more(machine: Machine) -> None:
    nothing, examples, task = (answering(20.0, WRITES, machine, knows=one) for one in Knows)
    assert nothing > 1.5 * examples > 1.5 * task
    wider = replace(WRITES, room=512.0)
    assert [answering(20.0, wider, machine, knows=one) > answering(20.0, WRITES, machine, knows=one) for one in Knows] == [
        True,
        True,
        False,
    ]


def test_an_unshown_models_answer_by_hand(machine: Machine) -> None:
    step = machine.decode_seconds(WRITES.parameters, 1, batch=0)
    computed = machine.prefill_seconds(WRITES.parameters, 20) + machine.prefill_seconds(WRITES.parameters, round(CHATTY * 256))
    assert answering(20.0, WRITES, machine, knows=Knows.NOTHING) == pytest.approx(computed + 256 * step / TOGETHER)


def test_where_no_room_is_known_an_answer_is_as_long_as_the_rows(machine: Machine) -> None:
    unknown = replace(WRITES, room=0.0)
    assert answering(20.0, unknown, machine, knows=Knows.NOTHING) == pytest.approx(
        answering(20.0, unknown, machine, knows=Knows.TASK)
    )
