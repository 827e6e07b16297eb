"""Memory that was freed goes back to the system."""

from __future__ import annotations

import sys

import psutil
import pytest

from rung.evaluate import memory


@pytest.mark.skipif(sys.platform != "linux", reason="other systems give memory back themselves")
def test_freed_memory_goes_back_though_something_behind_it_is_still_used() -> None:
    blocks = [bytearray(100_000) for _ in range(2000)]
    behind = blocks[-1]
    blocks.clear()
    before = psutil.Process().memory_info().rss
    memory.give_back()
    assert before - psutil.Process().memory_info().rss > 100_000_000 and behind
