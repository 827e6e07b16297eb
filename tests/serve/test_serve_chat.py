"""The body of a chat request: read whole, or refused by the name of what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.serve.endpoints import chat
from rung.serve.endpoints.refused import Refused

USER = {"role": "user", "content": "hello"}


def read(**more: Any) -> chat.Chat:
    return chat.read(json.dumps({"model": "m", "messages": [USER], **more}).encode())


def test_the_last_message_is_the_row_and_earlier_turns_its_history() -> None:
    turns = [{"role": "developer", "content": "be brief"}, USER, {"role": "assistant", "content": "hi"}]
    row = read(
        messages=[*turns, {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    ).example
    assert row.input == "ab"
    assert [(turn.role, turn.content) for turn in row.history] == [("system", "be brief"), ("user", "hello"), ("assistant", "hi")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tools", [{"type": "function"}]),
        ("logprobs", "maybe"),
        ("top_logprobs", 21),
        ("top_logprobs", 3),
        ("response_format", {"type": "xml"}),
        ("response_format", {"type": "json_schema"}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nope"}}}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "http://127.0.0.1/x"}}}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": ["x" * 20_000]}}}),
        ("frequency_penalty", 0.5),
        ("logit_bias", {"5": 1}),
        ("made_up", "x"),
        ("temperature", 2.1),
        ("temperature", "hot"),
        ("top_p", 0),
        ("n", 0),
        ("n", chat.CHOICES + 1),
        ("n", 1.5),
        ("seed", "x"),
        ("stop", [""]),
        ("stop", ["a"] * 5),
        ("max_tokens", 0),
        ("max_tokens", True),
        ("stream_options", {"include_usage": True}),
        ("messages", []),
        ("messages", [{"role": "assistant", "content": "hi"}]),
        ("messages", [{"role": "tool", "content": "hi"}]),
        ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]),
        ("messages", [{**USER, "tool_calls": [{"id": "1"}]}]),
    ],
)
def test_what_is_not_supported_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(Refused, match=name) as found:
        read(**{name: value})
    assert (found.value.status, found.value.param) == (400, name)


def test_what_asks_for_nothing_is_taken() -> None:
    read(frequency_penalty=0, logprobs=False, tools=[], response_format={"type": "text"}, made_up=None, user="ada")


def test_two_names_of_one_limit_must_agree() -> None:
    assert read(max_tokens=5).max_tokens == read(max_completion_tokens=5).max_tokens == 5
    with pytest.raises(Refused, match="max_tokens"):
        read(max_tokens=5, max_completion_tokens=6)


@given(
    st.binary(max_size=60)
    | st.recursive(st.none() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)).map(
        lambda value: json.dumps(value).encode()
    )
)
def test_any_body_is_read_or_refused(raw: bytes) -> None:
    with pytest.raises(Refused) as found:
        chat.read(raw)
    assert found.value.status == 400


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(Refused):
        chat.read(b"[" * 500_000)
