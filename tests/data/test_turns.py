"""Conversations as files give them: lists, text, objects of lists."""

from __future__ import annotations

import json
from typing import Any

import pytest

from rung.data.formats import FORMS, Form
from rung.data.turns import as_messages
from rung.errors import DataError
from rung.types import Message

TURNS = [
    {"role": "system", "content": 'it\'s "s"'},
    {"role": "user", "content": "u"},
    {"role": "assistant", "content": "a"},
]
SHARED = [{"from": "human", "value": "u"}, {"from": "gpt", "value": "a"}]


def lists(turns: list[dict[str, str]]) -> dict[str, list[str]]:
    return {name: [turn[name] for turn in turns] for name in turns[0]}


@pytest.mark.parametrize("turns", [TURNS, SHARED])
@pytest.mark.parametrize(
    "shape", [list, json.dumps, lambda t: json.dumps(t, indent=2), repr, lists, lambda t: json.dumps(lists(t))]
)
def test_all_shapes_are_one_list(turns: list[dict[str, str]], shape: Any) -> None:
    assert as_messages(shape(turns), "here") == turns


@pytest.mark.parametrize("value", ["hello", "[1, 2]", '[{"a": 1}]', '{"role": "x"}', "", None, 7, [], {}, "[{'x'", '{"a": [1]}'])
def test_what_is_no_conversation_stays(value: Any) -> None:
    assert as_messages(value, "here") == value


def form(column: str) -> Form:
    return next(one for one in FORMS if one.needs[0] == column)


def test_messages_in_a_cell_are_read() -> None:
    expected = ((Message("system", 'it\'s "s"'),), "u", "a", ())
    for value in (json.dumps(TURNS), repr(TURNS), lists(TURNS)):
        assert form("messages").read({"messages": value}, "here") == expected
    assert form("conversations").read({"conversations": lists(SHARED)}, "here") == ((), "u", "a", ())
    row = {"prompt": json.dumps(TURNS[:2]), "completion": json.dumps(TURNS[2:])}
    assert form("prompt").read(row, "here") == expected


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("hello", "messages is 'hello', which is not a list of messages"),
        (None, "messages is None, which is not a list"),
        ({"role": "user", "content": "u"}, "is not a list of messages"),
        ({"role": ["user"], "content": ["u", "a"]}, r"lists of different lengths \(role 1, content 2\)"),
        ('[{"role": "user", "content": "u"', "starts like a list of messages but is neither JSON nor a Python list"),
        ("[{'role': 'user', 'content': array([1])}]", "neither JSON nor a Python list"),
        ("[{'role': " + "[" * 5000, "neither JSON nor a Python list"),
    ],
)
def test_what_a_messages_column_may_not_hold(value: Any, says: str) -> None:
    with pytest.raises(DataError, match=f"^here: .*{says}"):
        form("messages").read({"messages": value}, "here")
