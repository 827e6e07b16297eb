"""Servers with ways of their own, broken and hostile ones: answered where one can, else an error that is none of the model's."""

from __future__ import annotations

import gzip
import json
import time
import traceback
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers import ANSWERED, FAILING, OK, STREAMS, Odd, completion, endless, harming, labelled, once, refusal, right, serving

from rung.errors import RungError
from rung.lm.base import Decoding, Prompt
from rung.lm.engines import Engines
from rung.lm.remote import bounded, client, label_matching, replies, request_forms
from rung.lm.remote.call_errors import RetryableError
from rung.lm.remote.engine import RemoteEngine
from rung.lm.remote.request import REASONING_TOKENS
from rung.lm.remote.settings import Endpoint, Settings
from rung.lm.remote.wire import Wire
from rung.types import Message

KEY = "sk-secret/0123+456789"
LABELS = ("left", "right")
PLAIN = Decoding(max_new_tokens=60)


def prompt(text: str) -> Prompt:
    return Prompt((Message("system", "Say the last word."), Message("user", text)), text)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "BACKOFF", 0.002)
    monkeypatch.setenv("RUNG_TEST_KEY", KEY)


@pytest.fixture
def opened(tmp_path: Path, machine: Any) -> Callable[..., RemoteEngine]:
    def made(url: str, say: Callable[[str], object] = lambda text: None, **changes: Any) -> RemoteEngine:
        given = {"timeout_s": 5.0, "retries": 2, "folder": tmp_path / "books", **changes}
        engines = Engines(machine, say, api=Settings(**given))
        return engines.open(engines.reference(f"{url}#m"))  # type: ignore[return-value]

    return made


QUESTIONS = [prompt(f"{i} is it {LABELS[i % 2]}") for i in range(4)]


# --- answered where one can -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ANSWERED)
def test_an_odd_way_is_answered_for_all_that(way: str, opened: Callable[..., RemoteEngine]) -> None:
    with serving(Odd(ANSWERED[way])) as server:
        engine = opened(server.url)
        found = engine.choose(QUESTIONS, LABELS)
        assert [(one.label, one.error) for one in found] == [(LABELS[i % 2], "") for i in range(4)]
        sent = server.moves.total()
        assert sent <= 4 + 8, "what is found out is found out once"
        engine.choose([prompt("5 is it right")], LABELS)
        assert server.moves.total() == sent + 1, "and not again"
        assert engine.ledger.spent().unsure == 0, "nothing is paid on the way"


@pytest.mark.parametrize("way", [way for way in ANSWERED if "logprob" in way or "token ids" in way])
def test_a_probability_that_cannot_be_is_none(way: str, opened: Callable[..., RemoteEngine]) -> None:
    with serving(Odd(ANSWERED[way])) as server:
        found = opened(server.url).choose([prompt("is it right")], LABELS)
    assert found[0].confidence is None


@pytest.mark.parametrize("way", FAILING)
def test_what_cannot_be_answered_is_an_error_with_its_reason(way: str, opened: Callable[..., RemoteEngine]) -> None:
    with serving(Odd(FAILING[way])) as server:
        engine = opened(server.url)
        found = engine.choose(QUESTIONS[:2], LABELS)
        assert all(one.error and not one.label for one in found), found
        written = opened(server.url).generate(QUESTIONS[:1], PLAIN)
        assert way in ("think without an end",) or all(one.error for one in written)
        assert server.moves.total() < 40


def test_a_server_that_answers_nothing_recognisable_is_not_paid_seven_times(opened: Callable[..., RemoteEngine]) -> None:
    with serving(Odd(FAILING["no choices"])) as server:
        opened(server.url, retries=6).choose(QUESTIONS[:1], LABELS)
        assert server.moves.total() == client.BILLED_TRIES


def test_what_a_server_refuses_is_said_once(opened: Callable[..., RemoteEngine]) -> None:
    said: list[str] = []
    for way in ("no response_format, 500", "no system, named"):
        with serving(Odd(ANSWERED[way])) as server:
            engine = opened(server.url, said.append)
            engine.choose(QUESTIONS, LABELS)
            engine.choose([prompt("9 is it right")], LABELS)
    assert ["response_format" in one for one in said] == [True, False] and "system message" in said[1]


def test_a_passing_500_drops_nothing(opened: Callable[..., RemoteEngine]) -> None:
    moves = iter([500, 0, 500, 500])
    way = lambda body: refusal("busy", 500) if next(moves, 0) else (200, completion(labelled(right(body))))  # noqa: E731
    with serving(Odd(way)) as server:
        found = opened(server.url, concurrency=1).choose(QUESTIONS, LABELS)
        assert not any(one.error for one in found) and all("response_format" in body for body in server.bodies)


