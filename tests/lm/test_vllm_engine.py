"""vLLM as the engine of a climb, against a stand-in with the same weights: the same answers, labels, scores and adapters."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import psutil
import pytest
import torch
from vllm_servers import StandIn, listening, paths

from rung.errors import DataError, ModelError
from rung.lm.backends import vllm
from rung.lm.backends.vllm_engine import VllmEngine
from rung.lm.base import Completion, Decoding, ModelRef, Writing
from rung.lm.engine_kinds import can, leaves
from rung.lm.engines import Engines
from rung.lm.export import vllm_process
from rung.lm.inference.causal import CausalEngine
from rung.lm.models import adapters
from rung.lm.models import load as loading
from rung.lm.models.load import load
from rung.lm.remote.prices import Price
from rung.lm.remote.settings import Settings
from rung.machine import Device, Machine

TEXTS = ["where is my order", "the parcel is late", "refund please", "a"]
LABELS = ["refund", "refund now", "delivery", "delivery late", "other"]
CLOSE = 1e-4
"""Both compute in float32, in another order."""


@pytest.fixture
def stand_in(base: Callable[[str], Path], machine: Machine, home: Path) -> Iterator[tuple[StandIn, str]]:
    made = StandIn(base("llama"), machine)
    with listening(made) as url:
        yield made, f"vllm:{url}#{base('llama')}"


def opened(name: str, machine: Machine) -> tuple[VllmEngine, CausalEngine, Engines]:
    """The engine under this name, and rung's own of the same weights."""
    engines = Engines(machine, lambda text: None)
    engine, own = engines.open(engines.reference(name)), engines.open(engines.reference(name.partition("#")[2]))
    assert isinstance(engine, VllmEngine) and isinstance(own, CausalEngine)
    return engine, own, engines


def test_answers_labels_and_scores_are_those_of_the_own_engine(
    stand_in: tuple[StandIn, str], machine: Machine, ask: Callable
) -> None:
    server, name = stand_in
    engine, own, _ = opened(name, machine)
    prompts = [ask(text) for text in TEXTS] + [replace(ask("go on"), begun="the order")]
    greedy = Decoding(max_new_tokens=8)
    assert engine.generate(prompts, greedy) == own.generate(prompts, greedy)
    [body] = server.asked
    assert len(body["prompt"]) == 5 and body["repetition_penalty"] == 1.0 and body["top_k"] == 0
    assert "".join(engine.stream(prompts[1], greedy)) == own.generate(prompts[1:2], greedy)[0].text
    assert engine.score(prompts, [*TEXTS, "it"]) == pytest.approx(own.score(prompts, [*TEXTS, "it"]), abs=CLOSE)
    assert [one for row in engine.weigh(prompts, LABELS) for one in row] == pytest.approx(
        [one for row in own.weigh(prompts, LABELS) for one in row], abs=CLOSE
    )
    for bias in ((), (0.0, 3.0, -1.0, 0.5, 2.0)):
        found, expected = engine.choose(prompts, LABELS, bias=bias), own.choose(prompts, LABELS, bias=bias)
        assert [(one.label, one.tokens_in) for one in found] == [(one.label, one.tokens_in) for one in expected]
        assert [one.logprob for one in found] == pytest.approx([one.logprob for one in expected], abs=CLOSE)
        assert all(one.confidence and one.confidence <= 1 for one in found)
    assert engine.count(prompts[0]) == own.count(prompts[0]) and engine.context == 500


class FakeProcess:
    """A server that "starts" at once: the stand-in of the base that it is given. It notes what it shares the memory with."""

    urls: ClassVar[dict[str, str]] = {}
    seen: ClassVar[list[tuple[int, int]]] = []
    engines: ClassVar[Engines]

    def __init__(self, words: list[str]):
        self.url, self.key, self.runs = self.urls[words[words.index("--model") + 1]], "", True
        running = self.engines.keep("vllm servers", vllm.Servers).processes.values()
        models = sum(isinstance(self.engines.open(ref), CausalEngine) for ref in self.engines.opened)
        self.seen.append((models, sum(one.runs for one in running)))

    def close(self) -> None:
        self.runs = False


