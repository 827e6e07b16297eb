"""Engines whose free text another program writes: what it is asked, how its pieces come, what stays with rung's own engine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from backends import OwnAgain
from backends import kind as again

from rung.errors import DataError, ModelError
from rung.lm import llama_cpp
from rung.lm.backends import llamacpp, table, weights
from rung.lm.backends.engine import BackendEngine
from rung.lm.backends.table import BackendChoice
from rung.lm.base import Completion, Decoding, ModelRef, Prompt, Writing
from rung.lm.engines import Engines
from rung.lm.models import adapters
from rung.lm.models.load import load
from rung.machine import Machine

TEXTS = ["where is my order", "the parcel is late", "refund please", "a"]
GREEDY = Decoding(max_new_tokens=12)
NEEDED = pytest.mark.skipif(not llama_cpp.installed(), reason="needs xllamacpp")
Opened = Callable[..., tuple[BackendEngine, Engines, ModelRef]]


@pytest.fixture
def opened(base: Callable[[str], Path], machine: Machine, home: Path) -> Opened:
    """`opened(choice)`: a tiny model with this backend."""

    def made(chosen: BackendChoice, kind: str = "llama") -> tuple[BackendEngine, Engines, ModelRef]:
        engines = Engines(machine, lambda text: None, serving=True)
        ref = engines.reference(str(base(kind)))
        engines.backends[ref] = chosen
        found = engines.open(ref)
        assert isinstance(found, BackendEngine)
        return found, engines, ref

    return made


def written(engine: BackendEngine, prompts: list[Prompt], decoding: Decoding = GREEDY, **more: Any) -> list[Any]:
    """Answers or errors, written in its running batch."""
    out: dict[int, Any] = {}
    batch = engine.running()
    for k, prompt in enumerate(prompts):
        batch.join(Writing(prompt, decoding, lambda x, k=k: out.update({k: x}), lambda x, k=k: out.update({k: x}), **more))  # type: ignore[misc]
    for _ in range(5000):
        if not len(batch):
            return [out[k] for k in range(len(prompts))]
        batch.step()
    raise AssertionError("the batch does not end")


def test_answers_are_the_backends_and_labels_the_own_engines(opened: Opened, ask: Callable) -> None:
    engine, engines, ref = opened(BackendChoice(again(swap=1, together=3)))
    prompts = [ask(text) for text in TEXTS]
    own = Engines(engines.machine, lambda text: None, serving=True).open(ref)
    found = written(engine, prompts)
    assert [one.text for one in found] == [one.text for one in engine.generate(prompts, GREEDY)]
    assert "own" not in vars(engine)  # the weights are not in memory twice
    assert all(one.text != other.text for one, other in zip(found, own.generate(prompts, GREEDY)))
    assert engine.choose(prompts, ["refund", "delivery"]) == own.choose(prompts, ["refund", "delivery"])
    assert engine.count(prompts[0]) == own.count(prompts[0]) and engine.context == own.context


def test_what_the_backend_cannot_do_is_written_beside_it(opened: Opened, ask: Callable) -> None:
    engine, engines, ref = opened(BackendChoice(again(swap=1, context=60)))
    own = Engines(engines.machine, lambda text: None, serving=True).open(ref)
    short, long = ask("a"), ask("where is my order " * 3)
    assert engine.count(short) + 12 < 60 <= engine.count(long) + 12
    found = written(engine, [short, long])
    assert found[0].text != own.generate([short], GREEDY)[0].text
    assert found[1].text == own.generate([long], GREEDY)[0].text
    pytest.importorskip("llguidance")
    schema = Decoding(max_new_tokens=12, schema='{"type": "boolean"}')
    [one] = written(engine, [short], schema)
    assert json.loads(one.text) in (True, False)
    with pytest.raises(DataError, match="leaves no room"):
        engine.running().join(Writing(ask("x" * 3000), GREEDY, print, print))


def test_pieces_come_as_they_are_written_and_nobody_waits_for_what_is_not_wanted(opened: Opened, ask: Callable) -> None:
    engine, _, _ = opened(BackendChoice(again(slow=0.01)))
    backend = engine.backend
    assert isinstance(backend, OwnAgain)
    heard: list[str] = []
    [found] = written(engine, [ask("a")], heard=lambda text: heard.append(text()) is None)
    assert len(heard) > 3 and heard[-1] == found.text and all(found.text.startswith(one) for one in heard)
    backend.told.clear()
    [cut] = written(engine, [ask("a")], heard=lambda text: False)
    assert not cut.finished and found.text.startswith(cut.text) and len(backend.told) < len(heard)
    left = written(engine, [ask("a"), ask("b")], wanted=lambda: False)
    assert [one.text for one in left] == ["", ""] and len(backend.asked) == 2  # neither was begun

    def broken(text: Callable[[], str]) -> bool:
        raise RuntimeError("the asker is gone")

    [failed] = written(engine, [ask("a")], heard=broken)
    assert isinstance(failed, RuntimeError)


def test_a_backend_that_fails_harms_one_answer(opened: Opened, ask: Callable) -> None:
    engine, _, _ = opened(BackendChoice(again(fails=True)))
    [found] = written(engine, [ask("a")])
    assert isinstance(found, ModelError)
    with pytest.raises(ModelError):
        engine.generate([ask("a")], GREEDY)
    assert isinstance(engine.backend, OwnAgain)
    engine.backend.fails = False
    assert written(engine, [ask("a")])[0].text


@pytest.mark.parametrize(
    ("said", "wrong"),
    [
        ("ollama", "no engine 'ollama'"),
        ("llamacpp=http://x", "no address of llamacpp"),
        ("vllm=here", "no address of vllm"),
        ("vllm", "vllm is not installed"),
    ],
)
def test_an_engine_that_is_not_there_is_named(said: str, wrong: str) -> None:
    with pytest.raises(ModelError, match=wrong):
        table.choice(said)
    assert table.choice("vllm=http://10.0.0.1:8000/").said == "vllm=http://10.0.0.1:8000"


@NEEDED
def test_llama_cpp_goes_on_from_the_same_tokens(opened: Opened, ask: Callable) -> None:
    engine, engines, ref = opened(table.choice("llamacpp"))
    own, chat = Engines(engines.machine, lambda text: None, serving=True).open(ref), engine.chat
    prompts = [ask(text) for text in TEXTS]
    found = written(engine, prompts)
    reference = own.generate(prompts, GREEDY)
    assert sum(a.text == b.text for a, b in zip(found, reference)) >= 3  # F16: a near tie may fall otherwise
    assert [one.tokens_in for one in found] == [own.count(prompt) for prompt in prompts]
    tokens = engine.backend.greedy(chat.prompt(prompts[0].messages), 12)
    assert chat.decode(tokens[0]).strip() == found[0].text and tokens[1] == found[0].finished
    assert written(engine, prompts, logprobs=2)[0].logprobs[0].logprob < 0  # by rung's own engine
    before = {path.name: path.stat().st_mtime_ns for path in (weights.home() / weights.FOLDER).iterdir()}
    opened(table.choice("llamacpp"))
    assert {path.name for path in (weights.home() / weights.FOLDER).iterdir()} == set(before) and len(before) == 1
    drawn = Decoding(max_new_tokens=12, temperature=1.0, seed=5)
    assert written(engine, prompts[:1], drawn)[0].text == written(engine, prompts[:1], drawn)[0].text


@NEEDED
def test_llama_cpp_finds_nothing_of_another_scope(opened: Opened, ask: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llamacpp, "TOGETHER", 2)
    engine, _, _ = opened(table.choice("llamacpp"))
    prompt = ask("the parcel is late, the parcel is late, the parcel is late")

    def cached(scope: str) -> int:
        [one] = written(engine, [prompt], scope=scope)
        assert isinstance(one, Completion)
        return one.tokens_cached

    assert cached("a") == 0 and cached("a") > 10
    assert [cached(scope) for scope in "bcba"][:2] == [0, 0]
    assert cached("d") == 0


# --- vLLM, as its documentation describes it ----------------------------------------------------------------------------


class Fake:
    """A vLLM server with one base; answers `model: prompt's length`."""

    def __init__(self, tokens: Callable[[str], list[int]]):
        self.tokens, self.loaded, self.asked = tokens, dict[str, str](), list[dict[str, Any]]()

    def models(self) -> list[dict[str, Any]]:
        return [{"id": "base", "max_model_len": 500}, *({"id": name, "parent": "base"} for name in self.loaded)]


def handler(fake: Fake) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer({"/v1/models": {"data": fake.models()}, "/version": {"version": "0.32.0"}}[self.path])

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.path == "/tokenize":
                self.answer({"tokens": fake.tokens(body["prompt"])})
            elif self.path == "/v1/load_lora_adapter":
                fake.loaded[body["lora_name"]] = body["lora_path"]
                self.answer(None)
            else:
                fake.asked.append(body)
                self.stream(body)

        def stream(self, body: dict[str, Any]) -> None:
            if body["max_tokens"] == 1:
                self.answer({"error": {"message": "no"}}, 400)
                return
            self.send_response(200)
            self.end_headers()
            words = [body["model"], ": ", str(len(body["prompt"]))]
            noted = {"tokens": ["token_id:65"], "token_logprobs": [-0.25]}
            for k, word in enumerate(words):
                end = "stop" if k == len(words) - 1 else None
                logs = noted if body.get("logprobs") is not None else None
                self.send({"choices": [{"text": word, "finish_reason": end, "logprobs": logs}]})
            usage = {"completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 7}}
            self.send({"choices": [], "usage": usage})
            self.wfile.write(b"data: [DONE]\n\n")

        def send(self, event: dict[str, Any]) -> None:
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())

        def answer(self, value: Any, status: int = 200) -> None:
            data = json.dumps(value).encode() if value is not None else b"Success: loaded"
            self.send_response(status)
            self.send_header("content-type", "application/json" if value is not None else "text/plain")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args: Any) -> None:
            pass

    return Handler


@contextmanager
def listening(fake: Fake) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(fake))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def test_vllm_is_asked_with_tokens_scope_and_content(
    base: Callable, machine: Machine, home: Path, ask: Callable, tmp_path: Path
) -> None:
    engines = Engines(machine, lambda text: None, serving=True)
    plain = engines.reference(str(base("llama")))
    chat = engines.chat(plain)
    assert chat
    fake = Fake(lambda text: list(chat.tokens(text)))
    tuned = replace(plain, files=str(tmp_path / "one"), files_digest="abc")
    adapters.save(adapters.lora(load(base("llama"), machine).model, 4, 8, 0.0, 1), tmp_path / "one")
    with listening(fake) as url:
        for ref in (plain, tuned):
            engines.backends[ref] = table.choice(f"vllm={url}")
        one, other = engines.open(plain), engines.open(tuned)
        assert isinstance(one, BackendEngine) and isinstance(other, BackendEngine)
        [found] = written(one, [ask("a")], scope="ada")
        assert found.text == f"base: {one.count(ask('a'))}" and found.finished and found.tokens_cached == 7
        assert one.backend.greedy((1, 2), 3) == ((65, 65, 65), True)
        assert fake.asked[0]["cache_salt"] == "ada" and fake.asked[0]["stop_token_ids"] == sorted(chat.stops)
        [found] = written(other, [ask("a")])
        assert found.text.startswith("rung-abc: ") and Path(fake.loaded["rung-abc"]) == (tmp_path / "one").resolve()
        assert one.backend.context == 500 and "0.32.0" in one.backend.name
        [failed] = written(one, [ask("a")], Decoding(max_new_tokens=1))
        assert isinstance(failed, ModelError) and "400" in str(failed)
        fake.tokens = lambda text: [1, 2, 3]
        engines.close()
        with pytest.raises(ModelError, match="other tokens"):
            engines.open(plain)
    with pytest.raises(ModelError, match="did not answer"):
        engines.open(plain)