def test_a_system_message_is_folded_into_the_first_of_the_user(opened: Callable[..., RemoteEngine]) -> None:
    with serving(Odd(ANSWERED["no system, named"])) as server:
        opened(server.url).choose(QUESTIONS[:1], LABELS)
        [turn] = server.bodies[-1]["messages"]
    assert turn == {"role": "user", "content": "Say the last word.\n\n0 is it left"}
    assert "response_format" in server.bodies[-1], "only what was refused is put otherwise"


def test_what_a_tool_said_is_told_as_the_users() -> None:
    told = request_forms.turns([Message("user", "a"), Message("tool", "b"), Message("developer", "c")], frozenset())
    assert told == [
        {"role": "user", "content": "a"},
        {"role": "user", "content": "[tool]\nb"},
        {"role": "system", "content": "c"},
    ]
    assert request_forms.turns([Message("user", "a"), Message("tool", "b")], frozenset({request_forms.ROLES})) == [
        {"role": "user", "content": "a\n\n[tool]\nb"}
    ]


def test_calls_of_tools_are_sent_as_such_where_they_can_be() -> None:
    call = {"tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": {"a": 1}}}]}
    asked = [
        Message("tools", "[]"),
        Message("system", "s"),
        Message("assistant", "", json.dumps(call)),
        Message("tool", "b", '{"tool_call_id": "c1"}'),
    ]
    assert request_forms.turns(asked, frozenset())[0] == {"role": "system", "content": "s"}  # tools are a parameter
    told = request_forms.turns(asked, frozenset({"tools"}))
    assert [turn["role"] for turn in told] == ["system", "assistant", "tool"] and "[]" in told[0]["content"]
    assert told[1]["tool_calls"][0]["function"]["arguments"] == '{"a": 1}' and told[2]["tool_call_id"] == "c1"
    folded = request_forms.turns(asked, frozenset({request_forms.ROLES, "tools"}))
    assert [turn["role"] for turn in folded] == ["user", "assistant", "user"] and '"name": "f"' in folded[1]["content"]


def test_the_room_is_what_the_context_leaves(opened: Callable[..., RemoteEngine]) -> None:
    with serving(Odd(ANSWERED["vLLM's context"])) as server:
        found = opened(server.url).generate(QUESTIONS, Decoding(max_new_tokens=5000))
        assert [one.text for one in found] == ["left", "right"] * 2
        assert 80 < server.bodies[-1]["max_tokens"] < 120


def test_a_model_that_thinks_unasked_gets_room_once(opened: Callable[..., RemoteEngine]) -> None:
    def way(body: dict[str, Any]) -> Any:
        cut = body["max_tokens"] < REASONING_TOKENS
        return 200, completion("" if cut else right(body), "length" if cut else "stop", reasoning="hm")

    with serving(Odd(way)) as server:
        found = opened(server.url).choose(QUESTIONS, LABELS)
        assert [one.label for one in found] == ["left", "right"] * 2 and server.moves.total() == 5


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("The answer is left.", "left"),
        ("Label: **right**", "right"),
        ("I think the category would be left", "left"),
        ("It is not left. The label is right", None),
        ("The label is not left", None),
        ("the answer is neither", None),
        ('{"label": "left", "other": "right"}', "left"),
        ('{"a": "left", "b": "right"}', None),
        ('{"a": 1}', None),
        ("[]", None),
        ('```json\n{"label": "left"}\n```', "left"),
        ("```\nleft\n```\nor right", None),
    ],
)
def test_labels_are_read_where_they_are_announced(said: str, label: str | None) -> None:
    assert label_matching.match_label(said, LABELS) == label


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("<think>a</think>b", "b"),
        ("a </think> b", " b"),
        ("the tag <think> is written so", "the tag <think> is written so"),
        ("use <think>x</think> in it", "use <think>x</think> in it"),
        ("<thinking>a</thinking>\n<think>b</think> c", " c"),
        ("plain", "plain"),
    ],
)
def test_only_reasoning_before_an_answer_is_left_out(text: str, rest: str) -> None:
    assert replies.strip_reasoning(text)[0] == rest


# --- streams ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", STREAMS)
def test_a_stream_in_any_way_is_read(way: str, opened: Callable[..., RemoteEngine]) -> None:
    with serving(Odd(STREAMS[way])) as server:
        engine = opened(server.url)
        assert "".join(engine.stream(prompt("say something"), PLAIN)).strip() == "something"
        sent = server.moves.total()
        assert sent <= 4 and "".join(engine.stream(prompt("say something"), PLAIN)) == "something"
        assert server.moves.total() == sent, "it is kept"


