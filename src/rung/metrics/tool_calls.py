"""Metrics for tool calls: the whole answer, the names of the tools, and their arguments.

Calls are compared as JSON: the order of calls and of an object's fields does not count, that of a list's items does. 3 and 3.0
are one number, 3 and "3" are not.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from rung import calls
from rung.types import Example

PARTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "tool_calls": lambda call: [call["name"], call["arguments"]],
    "tool_name": lambda call: call["name"],
    "tool_arguments": lambda call: call["arguments"],
}
"""What of a call each metric compares."""


def same(part: str) -> Callable[[str, str, Example], float]:
    """1 if an answer has the right calls, as far as `part` of them goes: each as often as in the reference, and no others."""

    def per_row(output: str, reference: str, example: Example) -> float:
        said, due = _bag(output, part), _bag(reference, part)
        return float(said is not None and said == due)

    return per_row


def fault(reference: str) -> str:
    """Why a right answer cannot be scored; empty if it can."""
    return "" if calls.read(reference) is not None else "is not a list of tool calls"


def is_calls(reference: str) -> bool:
    """Whether a right answer is a list of calls in the one form that rows are read into."""
    return reference.startswith(f'{{"{calls.KEY}":') and calls.read(reference) is not None


def _bag(text: str, part: str) -> Counter[str] | None:
    found = calls.read(text)
    return None if found is None else Counter(json.dumps(_plain(PARTS[part](one)), sort_keys=True) for one in found)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
