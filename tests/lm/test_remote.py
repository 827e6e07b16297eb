"""Models behind an API, asked over real sockets: what is retried, what stops, what is paid, kept and never told."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from servers import Server, echo, of_engine, serving, slow

from rung.errors import BudgetError, ModelError
from rung.lm.base import Completion, Decoding, Prompt
from rung.lm.engines import Engines
from rung.lm.remote import bounded, client, label_matching, replies, wire
from rung.lm.remote.engine import CONTEXT, RemoteEngine
from rung.lm.remote.prices import KNOWN, Price
from rung.lm.remote.request import REASONING_TOKENS
from rung.lm.remote.settings import Endpoint, Limits, Settings, endpoint, is_remote, undated
from rung.lm.remote.tokens import bound, estimate
from rung.lm.remote.wire import Wire
from rung.methods.structured import schema
from rung.types import Message

KEY = "sk-secret-0123456789"
PRICE = Price(1.0, 10.0)
PLAIN = Decoding(max_new_tokens=20)


def prompt(text: str) -> Prompt:
    return Prompt((Message("system", "Say the last word."), Message("user", text)), text)


def prompts(count: int) -> list[Prompt]:
    return [prompt(f"question number w{i}") for i in range(count)]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "BACKOFF", 0.002)
    monkeypatch.setenv("RUNG_TEST_KEY", KEY)


@pytest.fixture
def opened(tmp_path: Path, machine: Any) -> Callable[..., RemoteEngine]:
    """An engine for a server, its books in `tmp_path`; each call is like another process."""

    def made(server: Server, **changes: Any) -> RemoteEngine:
        given = {"timeout_s": 5.0, "prices": {"m": PRICE}, "folder": tmp_path / "books", **changes}
        engines = Engines(machine, api=Settings(**given))
        return engines.open(engines.reference(server.url + "#m"))  # type: ignore[return-value]

    return made


# --- names, prices, labels --------------------------------------------------------------------------------------------


def test_names_of_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    at = endpoint("openai:gpt-4o-mini")
    assert (at.url, at.model, at.key_env) == ("https://api.openai.com/v1", "gpt-4o-mini", "OPENAI_API_KEY")
    assert not at.in_house and at.price({}) == KNOWN["gpt-4o-mini"]
    own = endpoint("http://localhost:8000/v1/#our model")
    assert (own.url, own.model, own.key_env) == ("http://localhost:8000/v1", "our model", "")
    assert own.loopback and own.in_house and own.price({}) is None
    assert not is_remote("smollm2-135m-instruct") and not is_remote("./openai")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://10.0.0.5/v1")
    assert endpoint("openai:gpt-4o-mini").price({}) is None, "another seller's price is not OpenAI's"


@pytest.mark.parametrize("name", ["http://localhost:8000/v1", "openai:", "http://me:pw@host/v1#m", "https://host/v1?api-key=1#m"])
def test_a_name_that_says_too_little_or_too_much(name: str) -> None:
    with pytest.raises(ModelError) as error:
        endpoint(name)
    assert "pw" not in str(error.value)


def test_a_dated_snapshot_costs_what_its_model_costs() -> None:
    assert undated("gpt-4o-mini-2024-07-18") == "gpt-4o-mini"
    assert undated("gpt-4o-mini") == "gpt-4o-mini" and undated("o3") == "o3"
    assert Price(2.0, 8.0, 0.5).usd(1_000_000, 500_000, 400_000) == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 4)
    assert all(price.noted and (price.cached or 0) <= price.input < price.output for price in KNOWN.values())


def test_an_unknown_price_is_said_where_it_is_needed(machine: Any, tmp_path: Path) -> None:
    engines = Engines(machine, api=Settings(folder=tmp_path))
    with pytest.raises(ModelError, match=r"no price is known for 'm'.*prices: \{m: \{input:"):
        engines.price(engines.reference("https://models.example.org/v1#m"))
    assert engines.price(engines.reference("http://127.0.0.1:1/v1#m")) is None


LABELS = ("refund", "refund_late", "delivery", "Other")


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("refund", "refund"),
        (" **Refund Late.** ", "refund_late"),
        ('{"label": "delivery"}', "delivery"),
        ("other", "Other"),
        ("deliv", "delivery"),
        ("Delivery, since the parcel is late.", "delivery"),
        ("refu", None),
        ("It is delivery.", None),
        ("delivery or other", None),
        ("not one of them", None),
        ("", None),
        ("{}", None),
    ],
)
def test_an_answer_is_read_as_a_label_or_not_at_all(said: str, label: str | None) -> None:
    assert label_matching.match_label(said, LABELS) == label


@given(st.lists(st.text(min_size=1), min_size=1, max_size=5, unique=True), st.text())
def test_every_label_reads_as_itself_and_nothing_else_is_made_up(names: list[str], text: str) -> None:
    for name in names:
        assert label_matching.match_label(name, names) in (name, label_matching.match_label(name.strip(), names))
    assert label_matching.match_label(text, names) in (*names, None)


@given(st.text(), st.text())
def test_the_bound_is_above_the_estimate(system: str, text: str) -> None:
    asked = Prompt((Message("system", system), Message("user", text)), text)
    assert len((system + text).encode()) < bound(asked, ()) and estimate(asked) < bound(asked, ())


# --- what is retried, what stops --------------------------------------------------------------------------------------

FAULTS = ["429", "500", "502", "503", "garbage", "html", "half", "nothing", "error", "empty"]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_may_pass_is_tried_again(fault: str, opened: Callable[..., RemoteEngine]) -> None:
    with serving(Server([fault])) as server:
        engine = opened(server)
        [found] = engine.generate([prompt("say hello")], PLAIN)
    assert (found.text, found.error) == ("hello", "") and server.moves == {fault: 1, "ok": 1}
    spent = engine.ledger.spent()
    assert spent.calls == 2 and spent.usd == pytest.approx(PRICE.usd(server.tokens_in, server.tokens_out))
    assert spent.unsure == (fault in ("garbage", "html", "half", "nothing"))


def test_an_answer_written_as_empty_is_asked_for_twice_and_taken(opened: Callable[..., RemoteEngine]) -> None:
    with serving(Server(answer=lambda body: ("", 10, 1))) as server:
        engine = opened(server)
        assert engine.generate([prompt("say nothing")], PLAIN) == engine.generate([prompt("say nothing")], PLAIN)
    assert server.moves.total() == 2 and engine.ledger.spent().tokens_in == 20, "both were billed, and both are booked"


def test_silence_is_a_fault(opened: Callable[..., RemoteEngine]) -> None:
    with serving(Server(["hang"])) as server:
        engine = opened(server, timeout_s=0.3)
        [found] = engine.generate([prompt("say hello")], PLAIN)
    assert found.text == "hello" and engine.ledger.spent().unsure == 1, "it may have been billed, and that is said"


def test_a_server_that_asks_for_time_gets_it_from_all(opened: Callable[..., RemoteEngine]) -> None:
    with serving(Server(["ok", "429:0.5"])) as server:
        engine = opened(server, concurrency=2)
        started = time.monotonic()
        assert all(not found.error for found in engine.generate(prompts(6), PLAIN))
    assert time.monotonic() - started >= 0.5
    engine.client._not_before = 0.0


def test_a_server_that_asks_for_an_hour_ends_the_work(opened: Callable[..., RemoteEngine]) -> None:
    with serving(Server(["429:3600"])) as server, pytest.raises(ModelError, match="asks to wait 3600 s"):
        opened(server).generate(prompts(3), PLAIN)
    assert server.moves.total() == 1


@pytest.mark.parametrize(("status", "said"), [("401", "Name the variable"), ("404", "ends in /v1"), ("403", "account")])
def test_what_no_row_would_survive_stops_at_once(status: str, said: str, opened: Callable[..., RemoteEngine]) -> None:
    with serving(Server(["ok", "ok", *[status] * 50])) as server:
        with pytest.raises(ModelError, match=f"{status}.*{said}"):
            opened(server, concurrency=2).generate(prompts(40), PLAIN)
        assert server.moves[status] <= 4
        server.script = iter(())
        assert all(not found.error for found in opened(server).generate(prompts(40), PLAIN))
    assert set(server.answered.values()) == {1}, "what came before the stop is not paid again"


def test_nobody_there_stops_the_work(opened: Callable[..., RemoteEngine]) -> None:
    with serving(Server()) as server:
        engine = opened(server, retries=2)
    with pytest.raises(ModelError, match="cannot be reached, 3 tries"):
        engine.generate(prompts(5), PLAIN)


def test_a_row_that_fails_for_good_keeps_its_error_and_is_asked_next_time(opened: Callable[..., RemoteEngine]) -> None:
    with serving(Server(["ok", *["500"] * 3])) as server:
        engine = opened(server, retries=2, concurrency=1)
        found = engine.generate(prompts(4), PLAIN)
        assert [bool(one.error) for one in found] == [False, True, False, False]
        assert "failed after 3 tries" in found[1].error and "500" in found[1].error
        assert [one.text for one in engine.generate(prompts(4), PLAIN)] == ["w0", "w1", "w2", "w3"]
    assert set(server.answered.values()) == {1}


def test_a_refused_question_is_not_repeated(opened: Callable[..., RemoteEngine]) -> None:
    with serving(Server(["ok", "400"])) as server:
        found = opened(server, concurrency=1).generate(prompts(3), PLAIN)
    assert [bool(one.error) for one in found] == [False, True, False] and server.moves.total() == 3


def test_concurrency_is_used_and_bounded(opened: Callable[..., RemoteEngine]) -> None:
    with serving(Server(answer=slow(echo, 0.05))) as server:
        opened(server, concurrency=4).generate(prompts(20), PLAIN)
    assert server.busiest == 4


# --- labels and servers' differences ----------------------------------------------------------------------------------


def test_what_a_server_refuses_is_found_out_once(opened: Callable[..., RemoteEngine]) -> None:
    asked = [prompt(f"{i} is it a or b") for i in range(10)]
    with serving(Server(refuses=("response_format", "logprobs", "seed", "max_tokens"))) as server:
        engine = opened(server)
        found = engine.choose(asked, ("a", "b"))
        assert [one.label for one in found] == ["b"] * 10 and {one.confidence for one in found} == {None}
        assert len(server.bodies) == 14, "four refusals, then ten answers"
        assert "max_completion_tokens" in server.bodies[-1]
        assert list(engine.stream(prompt("say something"), PLAIN)) == ["som", "eth", "ing"]
    assert engine.ledger.spent().failed == 4


def test_a_server_that_can_is_held_to_the_labels(opened: Callable[..., RemoteEngine]) -> None:
    def answer(body: dict[str, Any]) -> tuple[str, int, int]:
        names = body["response_format"]["json_schema"]["schema"]["properties"]["label"]["enum"]
        return json.dumps({"label": names[1]}), 5, 2

    with serving(Server(answer=answer)) as server:
        server.log_probability = -0.5
        [found] = opened(server).choose([prompt("which?")], ("a", "b"))
    assert found.label == "b" and found.confidence == pytest.approx(0.6065, abs=1e-3)
    assert (found.tokens_in, found.tokens_out) == (5, 2)


def test_what_an_answer_has_begun_with_is_a_turn_and_draws_are_asked_apart(opened: Callable[..., RemoteEngine]) -> None:
    with serving(Server()) as server:
        engine = opened(server)
        begun = replace(prompt("x y"), begun="because")
        engine.generate([begun, replace(prompt("x y"), draw=1), replace(prompt("x y"), draw=2)], Decoding(seed=5))
        turns = [[(m["role"], m["content"]) for m in body["messages"]] for body in server.bodies]
        assert [turn for said in turns for turn in said if turn[0] == "assistant"] == [("assistant", "because")]
        assert sorted(body["seed"] for body in server.bodies) == [5, 6, 7]
        assert engine.count(begun) > engine.count(prompt("x y"))


def test_a_server_is_held_to_a_schema_and_free_without(opened: Callable[..., RemoteEngine]) -> None:
    with serving(Server()) as server:
        engine = opened(server)
        for schema in ('{"type": "object"}', ""):
            engine.generate([prompt("x y")], Decoding(schema=schema))
        assert server.bodies[0]["response_format"]["json_schema"]["schema"] == {"type": "object"}
        assert "response_format" not in server.bodies[1]


def strict(shape: dict[str, Any]) -> bool:
    return label_matching.schema_format(shape)["json_schema"]["strict"]


def test_a_server_is_held_strictly_only_to_what_may_be_strict() -> None:
    assert label_matching.label_format(("a", "b"))["json_schema"]["strict"] and strict({"type": "string"})
    always, seldom = {"a": 1, "of": [{"b": "x"}]}, {"a": 1, "of": [{"b": "x"}, {}]}
    assert strict(schema([always, {**always, "a": None}]))
    assert not strict(schema([always, {"a": 1}])) and not strict(schema([seldom])), "a field that some leave out, at any depth"
    assert not strict({"type": "object", "properties": {}}), "it may have others"
    assert not strict(schema([{"of": []}])), "an array that says nothing of what is in it"


# --- models that think first ------------------------------------------------------------------------------------------


def test_a_model_that_thinks_first_has_room_for_it_whatever_it_is_asked(opened: Callable[..., RemoteEngine]) -> None:
    with serving(Server(refuses=("max_tokens",))) as server:
        engine = opened(server)
        engine.generate([prompt("say hello")], PLAIN)
        engine.choose([prompt("a or b")], ("a", "b"))
        assert list(engine.stream(prompt("say more"), PLAIN)) == ["mor", "e"]
    room = [body["max_completion_tokens"] for body in server.bodies if "max_completion_tokens" in body]
    assert room[0] == room[2] == 20 + REASONING_TOKENS and room[1] > REASONING_TOKENS


def test_an_answer_that_thinking_left_no_room_for_is_an_error_and_is_paid_once(opened: Callable[..., RemoteEngine]) -> None:
    said = "the model used all 20 tokens before it gave an answer."
    with serving(Server(["thought"] * 2)) as server:
        engine = opened(server)
        [found] = engine.generate([prompt("say hello")], PLAIN)
        assert (found.text, found.finished, found.error, found.tokens_out) == ("", False, said, 20)
        [label] = engine.choose([prompt("a or b")], ("a", "b"))
        assert (label.label, label.confidence) == ("", None) and label.error.startswith("the model used all ")
        assert opened(server).generate([prompt("say hello")], PLAIN) == [found] and server.moves.total() == 2
    assert engine.ledger.spent().failed == 0 and engine.ledger.spent().unsure == 0


def test_a_stream_that_thinking_left_no_room_for_is_an_error(opened: Callable[..., RemoteEngine]) -> None:
    with serving(Server(["thought"])) as server:
        engine = opened(server)
        for _ in range(2):
            with pytest.raises(ModelError, match="used all 20 tokens before it gave"):
                list(engine.stream(prompt("say hello"), PLAIN))
    spent = engine.ledger.spent()
    assert (server.moves.total(), spent.calls, spent.failed, spent.tokens_out) == (1, 1, 0, 20)


def test_an_answer_that_is_no_label_is_kept_as_it_is(opened: Callable[..., RemoteEngine]) -> None:
    with serving(Server(answer=lambda body: ("I would rather not say", 1, 1))) as server:
        [found] = opened(server).choose([prompt("which?")], ("a", "b"))
    assert found.label == "I would rather not say" and not found.error and found.confidence is None


def test_context_is_asked_for(opened: Callable[..., RemoteEngine]) -> None:
    with serving(Server()) as server:
        assert opened(server).context == CONTEXT
        server.model_facts = {"meta": {"n_ctx_train": 4096}}
        assert opened(server).context == 4096
        server.model_facts = {"max_model_len": 2048}
        assert opened(server).context == 2048


def test_it_cannot_score(opened: Callable[..., RemoteEngine]) -> None:
    with serving(Server()) as server, pytest.raises(ModelError, match="log-probabilities of a prompt"):
        opened(server).score([prompt("x")], ["y"])


def test_a_server_without_usage_is_estimated_and_said_so(opened: Callable[..., RemoteEngine]) -> None:
    with serving(Server(["no-usage"])) as server:
        engine = opened(server)
        [found] = engine.generate([prompt("say hello")], PLAIN)
    assert found.tokens_in == engine.count(prompt("say hello")) and found.tokens_out == 2
    assert engine.ledger.spent().estimated == 1 and "estimated" in str(engine.ledger.spent())


# --- streams ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["429", "500", "nothing", "garbage", "hang"])
def test_a_stream_that_does_not_begin_is_tried_again(fault: str, opened: Callable[..., RemoteEngine]) -> None:
    with serving(Server([fault])) as server:
        engine = opened(server, timeout_s=0.4)
        assert list(engine.stream(prompt("say something"), PLAIN)) == ["som", "eth", "ing"]
        assert list(engine.stream(prompt("say something"), PLAIN)) == ["something"], "kept"
        assert engine.generate([prompt("say something")], PLAIN)[0].text == "something", "the same question"
    assert server.moves == {fault: 1, "ok": 1}


def test_half_a_stream_is_an_error(opened: Callable[..., RemoteEngine]) -> None:
    with serving(Server(["half"])) as server:
        engine, said = opened(server), []
        with pytest.raises(ModelError, match="was interrupted"):
            for piece in engine.stream(prompt("say something"), PLAIN):
                said.append(piece)
    assert said == ["som"] and engine.ledger.spent().unsure == 1


def test_a_reader_who_leaves_closes_the_books(opened: Callable[..., RemoteEngine]) -> None:
    with serving(Server()) as server:
        engine = opened(server)
        stream = engine.stream(prompt("say something"), PLAIN)
        next(stream)
        stream.close()  # type: ignore[attr-defined]
    assert engine.ledger.spent().unsure == 1 and engine.ledger._in_flight == 0


# --- answers kept -----------------------------------------------------------------------------------------------------


def test_a_repeated_question_costs_nothing_and_reports_the_original(opened: Callable[..., RemoteEngine]) -> None:
    with serving(Server(answer=slow(echo, 0.05))) as server:
        first = opened(server).generate(prompts(3) * 2, PLAIN)
        again = opened(server).generate(prompts(3) * 2, PLAIN)
        assert first == again and again[0].seconds >= 0.05
        assert server.moves.total() == 3, "nothing was asked again"
        opened(server).generate(prompts(3), Decoding(max_new_tokens=20, seed=1))
        assert server.moves.total() == 6, "another seed is another question"
        opened(server, cache=False).generate(prompts(3), PLAIN)
        assert server.moves.total() == 9


def test_answers_survive_a_killed_process(tmp_path: Path, opened: Callable[..., RemoteEngine]) -> None:
    program = """