@pytest.mark.parametrize("way", ["all refused", "all 500", "a page", "no choices", "nothing", "an error with 200"])
def test_a_stream_that_cannot_be_read_is_an_error(way: str, opened: Callable[..., RemoteEngine]) -> None:
    with serving(Odd(FAILING[way])) as server, pytest.raises(RungError):
        list(opened(server.url).stream(prompt("say something"), PLAIN))


# --- the key ----------------------------------------------------------------------------------------------------------


def spelt(key: str) -> list[str]:
    """A key in the spellings that a server may use."""
    import base64
    import urllib.parse

    return [
        key,
        key.upper(),
        key[::-1],
        "".join(f"\\u{ord(c):04x}" for c in key),
        "".join(f"\\\\u{ord(c):04X}" for c in key),
        "".join(f"\\x{ord(c):02x}" for c in key),
        "".join(f"%{ord(c):02X}" for c in key),
        "".join(f"&#{ord(c)};" for c in key),
        "".join(f"&#x{ord(c):x};" for c in key),
        urllib.parse.quote(key, safe=""),
        urllib.parse.quote(urllib.parse.quote(key, safe=""), safe=""),
        key.replace("/", "\\/"),
        key.encode().hex(),
        *(base64.b64encode(("x" * k + key + "y").encode()).decode() for k in range(3)),
        *(base64.urlsafe_b64encode(("Bearer " + "x" * k + key).encode()).decode() for k in range(3)),
        key[:9] + "\n" + key[9:],
        "\u200b".join(key),
    ]


@pytest.mark.parametrize("spelling", spelt(KEY))
def test_no_spelling_of_the_key_passes_the_key_filter(spelling: str, monkeypatch: pytest.MonkeyPatch) -> None:
    key_filter = Wire(Endpoint("http://x/v1", "m", "RUNG_TEST_KEY"), 1.0).key_filter
    text = f"you sent <{spelling}>, no?"
    assert key_filter.holds(text)
    for found in (
        key_filter.text(text),
        key_filter.value({"a": [text]})["a"][0],
        next(iter(key_filter.value({text: 1}))),
        key_filter.short(text),
    ):
        assert "[key]" in found and not key_filter.holds(found)
    for size in (1, 2, 5, 50):
        pieces = list(key_filter.pieces(text[i : i + size] for i in range(0, len(text), size)))
        assert not key_filter.holds("".join(pieces)) and "you sent <" in "".join(pieces)


