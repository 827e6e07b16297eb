"""Any reply of an endpoint: an answer or a failure that is told, never a traceback, never the key in what is kept or shown."""

from __future__ import annotations

import base64
import itertools
import json
import math
import os
import traceback
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rung.errors import RungError
from rung.lm.remote import label_matching, request_forms
from rung.lm.remote.call_errors import RetryableError
from rung.lm.remote.settings import Endpoint
from rung.lm.remote.wire import Reply, Wire
from rung.types import Message

MANY = settings(max_examples=10_000, deadline=None, suppress_health_check=list(HealthCheck))
FEW = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
KEY = "sk-Fuzz/0123+456789"
LABELS = ("left", "right", "-1", "C++")

SPELT = [
    KEY,
    KEY[::-1],
    KEY.upper(),
    KEY.encode().hex(),
    urllib.parse.quote(KEY, safe=""),
    "".join(f"\\u{ord(c):04x}" for c in KEY),
    *(base64.b64encode(b"x" * k + KEY.encode() + b"yz").decode() for k in range(3)),
]
words = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            *SPELT,
            KEY[:8],
            KEY[8:],
            "left",
            '{"label": "left"}',
            "<think>",
            "</think>",
            "```json\n",
            "```",
            "stop",
            "length",
            "data: ",
            "\n\n",
        ]
    ),
)
texts = st.lists(words, max_size=5).map("".join)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4), max_leaves=12
)


def near(shape: Any) -> st.SearchStrategy[Any]:
    """JSON like this shape, any part of which may be something else or missing."""
    if isinstance(shape, dict):
        parts = {name: near(part) for name, part in shape.items()}
        return st.one_of(st.fixed_dictionaries(parts), st.fixed_dictionaries({}, optional=parts), values)
    if isinstance(shape, list):
        return st.one_of(st.lists(near(shape[0]), max_size=3), values)
    if isinstance(shape, str):
        return st.one_of(st.just(shape), texts, values)
    return st.one_of(st.just(shape), values)


MESSAGE = {
    "role": "assistant",
    "content": "left",
    "reasoning_content": "hm",
    "refusal": "no",
    "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}],
}
LOGS = {"content": [{"token": KEY, "logprob": -0.5}], "tokens": ["left"], "token_logprobs": [-0.5]}
ANSWER = {
    "id": "x",
    "object": "chat.completion",
    "choices": [{"message": MESSAGE, "finish_reason": "stop", "logprobs": LOGS}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}},
}
EVENT = {"choices": [{"delta": MESSAGE, "finish_reason": None}], "usage": None}
ERROR = {"error": {"message": f"bad {KEY}", "code": "no", "param": "logprobs", "type": "x"}}

plain = st.one_of(near(ANSWER), near(EVENT), near(ERROR))
bodies = st.one_of(
    plain.map(lambda value: json.dumps(value).encode()),
    st.lists(plain, max_size=5).map(lambda some: b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in some)),
    st.lists(plain, max_size=3).map(lambda some: "\n".join(json.dumps(one, indent=1) for one in some).encode()),
    texts.map(lambda text: text.encode(errors="replace")),
    st.binary(max_size=60),
)


