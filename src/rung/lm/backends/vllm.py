"""vLLM: a server of its own, started here or given by its address, asked over HTTP. Adapters are loaded by its API."""

from __future__ import annotations

import atexit
import importlib.util
import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2

from rung.errors import ModelError
from rung.lm.backends.base import Asked, End, Heard, Wanted

TOGETHER = 64
STARTING = 600.0
"""Seconds that a started server has to load its model."""
TIMEOUT = httpx2.Timeout(120.0, connect=10.0)
MARK = "token_id:"
"""How vLLM names a token by its number, asked for `return_tokens_as_token_ids`."""


def installed() -> bool:
    """Whether a server can be started here."""
    return importlib.util.find_spec("vllm") is not None


class Server:
    """A vLLM server with one base. `key`: what it wants to be asked with, if anything."""

    def __init__(self, url: str, key: str = "", process: subprocess.Popen[bytes] | None = None):
        self.url, self.process = url, process
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.client = httpx2.Client(base_url=url, headers=headers, timeout=TIMEOUT, trust_env=False)
        self._loaded: set[str] = set()

    def models(self) -> list[dict[str, Any]]:
        """Its models: the base, and adapters that name their base as `parent`."""
        return list(self._json("GET", "/v1/models")["data"])

    @property
    def version(self) -> str:
        return str(self._json("GET", "/version").get("version", "?"))

    def load(self, name: str, folder: Path) -> None:
        """Load an adapter under a name that says its content. ModelError where the server refuses it."""
        known = {str(one["id"]) for one in self.models()}
        if name not in known:
            self._json("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})

    def tokens(self, model: str, text: str) -> list[int]:
        """How it cuts a text, without tokens in front."""
        asked = {"model": model, "prompt": text, "add_special_tokens": False}
        return list(self._json("POST", "/tokenize", asked)["tokens"])

    def events(self, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """The events of a streamed completion."""
        try:
            with self.client.stream("POST", "/v1/completions", json=asked) as found:
                if found.status_code != 200:
                    found.read()
                    raise self._refused(found)
                for line in found.iter_lines():
                    data = line.removeprefix("data:").strip()
                    if data and data != "[DONE]":
                        yield json.loads(data)
        except (httpx2.HTTPError, ValueError) as error:
            raise self._silent(error) from error

    def _json(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            found = self.client.request(method, path, json=body)
            if found.status_code != 200:
                raise self._refused(found)
            value = found.json() if found.headers.get("content-type", "").startswith("application/json") else {}
        except (httpx2.HTTPError, ValueError) as error:
            raise self._silent(error) from error
        return value if isinstance(value, dict) else {}

    def _refused(self, found: httpx2.Response) -> ModelError:
        remedy = ""
        if "adapter" in str(found.request.url):
            remedy = (
                "Start it with --enable-lora --max-lora-rank 64 and VLLM_ALLOW_RUNTIME_LORA_UPDATING=1, where it can read the "
                "task's folder."
            )
        return ModelError(f"vLLM answered {found.status_code}: {found.text[:300]}", where=str(found.request.url), remedy=remedy)

    def _silent(self, error: Exception) -> ModelError:
        return ModelError(f"vLLM did not answer ({error}).", where=self.url, remedy="See whether it runs.")


class Vllm:
    """One model of a server: its base, or an adapter on it."""

    together = TOGETHER

    def __init__(self, server: Server, model: str, context: int, numbers: str, stops: list[int]):
        self.server, self.model, self.context, self.numbers, self.stops = server, model, context, numbers, stops
        self.name = f"vLLM {server.version} at {server.url}"

    def write(self, asked: Asked, heard: Heard) -> End:
        sampled = {"temperature": asked.decoding.temperature, "top_p": asked.decoding.top_p, "seed": asked.seed}
        salt = {"cache_salt": asked.scope} if asked.scope else {}
        wanted = self._wanted(asked.ids, asked.limit) | sampled | salt | {"stream_options": {"include_usage": True}}
        finished, tokens, cached = False, 0, 0
        for event in self._events(wanted):
            if usage := event.get("usage"):
                tokens = int(usage["completion_tokens"])
                cached = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
            for choice in event.get("choices", ()):
                finished = choice.get("finish_reason") == "stop" or finished
                if choice["text"] and not heard(choice["text"]):
                    return End(False, tokens)
        return End(finished, tokens, cached)

    def greedy(self, ids: tuple[int, ...], most: int) -> tuple[tuple[int, ...], bool]:
        named = {"temperature": 0.0, "logprobs": 0, "return_tokens_as_token_ids": True}
        out, finished = list[int](), False
        for event in self._events(self._wanted(ids, most) | named):
            for choice in event.get("choices", ()):
                finished = choice.get("finish_reason") == "stop" or finished
                out += [int(name.removeprefix(MARK)) for name in (choice.get("logprobs") or {}).get("tokens") or ()]
        return tuple(token for token in out if token not in self.stops), finished

    def _wanted(self, ids: tuple[int, ...], most: int) -> dict[str, Any]:
        return {"model": self.model, "prompt": list(ids), "max_tokens": most, "stop_token_ids": self.stops, "stream": True}

    def _events(self, wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for event in self.server.events(wanted):
            if "error" in event:
                raise ModelError(f"vLLM ended the answer: {event['error']}", where=self.server.url)
            yield event


_started: dict[str, Server] = {}
"""Servers that this process has started, by the digest of their base."""


def opened(wanted: Wanted) -> Vllm:
    """The model in a vLLM server: the one at `wanted.address`, else one of its base that is started once.

    ModelError where the server cannot be asked, serves another tokenizer, or where the fit is not a plain LoRA on the base.
    """
    from rung.lm.models import serving

    found, ref = wanted.found, wanted.ref
    adapter = serving.plain_lora(found.folder, ref.files) if ref.files else None
    if ref.files and not adapter:
        raise ModelError(
            "what was fitted is no LoRA on the base alone, so vLLM cannot load it beside the base.",
            where=ref.files,
            remedy="Serve it with --engine own, or llamacpp.",
        )
    if wanted.address:
        server = Server(wanted.address, os.environ.get("VLLM_API_KEY", ""))
    else:
        if found.digest not in _started:
            _started[found.digest] = start(found.folder, wanted.context, wanted.say)
        server = _started[found.digest]
    base = next((one for one in server.models() if not one.get("parent")), None)
    if base is None:
        raise ModelError("it serves no model.", where=server.url)
    text = "  12  345 It's naïve\n\n\t日本語 🙂"
    if tuple(server.tokens(base["id"], text)) != wanted.chat.tokens(text):
        raise ModelError(
            f"it serves {base['id']!r}, which cuts text into other tokens than {ref.name!r}.",
            where=server.url,
            remedy="Have it serve the task's base.",
        )
    name = base["id"]
    if adapter:
        name = f"rung-{ref.files_digest}"  # by content: another adapter is never found under an old name
        server.load(name, adapter.resolve())
    context = min(wanted.context, int(base.get("max_model_len") or wanted.context))
    return Vllm(server, name, context, _numbers(wanted), sorted(wanted.chat.stops))


def _numbers(wanted: Wanted) -> str:
    """The type of its weights: float32 where it was started beside a machine that computes in it; else it is taken for bf16."""
    return "f32" if not wanted.address and wanted.machine.dtype == "float32" else "bf16"


def start(folder: Path, context: int, say: Callable[[str], object]) -> Server:
    """A server of a base, on a free port of loopback with a key of its own; it ends with this process."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = int(found.getsockname()[1])
    key = secrets.token_hex(32)
    line = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(folder), "--host", "127.0.0.1"]
    line += ["--port", str(port), "--max-model-len", str(context), "--enable-lora", "--max-lora-rank", "64"]
    env = {"VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_API_KEY": key, "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}
    say("starting vLLM...")
    log = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as the process
    process = subprocess.Popen(line, env={**os.environ, **env}, stdout=log, stderr=log, start_new_session=True)
    atexit.register(_stop, process)
    server = Server(f"http://127.0.0.1:{port}", key, process)
    until = time.monotonic() + STARTING
    while process.poll() is None and time.monotonic() < until:
        try:
            server.models()
            return server
        except ModelError:
            time.sleep(0.5)
    _stop(process)
    log.seek(0)
    raise ModelError(f"vLLM did not start: {log.read()[-800:].decode(errors='replace')}", where=" ".join(line[:3]))


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