def test_a_short_key_takes_no_words_along(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNG_TEST_KEY", "none")
    key_filter = Wire(Endpoint("http://x/v1", "m", "RUNG_TEST_KEY"), 1.0).key_filter
    assert key_filter.text("None of these") == "None of these" and key_filter.text("none") == "[key]"


HALVES = [KEY[:7], KEY[7:]]


def whole_with(tokens: list[str], text: str) -> dict[str, Any]:
    content = completion(text)
    content["choices"][0]["logprobs"] = {"content": [{"token": token, "logprob": -0.1} for token in tokens]}
    return content


WAYS_OUT: dict[str, Any] = {
    "a status line": once(f"HTTP/1.1 {KEY} {KEY}\r\n\r\n".encode()),
    "a reason": once(f"HTTP/1.1 400 {KEY}\r\nContent-Length: 0\r\n\r\n".encode()),
    "a header line": once(f"HTTP/1.1 200 OK\r\n{KEY}\r\n\r\n".encode()),
    "a header": once(f"HTTP/1.1 200 OK\r\nContent-Length: {KEY}\r\n\r\n".encode()),
    "a packing": once(f"HTTP/1.1 200 OK\r\nContent-Encoding: {KEY}\r\nContent-Length: 2\r\n\r\n{{}}".encode()),
    "a chunk's size": once(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{KEY}\r\n".encode()),
    "a redirect": once(f"HTTP/1.1 302 {KEY}\r\nLocation: http://x/{KEY}\r\nContent-Length: 0\r\n\r\n".encode()),
}

ANSWERS_OUT: dict[str, Any] = {
    "an answer": lambda body: (200, completion(f"key {KEY}")),
    "reasoning": lambda body: (200, completion("", reasoning_content=f"key {KEY}")),
    "parts": lambda body: (200, completion([{"type": "text", "text": half} for half in HALVES])),
    "tokens": lambda body: (200, whole_with(["key ", *HALVES], "key x")),
    "a token": lambda body: (200, whole_with([KEY], "key")),
    "an escaped token": lambda body: (
        200,
        json.dumps(whole_with(["@"], "key")).replace("@", "".join(f"\\u{ord(c):04x}" for c in KEY)).encode(),
    ),
    "an error": lambda body: refusal(f"bad key {KEY[::-1]}", 400),
    "a final error": lambda body: refusal(f"bad key {KEY}", 401),
    "an error's code": lambda body: refusal("bad", 429, code=KEY),
    "a body": lambda body: (200, f"no JSON {KEY}".encode()),
    "a body with a name": lambda body: (200, {KEY: 1, "choices": [{KEY: 2}]}),
    "events": lambda body: (
        200,
        b"".join(b'data: {"choices": [{"delta": {"content": "%s"}}]}\n\n' % half.encode() for half in ["it is ", *HALVES, " so"]),
    ),
}


def told_of(error: BaseException | None) -> str:
    """All that an error tells, with what stands behind it."""
    said: list[str] = []
    while error is not None:
        said += [str(error), repr(error), repr(vars(error)), *traceback.format_exception(error)]
        error = error.__cause__ or error.__context__
    return "\n".join(said)


def everything(engine: RemoteEngine, tmp_path: Path) -> str:
    """All that is shown, raised and kept when an endpoint is asked in every way."""
    said = [repr(engine.client.wire.models())]
    for ask in (
        lambda: engine.choose([prompt("is it left")], LABELS),
        lambda: engine.generate([prompt("say x")], PLAIN),
        lambda: list(engine.stream(prompt("say y"), PLAIN)),
    ):
        try:
            said.append(repr(ask()))
        except RungError as error:
            said.append(told_of(error))
    said += [path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    return "\n".join(said)


@pytest.mark.parametrize("way", WAYS_OUT)
def test_the_key_does_not_get_out_by_the_connection(way: str, opened: Callable[..., RemoteEngine], tmp_path: Path) -> None:
    with harming(WAYS_OUT[way]) as url:
        engine = opened(url, key_env="RUNG_TEST_KEY", retries=1, timeout_s=2.0)
        assert not engine.client.wire.key_filter.holds(everything(engine, tmp_path))


@pytest.mark.parametrize("way", ANSWERS_OUT)
def test_the_key_does_not_get_out_by_an_answer(way: str, opened: Callable[..., RemoteEngine], tmp_path: Path) -> None:
    with serving(Odd(ANSWERS_OUT[way])) as server:
        engine = opened(server.url, key_env="RUNG_TEST_KEY", retries=1)
        said = everything(engine, tmp_path)
        assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert not engine.client.wire.key_filter.holds(said)


# --- answers without end ----------------------------------------------------------------------------------------------

BOMB = gzip.compress(b" " * (200 << 20))
CHUNK = b"10000\r\n" + b" " * 65536 + b"\r\n"

ENDLESS: dict[str, Any] = {
    "a body": endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", CHUNK),
    "a body of stated size": endless(OK + b"Content-Length: 9999999999\r\n\r\n", b" " * 65536),
    "an error's body": endless(b"HTTP/1.1 500 no\r\nContent-Length: 9999999999\r\n\r\n", b" " * 65536),
    "a packed body": once(OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB),
    "a packed pack": once(OK + b"Content-Encoding: gzip, gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB),
    "a packed error": once(b"HTTP/1.1 400 no\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(BOMB) + BOMB),
    "slow bytes": endless(OK + b"Content-Length: 100000\r\n\r\n", b" ", 0.05),
    "slow headers": endless(b"HTTP/1.1 200 OK\r\nX-A: ", b"a", 0.05),
    "a slow status": endless(b"HTTP/1.1 ", b"2", 0.05),
    "headers without end": endless(b"HTTP/1.1 200 OK\r\n", b"X-Header: value\r\n"),
    "only hints": endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", 0.001),
    "events": endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b'f\r\ndata: {"a": 1}\n\r\n'),
    "comments": endless(OK + b"Transfer-Encoding: chunked\r\n\r\n", b"3\r\n: \n\r\n", 0.05),
    "a line": endless(OK + b"Transfer-Encoding: chunked\r\n\r\ndata: ", CHUNK),
    "redirects": once(b"HTTP/1.1 302 Found\r\nLocation: /v1/chat/completions\r\nContent-Length: 0\r\n\r\n"),
    "a silence": lambda connection, closing: closing.wait(30.0),
}


@pytest.mark.parametrize("way", ENDLESS)
def test_an_answer_without_end_ends(way: str, opened: Callable[..., RemoteEngine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "MAX_BYTES", 4 << 20)
    monkeypatch.setattr(client, "BILLED_TRIES", 1)
    monkeypatch.setattr("rung.lm.remote.wire.CONNECT_SECONDS", 1.0)
    started = time.monotonic()
    tracemalloc.start()
    with harming(ENDLESS[way]) as url:
        engine = opened(url, retries=0, timeout_s=0.3)
        assert engine.client.wire.models() == []
        for ask in (engine.client.wire.send, lambda body: list(engine.client.wire.stream(body))):
            with pytest.raises((RetryableError, RungError)):
                ask({"messages": []})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert time.monotonic() - started < 30 and peak < 100 << 20