@dataclass(frozen=True)
class Given:
    """What the server sends."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes
    size: int


replies = st.builds(
    Given,
    st.sampled_from([200] * 12 + [204, 302, 400, 401, 404, 422, 429, 500, 503]),
    st.lists(
        st.tuples(
            st.sampled_from(
                [b"content-encoding", b"retry-after", b"content-length", b"transfer-encoding", b"x-key", b"location"]
            ),
            st.sampled_from([b"gzip", b"identity", b"br", b"nan", b"inf", b"1e400", b"chunked", b"12", KEY.encode(), b"Mon, 99"]),
        ),
        max_size=2,
    ),
    bodies,
    st.integers(1, 40),
)


class _Body(httpx2.SyncByteStream):
    def __init__(self, given: Given):
        self.given = given

    def __iter__(self) -> Iterator[bytes]:
        for at in range(0, len(self.given.body), self.given.size):
            yield self.given.body[at : at + self.given.size]


def wire_to(sent: Given) -> Wire:
    """A connection to a server that sends this, whatever it is asked."""
    os.environ["RUNG_FUZZ_KEY"] = KEY
    made = Wire(Endpoint("http://127.0.0.1:1/v1", "m", "RUNG_FUZZ_KEY"), 5.0)
    answer = lambda request: httpx2.Response(sent.status, headers=sent.headers, stream=_Body(sent))  # noqa: E731
    made.__dict__["_http"] = httpx2.Client(transport=httpx2.MockTransport(answer))
    return made


def told(error: BaseException | None) -> str:
    said = ""
    while error is not None:
        said += "\n".join([str(error), repr(error), repr(vars(error)), *traceback.format_exception(error)])
        error = error.__cause__ or error.__context__
    return said


def heard(asked: Callable[[], Any]) -> tuple[Any, str]:
    """What came of it, and all that it shows or keeps."""
    try:
        found = asked()
    except (RetryableError, RungError) as error:
        return None, told(error)
    one = found[-1] if isinstance(found, list) and found else found
    kept = json.dumps(asdict(one), ensure_ascii=False, allow_nan=False) if isinstance(one, Reply) else ""
    return found, repr(found) + kept


def any_reply(sent: Given) -> None:
    wire = wire_to(sent)
    body = {"messages": [{"role": "user", "content": "left or right"}], "response_format": {}, "max_tokens": 9}
    reply, shown = heard(lambda: wire.send(body))
    assert not wire.key_filter.holds(shown)
    if reply is not None:
        label = label_matching.match_label(reply.text, LABELS)
        sure = label_matching.confidence(label, reply.text, reply.tokens) if label else None
        assert label in (*LABELS, None) and (sure is None or 0.0 <= sure <= 1.0)
        assert all(math.isfinite(log) and log <= 0 for _, log in reply.tokens)
    pieces, shown = heard(lambda: list(wire.stream(body)))
    assert not wire.key_filter.holds(shown)
    if pieces is not None:
        assert isinstance(pieces[-1], Reply) and all(isinstance(one, str) for one in pieces[:-1])
        assert not wire.key_filter.holds("".join(pieces[:-1]))
    _, shown = heard(wire.models)
    assert not wire.key_filter.holds(shown)


def any_refusal(words: str, roles: list[str], room: int) -> None:
    turns = request_forms.turns([Message(role, "x") for role in roles], frozenset())
    body = {"messages": turns, "max_tokens": room, "response_format": {}, "logprobs": True, "seed": 0}
    assert request_forms.named_by_refusal(body, words) <= {*body, request_forms.ROLES}
    left = request_forms.allowed_tokens(words, room, 5)
    assert left is None or left < room or room <= 1
    folded = request_forms.turns([Message(role, "x") for role in roles], frozenset({request_forms.ROLES}))
    said = [turn["role"] for turn in folded]
    assert set(said) <= {"user", "assistant"} and all(a != b for a, b in itertools.pairwise(said))


refusals = st.lists(
    st.one_of(
        st.text(max_size=10),
        st.integers(0, 10**12).map(str),
        st.sampled_from(
            ["maximum context length is ", " tokens", " input tokens", "system role", "logprobs", "at most ", " in the messages"]
        ),
    ),
    max_size=8,
).map("".join)
speakers = st.lists(st.sampled_from(["system", "user", "assistant", "tool", "developer", "tools", "other"]), max_size=6)


@FEW
@given(replies)
def test_any_reply(sent: Given) -> None:
    any_reply(sent)


@FEW
@given(refusals, speakers, st.integers(1, 5000))
def test_any_refusal(words: str, roles: list[str], room: int) -> None:
    any_refusal(words, roles, room)


@pytest.mark.slow
@MANY
@given(replies)
def test_ten_thousand_replies(sent: Given) -> None:
    any_reply(sent)


@pytest.mark.slow
@MANY
@given(refusals, speakers, st.integers(1, 5000))
def test_ten_thousand_refusals(words: str, roles: list[str], room: int) -> None:
    any_refusal(words, roles, room)
