"""Limits of a key: requests and tokens in the last minute."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from commands import command
from serving import CHAT, body, client, made, task_of_labels

from rung.serve.access.keys import Key
from rung.serve.access.rates import Rates
from rung.serve.endpoints.refused import Refused


class Clock:
    """Time that a test sets."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def wait(rates: Rates, key: Key, tokens: int = 0) -> int:
    """Seconds that a key has to wait; 0 where it is let through."""
    try:
        rates.admit(key, tokens)
    except Refused as why:
        assert why.status == 429 and repr(key.name) in why.what
        return why.retry_after
    return 0


def test_requests_of_the_last_minute_count() -> None:
    clock = Clock()
    rates, key = Rates(clock), Key("ada", "a", requests_per_minute=2)
    assert wait(rates, key) == 0
    clock.now += 10
    assert wait(rates, key) == 0
    clock.now += 10
    assert wait(rates, key) == 40 and wait(rates, Key("bo", "b", requests_per_minute=2)) == 0
    clock.now += 40
    assert wait(rates, key) == 0 and wait(rates, key) == 10


def test_tokens_are_those_that_may_be_written_until_it_is_known() -> None:
    clock = Clock()
    rates, key = Rates(clock), Key("ada", "a", tokens_per_minute=100)
    first = rates.admit(key, 60)
    clock.now += 5
    assert wait(rates, key, 60) == 55
    rates.settle(first, 30)
    assert wait(rates, key, 60) == 0
    assert wait(rates, key, 11) == 55  # the first one's end gives the 30 back
    assert wait(rates, key, 41) == 60
    clock.now += 120
    assert wait(rates, key, 500) == 0  # alone it may be over the limit: what it writes is not known yet
    assert wait(rates, key, 1) == 60


def test_what_was_not_begun_does_not_count() -> None:
    rates, key = Rates(Clock()), Key("ada", "a", requests_per_minute=1)
    rates.cancel(key, rates.admit(key, 5))
    assert wait(rates, key) == 0 and wait(rates, key) == 60
    assert rates.admit(Key("bo", "b"), 5) is None and rates.admit(None, 5) is None


def test_a_key_over_its_limit_is_told_when_to_come_back(tmp_path: Path, home: Path) -> None:
    labels = task_of_labels(tmp_path / "support")
    secret = command("keys", "add", labels, "ada", "--requests-per-minute", 2, "--tokens-per-minute", 9000).stdout.strip()
    free = command("keys", "add", labels, "bo").stdout.strip()
    assert "2 requests a minute, 9,000 tokens a minute" in command("keys", "list", labels).stdout

    async def asked(one: Any) -> None:
        async with client(one) as http:
            ada, bo = ({"authorization": f"Bearer {key}"} for key in (secret, free))
            found = [await http.post(CHAT, json=body("support"), headers=ada) for _ in range(3)]
            assert [one.status_code for one in found] == [200, 200, 429]
            assert found[2].json()["error"]["code"] == "rate_limit_exceeded" and 50 <= int(found[2].headers["retry-after"]) <= 60
            vectors = await http.post("/v1/embeddings", json={"model": "support", "input": "x"}, headers=ada)
            assert vectors.status_code == 429
            assert (await http.post(CHAT, json=body("support"), headers=bo)).status_code == 200

    with made(labels, host="0.0.0.0") as one:
        asyncio.run(asked(one))
        assert sum(charge.tokens for used in one.rates._used.values() for charge in used) < 1000  # settled by what was used


@pytest.mark.parametrize("limit", ["-1", "x"])
def test_a_limit_is_a_number(tmp_path: Path, home: Path, limit: str) -> None:
    assert command("keys", "add", task_of_labels(tmp_path / "support"), "ada", "--requests-per-minute", limit).returncode == 2