import sys
from pathlib import Path
from rung.lm.base import Decoding, Prompt
from rung.lm.remote.engine import RemoteEngine
from rung.lm.remote.calls import FileCalls
from rung.lm.remote.ledger import Ledger
from rung.lm.remote.settings import Settings, endpoint
from rung.types import Message
system = Message("system", "Say the last word.")
asked = [Prompt((system, Message("user", f"question number w{i}")), "") for i in range(40)]
settings = Settings(folder=Path(sys.argv[1]), concurrency=2)
ledger = Ledger(FileCalls(settings.folder))
RemoteEngine(endpoint(sys.argv[2] + "#m"), settings, ledger).generate(asked, Decoding(max_new_tokens=20))
"""
    with serving(Server(answer=slow(echo, 0.05))) as server:
        child = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "books"), server.url])
        deadline = time.monotonic() + 30
        while len(server.answered) < 10 and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        engine = opened(server)
        left = engine.ledger.spent().unsure
        found = engine.generate(prompts(40), PLAIN)
    assert [one.text for one in found] == [f"w{i}" for i in range(40)]
    assert left <= 2, "those under way when it was killed"
    assert sum(server.answered.values()) - 40 <= left, "an answer that had come is not asked for again"


def test_two_processes_share_the_books(opened: Callable[..., RemoteEngine]) -> None:
    with serving(Server()) as server:
        both = [opened(server), opened(server)]
        parts = [prompts(30), prompts(30)[::-1]]
        threads = [threading.Thread(target=e.generate, args=(p, PLAIN)) for e, p in zip(both, parts)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert both[0].ledger.spent() == both[1].ledger.spent()
        assert both[0].ledger.spent().usd == pytest.approx(PRICE.usd(server.tokens_in, server.tokens_out))


# --- the budget -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "named"),
    [(Limits(calls=5), "calls"), (Limits(tokens=900), "tokens"), (Limits(usd=0.002), "dollars"), (Limits(seconds=0.5), "time")],
)
def test_nothing_is_sent_beyond_a_limit(limits: Limits, named: str, opened: Callable[..., RemoteEngine]) -> None:
    read = 100
    with serving(Server(["ok", "500"], answer=slow(lambda body: (echo(body)[0], read, 10), 0.05))) as server:
        with pytest.raises(BudgetError, match=f"{named}.*Spent so far: [1-9]"):
            opened(server, limits=limits, concurrency=4).generate(prompts(60), PLAIN)
        sent, answered = server.moves.total(), len(server.answered)
        assert 3 <= sent < 60 and answered >= 2
        assert limits.calls is None or sent == limits.calls
        assert limits.tokens is None or (limits.tokens - 300 < server.tokens_in + server.tokens_out <= limits.tokens)
        assert limits.usd is None or 0.6 * limits.usd < PRICE.usd(server.tokens_in, server.tokens_out) <= limits.usd
        if limits.seconds is None:
            with pytest.raises(BudgetError):
                opened(server, limits=limits).generate(prompts(60), PLAIN)
            assert server.moves.total() <= sent + 1, "another process finds the same books"
        found = opened(server).generate(prompts(60), PLAIN)
    assert not any(one.error for one in found) and set(server.answered.values()) == {1}


def test_dollars_cannot_be_limited_without_a_price(opened: Callable[..., RemoteEngine]) -> None:
    with serving(Server()) as server, pytest.raises(BudgetError, match="price is not known"):
        opened(server, limits=Limits(usd=1.0), prices={}).generate(prompts(2), PLAIN)
    assert not server.moves


def test_an_unknown_price_is_not_zero(opened: Callable[..., RemoteEngine]) -> None:
    with serving(Server()) as server:
        engine = opened(server, prices={})
        engine.generate(prompts(2), PLAIN)
    assert engine.ledger.spent().unpriced == 2 and "price unknown" in str(engine.ledger.spent())


# --- the key ----------------------------------------------------------------------------------------------------------


def test_the_key_is_sent_and_never_told(
    opened: Callable[..., RemoteEngine], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[str] = []
    caplog.set_level(logging.DEBUG)

    def parrot(body: dict[str, Any]) -> tuple[str, int, int]:
        return f"your key is {KEY}", 3, 3

    with serving(Server(["ok", "500", "garbage", "400"], answer=parrot)) as server:
        engine = opened(server, key_env="RUNG_TEST_KEY", concurrency=1, retries=0)
        found: list[Completion] = engine.generate(prompts(5), PLAIN)
        said += [repr(engine), repr(vars(engine)), repr(vars(engine.client)), repr(found), str(engine.ledger.spent())]
        said += engine.stream(prompt("another"), PLAIN)
        server.script = iter(["401"])
        with pytest.raises(ModelError) as error:
            engine.generate([prompt("one more")], PLAIN)
        said += [str(error.value), repr(error.value)]
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    assert sum(bool(one.error) for one in found) == 3
    said += [record.getMessage() for record in caplog.records]
    assert not [text for text in said if KEY in text]
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or KEY.encode() not in path.read_bytes(), path


def test_a_key_goes_to_no_stranger(opened: Callable[..., RemoteEngine], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    with serving(Server()) as server:
        opened(server).generate(prompts(1), PLAIN)
    assert "Authorization" not in server.headers[0]


def test_a_missing_key_is_named(opened: Callable[..., RemoteEngine], monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Server()) as server, pytest.raises(ModelError, match="the environment variable NOT_THERE is not set"):
        opened(server, key_env="NOT_THERE").generate(prompts(1), PLAIN)
    assert not server.moves


# --- the real default model behind it ---------------------------------------------------------------------------------


@pytest.mark.model
def test_the_default_model_over_http_answers_as_at_hand(opened: Callable[..., RemoteEngine]) -> None:
    engines = Engines()
    local = engines.open(engines.reference("smollm2-135m-instruct"))
    asked = [prompt("The capital of France is Paris. What is the capital of France?"), prompt("Say yes.")]
    decoding = Decoding(max_new_tokens=8)
    with serving(Server(["ok", "500"], answer=of_engine(local))) as server:
        over = opened(server, timeout_s=60.0).generate(asked, decoding)
    here = [local.generate([one], decoding)[0] for one in asked]
    assert [(one.text, one.tokens_in) for one in over] == [(one.text, one.tokens_in) for one in here]


# --- hostile ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["sk-good\n", " sk-good\r\n"])
def test_a_key_may_end_in_a_line_break(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("A_KEY", key)
    assert Wire(Endpoint("http://x/v1", "m", "A_KEY"), 1.0)._key == "sk-good"


def test_a_key_that_no_header_takes_is_not_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "sk-sec\x01ret")
    with pytest.raises(ModelError) as caught:
        _ = Wire(Endpoint("http://x/v1", "m", "A_KEY"), 1.0)._key
    assert "A_KEY" in str(caught.value) and "sk-sec" not in str(caught.value)


@pytest.mark.parametrize("counts", [(-1_000_000, 5, 0), (5, -1, 0), (5, 5, -1), (10**30, 5, 0), ("5", 5, 0), (5, "x", 0)])
def test_a_bill_that_cannot_be_is_no_bill(counts: tuple[Any, Any, Any]) -> None:
    read, written, cached = counts
    told = {"prompt_tokens": read, "completion_tokens": written, "prompt_tokens_details": {"cached_tokens": cached}}
    assert replies.usage({"usage": told}) is None


@pytest.mark.parametrize(
    "error", [RecursionError(), OverflowError(), ValueError("x"), UnicodeEncodeError("utf-8", "x", 0, 1, "y")]
)
def test_an_answer_that_cannot_be_read_is_tried_again(error: Exception) -> None:
    def broken() -> None:
        raise error

    with pytest.raises(wire.RetryableError) as caught:
        Wire(Endpoint("http://x/v1", "m"), 1.0)._guarded(broken)
    assert caught.value.__context__ is None and caught.value.__cause__ is None


def test_an_answer_without_end_is_left() -> None:
    class Endless:
        def __init__(self) -> None:
            self.headers: dict[str, str] = {}

        def iter_raw(self) -> Any:
            while True:
                yield b"more"

    with pytest.raises(bounded.TooMuchError):
        bounded.body(Endless(), 10)
    assert bounded.beginning(Endless(), 10) == "moremore"


def test_a_key_is_taken_out_however_it_is_spelt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "sk-good/key")
    one = Wire(Endpoint("http://x/v1", "m", "A_KEY"), 1.0)
    assert one.key_filter.text(json.loads('"my key is sk-good\\/key \\ud800"')) == "my key is [key] ?"


@pytest.mark.parametrize(
    ("host", "in_house"),
    [("134744072", False), ("0x8080808", False), ("8.8.8.8", False), ("10.0.0.5", True), ("node1", True), ("gpu.lan", True)],
)
def test_what_stays_in_the_house(host: str, in_house: bool) -> None:
    assert Endpoint(f"http://{host}/v1", "m").in_house is in_house
