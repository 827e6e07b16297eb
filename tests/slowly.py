"""Which cases of a test run every time, and which only with the slow ones."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import pytest


def slow_but(quick: Collection[Any], cases: Iterable[Any]) -> list[Any]:
    """The cases for `parametrize`: those that are not among `quick` are marked slow.

    For cases that run the same code over other mathematics: one of them shows a fault in what they share.
    """
    cases = list(cases)
    assert any(case in quick for case in cases), f"none of {cases} would run every time"
    return [case if case in quick else pytest.param(case, marks=pytest.mark.slow) for case in cases]