@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_one_owner_of_an_accelerators_memory(
    device: Device, base: Callable, machine: Machine, home: Path, ask: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models of this process and a server, or two servers, are never there at once; on a CPU they may be."""
    monkeypatch.setattr(vllm, "VllmProcess", FakeProcess)
    monkeypatch.setattr(loading, "load", lambda folder, at, files="", **more: load(folder, machine, files, **more))
    emptied: list[bool] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    first, second = str(base("llama")), str(base("llama-bos"))
    engines = FakeProcess.engines = Engines(replace(machine, device=device), lambda text: None, most=4)
    FakeProcess.seen = []
    here, one, other = [engines.reference(name) for name in (first, f"vllm:{first}", f"vllm:{second}")]
    with listening(StandIn(base("llama"), machine)) as url, listening(StandIn(base("llama-bos"), machine)) as url_2:
        FakeProcess.urls = {first: url, second: url_2}
        engines.open(here)
        served = engines.open(one)
        assert (here in engines.opened) == (device == "cpu")
        engines.open(here)
        assert isinstance(served, VllmEngine) and served.started
        running = served.started.servers.processes
        assert [process.runs for process in running.values()] == ([] if device == "cuda" else [True])
        assert served.generate([ask("a")], Decoding(max_new_tokens=2)), "who has it starts it again"
        engines.open(other)
        assert engines.reader(one) == here, "raw text is read without a server"
    assert FakeProcess.seen == ([(0, 0)] * 3 if device == "cuda" else [(1, 0), (1, 1)])
    assert len(emptied) == (3 if device == "cuda" else 0)


def test_samples_are_drawn_by_their_seed(stand_in: tuple[StandIn, str], machine: Machine, ask: Callable) -> None:
    server, name = stand_in
    engine, _, _ = opened(name, machine)
    drawn = Decoding(max_new_tokens=6, temperature=1.5, seed=3)
    prompts = [replace(ask("a"), draw=draw) for draw in range(4)]
    first = [one.text for one in engine.generate(prompts, drawn)]
    assert first == [one.text for one in engine.generate(prompts, drawn)] and len(set(first)) > 1
    assert {body["seed"] for body in server.asked} == {3, 4, 5, 6}


def test_json_follows_the_same_grammar(stand_in: tuple[StandIn, str], machine: Machine, ask: Callable) -> None:
    pytest.importorskip("llguidance")
    engine, own, _ = opened(stand_in[1], machine)
    decoding = Decoding(max_new_tokens=20, schema='{"type": "array", "items": {"type": "boolean"}, "maxItems": 2}')
    found = engine.generate([ask("a")], decoding)
    assert found == own.generate([ask("a")], decoding) and isinstance(json.loads(found[0].text), list)
    assert "".join(engine.stream(ask("a"), decoding)) == "".join(own.stream(ask("a"), decoding)) == found[0].text
    batch, served = engine.running(), list[Completion]()
    batch.join(Writing(ask("a"), decoding, served.append, pytest.fail))
    while len(batch):
        batch.step()
    assert served[0].text == found[0].text and "own" not in vars(engine), "rung serve too has it written by vLLM"


def test_many_labels_go_out_in_requests_that_vllm_takes(stand_in: tuple[StandIn, str], machine: Machine, ask: Callable) -> None:
    server, name = stand_in
    engine, own, _ = opened(name, machine)
    labels = [f"{a}{b}" for a in "abcdefghij" for b in "qrstuvwxyz01234"]
    prompts = [ask(text) for text in TEXTS[:2]]
    assert [one.label for one in engine.choose(prompts, labels)] == [one.label for one in own.choose(prompts, labels)]
    assert max(len(body["logprob_token_ids"]) for body in server.asked) <= 128
    assert max(len(body["prompt"]) for body in server.asked) <= 32


def test_adapters_are_loaded_by_their_content_and_unloaded(
    stand_in: tuple[StandIn, str], base: Callable, machine: Machine, ask: Callable, tmp_path: Path
) -> None:
    server, name = stand_in
    _, own, engines = opened(name, machine)
    fitted = adapters.lora(load(base("llama"), machine).model, 4, 64, 0.0, 1)
    for tensor in fitted.parameters():
        if tensor.requires_grad:
            tensor.data.normal_(std=0.3)
    adapters.save(fitted, tmp_path / "one")
    plain = engines.reference(name)
    ref = engines.fitted(replace(plain, files=str(tmp_path / "one"), files_digest="abc"))
    tuned = engines.open(ref)
    assert ref.kind == "vllm-server" and isinstance(tuned, VllmEngine)
    prompts = [ask(text) for text in TEXTS]
    expected = CausalEngine(load(base("llama"), machine, str(tmp_path / "one"))).weigh(prompts, LABELS)
    assert tuned.weigh(prompts, LABELS)[0] == pytest.approx(expected[0], abs=10 * CLOSE)
    assert tuned.weigh(prompts, LABELS)[0] != pytest.approx(own.weigh(prompts, LABELS)[0], abs=0.01)
    assert server.asked[-1]["model"] == "rung-abc" and tuned.server.memory_bytes is None
    other = Engines(machine, lambda text: None).open(ref)
    engines.close()
    assert paths(server.calls) == ["/v1/load_lora_adapter", "/v1/unload_lora_adapter"]
    assert isinstance(other, VllmEngine) and other.weigh(prompts, LABELS)[0] == pytest.approx(expected[0], abs=10 * CLOSE)
    assert paths(server.calls)[2:] == ["/v1/load_lora_adapter"], "who still has it loads it again"
    tuned.close()
    assert "rung-abc" in server.models, "what another has loaded stays"
    del other
    gc.collect()
    assert "rung-abc" not in server.models, "who forgets it frees its place"
    assert "".join(tuned.stream(prompts[0], Decoding(max_new_tokens=2))) and "rung-abc" in server.models
    server.hidden = True
    assert Engines(machine, lambda text: None).open(ref) and not server.hidden, "two load it at once"


def test_a_server_that_is_gone_stops_nobody(base: Callable, machine: Machine, home: Path, tmp_path: Path) -> None:
    said: list[str] = []
    engines = Engines(machine, said.append)
    adapters.save(adapters.lora(load(base("llama"), machine).model, 4, 8, 0.0, 1), tmp_path / "one")
    with listening(StandIn(base("llama"), machine)) as url:
        plain = engines.reference(f"vllm:{url}#{base('llama')}")
        engines.open(replace(plain, files=str(tmp_path / "one"), files_digest="abc"))
    engines.close()
    assert "rung-abc stays loaded" in said[-1] and not engines.opened


def test_what_vllm_cannot_load_is_answered_by_the_own_engine(
    stand_in: tuple[StandIn, str], base: Callable, machine: Machine, tmp_path: Path
) -> None:
    _, name = stand_in
    engines = Engines(machine, lambda text: None)
    plain = engines.reference(name)
    adapters.save(adapters.lora(load(base("llama"), machine).model, 4, 8, 0.0, 1, False, True), tmp_path / "dora")
    found = engines.fitted(replace(plain, files=str(tmp_path / "dora"), files_digest="d"))
    assert (found.kind, found.name, found.digest) == ("causal", str(base("llama")), engines.find(name).digest)
    assert isinstance(engines.open(found), CausalEngine)


def test_what_is_wrong_is_named(stand_in: tuple[StandIn, str], base: Callable, machine: Machine, ask: Callable) -> None:
    server, name = stand_in
    engine, _, _ = opened(name, machine)
    with pytest.raises(DataError, match="context of 500"):
        engine.generate([ask("x" * 3000)], Decoding())
    server.names_ids = False
    with pytest.raises(ModelError, match="no log-probability of the tokens"):
        engine.choose([ask("a")], LABELS)
    server.key = "secret"
    with pytest.raises(ModelError, match="401"):
        engine.choose([ask("a")], LABELS)
    engines = Engines(machine, lambda text: None)
    with pytest.raises(ModelError, match="names no model"):
        engines.reference("vllm:http://127.0.0.1:1")
    with pytest.raises(ModelError, match="no price is known"):
        engines.price(ModelRef("vllm-server", "vllm:http://10.0.0.1:8000#m", "d"))
    for other in (name, str(base("llama"))):
        with pytest.raises(ModelError, match="its weights are others"):
            engines.open(replace(engines.reference(other), digest="of other weights"))
    assert engines.price(ModelRef("vllm-server", name, "d")) is None, "this machine's time"
    paid = Engines(machine, lambda text: None, Settings(folder=Path(), prices={"m": Price(1.0, 2.0)}))
    assert paid.price(ModelRef("vllm-server", "vllm:http://10.0.0.1:8000#m", "d")) == Price(1.0, 2.0)


def test_a_key_goes_only_where_the_task_names_it(
    base: Callable, machine: Machine, home: Path, ask: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "secret")
    monkeypatch.setenv("VLLM_API_KEY", "secret")
    with listening(StandIn(base("llama"), machine, key="secret")) as url:
        name = f"vllm:{url}/v1#{base('llama')}"
        with pytest.raises(ModelError, match="401"):
            opened(name, machine)
        engines = Engines(machine, lambda text: None, Settings(folder=home, key_env="MY_KEY"))
        engine = engines.open(engines.reference(name))
        assert engine.generate([ask("a")], Decoding(max_new_tokens=2))


@pytest.mark.parametrize(
    ("name", "kind", "out"),
    [
        ("vllm:a/b", True, False),
        ("vllm:http://127.0.0.1:8000#a/b", False, False),
        ("vllm:http://10.1.2.3:8000/v1#a/b", False, False),
        ("vllm:https://models.example.com#a/b", False, True),
    ],
)
def test_where_rows_go_is_known_by_name(name: str, kind: bool, out: bool) -> None:
    assert (can(name).local, leaves(name)) == (kind, out) and can(name).open_weights and can(name).reads_text


def test_a_server_of_ones_own_ends_with_whoever_started_it(tmp_path: Path) -> None:
    """Also where that was killed: a stand-in for Python that only waits stands for the server."""
    stand_in = tmp_path / "python"
    stand_in.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/pid\nexec sleep 60\n")
    stand_in.chmod(0o755)
    code = "from rung.lm.export.vllm_process import VllmProcess\nVllmProcess(['--model', 'x'])"
    env = os.environ | {vllm_process.PYTHON: str(stand_in)}
    starter = subprocess.Popen([sys.executable, "-c", code], env=env)
    for _ in range(200):
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip():
            break
        time.sleep(0.05)
    pid = int((tmp_path / "pid").read_text())
    assert psutil.pid_exists(pid)
    starter.kill()
    starter.wait()
    for _ in range(100):
        if not psutil.pid_exists(pid):
            return
        time.sleep(0.05)
    raise AssertionError("the server outlives it")


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get(vllm_process.PYTHON), reason=f"{vllm_process.PYTHON} names no Python that has vLLM")
def test_the_real_server_answers_as_the_own_engine(ask: Callable) -> None:
    engines = Engines(say=lambda text: None)
    prompts, labels = [ask(text) for text in TEXTS], ["refund", "refund_late", "delivery"]
    found = []
    for name in ("vllm:smollm2-135m-instruct", "smollm2-135m-instruct"):
        engine = engines.open(engines.reference(name))
        written = [one.text for one in engine.generate(prompts, Decoding(max_new_tokens=12))]
        chosen = [one.label for one in engine.choose(prompts, labels)]
        found.append((written, chosen, engine.score(prompts, labels + labels[:1])))
        if isinstance(engine, VllmEngine):
            assert engine.server.started_here and (engine.server.memory_bytes or 0) > 2**28
            [process] = engine.started.servers.processes.values() if engine.started else []
            engines.close()
            assert not process.runs
    (written, chosen, scores), (own_written, own_chosen, own_scores) = found
    assert written == own_written and chosen == own_chosen and scores == pytest.approx(own_scores, abs=0.01)
