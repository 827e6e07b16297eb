"""vLLM: a server of its own, started here or given by its address, asked over HTTP. Adapters are loaded by its API."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rung.errors import ModelError
from rung.lm.backends.base import Asked, End, Heard, Wanted
from rung.lm.backends.vllm_http import MAX_RANK, AbsentError, Server
from rung.lm.export.vllm_process import VllmProcess, python

TOGETHER = 64
MARK = "token_id:"
"""How vLLM names a token by its number, asked for `return_tokens_as_token_ids`."""
PLAIN = {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
"""What rung's own engine does not do, and vLLM would take from the base's generation_config.json."""
MIXED_TEXT = "  12  345 It's naïve\n\n\t日本語 🙂"
"""Cut into tokens by both, to see whether they have the same tokenizer."""


def installed() -> bool:
    """Whether a server can be started here."""
    return bool(python())


class Servers:
    """Servers that were started here, one for each base.

    `make_room`: frees what else of this process has the memory that a server needs, before one starts. Then there is one server
    at a time: that of another base ends before.
    """

    def __init__(self, make_room: Callable[[], None] | None = None) -> None:
        self.make_room = make_room
        self.processes: dict[str, VllmProcess] = {}
        """By the digest of the base."""
        self._servers: dict[str, Server] = {}
        self._lock = threading.Lock()

    def of(self, wanted: Wanted) -> Server:
        """The server of a base, started where it does not run; it ends with this process, or by `end_servers`."""
        base = wanted.found.digest
        with self._lock:
            running = self.processes.get(base)
            if running is None or not running.runs:
                if self.make_room:
                    self.end_servers()
                    self.make_room()
                wanted.say("starting vLLM...")
                self.processes[base] = started = VllmProcess(_options(wanted))
                self._servers[base] = Server(started.url, started.key)
            return self._servers[base]

    def end_servers(self) -> None:
        """End all of them: another program needs their memory."""
        for one in self.processes.values():
            one.close()
        self.processes.clear()


@dataclass(frozen=True)
class Started:
    """One of these servers."""

    servers: Servers
    base: str
    """The digest of its base."""

    def memory(self) -> int:
        """Bytes that its processes take; 0 where it does not run now."""
        running = self.servers.processes.get(self.base)
        return running.memory() if running and running.runs else 0

    def close(self) -> None:
        self.servers.end_servers()


def _options(wanted: Wanted) -> list[str]:
    """The command line: rung's data type, adapters by name, and the grammars that rung's own engine follows."""
    machine = wanted.machine
    words = ["--model", str(wanted.found.folder), "--max-model-len", str(wanted.context), "--dtype", machine.dtype]
    words += ["--enable-lora", "--max-lora-rank", str(MAX_RANK), "--structured-outputs-config", '{"backend": "guidance"}']
    return [*words, "--enforce-eager"] if machine.device == "cpu" else words  # compiling takes minutes there


@dataclass(frozen=True)
class Place:
    """A model on a server: its base, or an adapter on it."""

    server: Callable[[], Server]
    model: str
    """Its name there."""
    adapter: Path | None = None

    def ready(self) -> Server:
        """The server, with the adapter loaded."""
        server = self.server()
        if self.adapter:
            server.load(self.model, self.adapter)
        return server

    def completions(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        """As `Server.completions`; an adapter that is not there any more is loaded once more."""
        try:
            return self.server().completions(asked)
        except AbsentError:
            return self.ready().completions(asked)

    def events(self, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """As `Server.events`, loaded once more likewise: it is absent before the first event or never."""
        try:
            yield from self.server().events(asked)
        except AbsentError:
            yield from self.ready().events(asked)


class Vllm:
    """One model of a server: its base, or an adapter on it."""

    together = TOGETHER

    def __init__(
        self,
        place: Place,
        context: int,
        numbers: str,
        stops: list[int],
        free: Callable[[], None] = lambda: None,
    ):
        """`free`: gives the adapter's place on the server back. Called by `close`, and when this is forgotten or the process
        ends."""
        self.place, self.context, self.numbers, self.stops = place, context, numbers, stops
        self.close = free
        weakref.finalize(self, free)
        server = place.ready()
        self.name = f"vLLM {server.version} at {server.url}"

    def write(self, asked: Asked, heard: Heard) -> End:
        finished, tokens, cached = False, 0, 0
        for event in self._events(self._written(asked)):
            if usage := event.get("usage"):
                tokens = int(usage["completion_tokens"])
                cached = int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
            for choice in event.get("choices", ()):
                finished = choice.get("finish_reason") == "stop" or finished
                if choice["text"] and not heard(choice["text"]):
                    return End(False, tokens)
        return End(finished, tokens, cached)

    def pieces(self, asked: Asked) -> Iterator[str]:
        """One answer as it is written."""
        for event in self._events(self._written(asked)):
            yield from (choice["text"] for choice in event.get("choices", ()))

    def greedy(self, ids: tuple[int, ...], most: int) -> tuple[tuple[int, ...], bool]:
        named = {"temperature": 0.0, "logprobs": 0, "return_tokens_as_token_ids": True}
        out, finished = list[int](), False
        for event in self._events(self._wanted(ids, most) | named):
            for choice in event.get("choices", ()):
                finished = choice.get("finish_reason") == "stop" or finished
                out += [int(name.removeprefix(MARK)) for name in (choice.get("logprobs") or {}).get("tokens") or ()]
        return tuple(token for token in out if token not in self.stops), finished

    def _written(self, asked: Asked) -> dict[str, Any]:
        sampled = {"temperature": asked.decoding.temperature, "top_p": asked.decoding.top_p, "seed": asked.seed}
        salt = {"cache_salt": asked.scope} if asked.scope else {}
        more = salt | constrained(asked.grammar) | {"stream_options": {"include_usage": True}}
        return self._wanted(asked.ids, asked.limit) | sampled | more

    def _wanted(self, ids: tuple[int, ...], most: int) -> dict[str, Any]:
        model = self.place.model
        asked = {"model": model, "prompt": list(ids), "max_tokens": most, "stop_token_ids": self.stops, "stream": True}
        return asked | PLAIN

    def _events(self, wanted: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for event in self.place.events(wanted):
            if "error" in event:
                raise ModelError(f"vLLM ended the answer: {event['error']}", where=self.name)
            yield event


def constrained(grammar: str) -> dict[str, Any]:
    """What a request says so that its answer follows a grammar; nothing without one."""
    return {"structured_outputs": {"grammar": grammar}} if grammar else {}


_started = Servers()
"""Those of `rung serve`, in this process."""


def opened(wanted: Wanted, started: Servers = _started, key: str | None = None) -> Vllm:
    """The model in a vLLM server: the one at `wanted.address`, else one of its base that is started once.

    `key`: for the server at the address; by default `VLLM_API_KEY`. ModelError where the server cannot be asked, serves another
    tokenizer, or where the fit is not a plain LoRA on the base.
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
    key = os.environ.get("VLLM_API_KEY", "") if key is None else key
    given = Server(wanted.address, key) if wanted.address else None

    def server() -> Server:
        return given or started.of(wanted)

    base = _base(server(), wanted)
    # by content: another adapter is never found under an old name
    place = Place(server, f"rung-{ref.files_digest}", adapter.resolve()) if adapter else Place(server, base["id"])
    context = min(wanted.context, int(base.get("max_model_len") or wanted.context))
    free = partial(_free, given, place.model, wanted.say) if given and adapter else lambda: None
    return Vllm(place, context, _numbers(wanted), sorted(wanted.chat.stops), free)


def _free(server: Server, adapter: str, say: Callable[[str], object]) -> None:
    """Unload an adapter. One that stays fills a place there and harms no answer, so a failure is only said."""
    try:
        server.unload(adapter)
    except ModelError as error:
        say(f"the adapter {adapter} stays loaded: {error}")


def _base(server: Server, wanted: Wanted) -> dict[str, Any]:
    """The base that a server has. ModelError where it has none, or one with another tokenizer."""
    base = next((one for one in server.models() if not one.get("parent")), None)
    if base is None:
        raise ModelError("it serves no model.", where=server.url)
    if tuple(server.tokens(base["id"], MIXED_TEXT)) != wanted.chat.tokens(MIXED_TEXT):
        raise ModelError(
            f"it serves {base['id']!r}, which cuts text into other tokens than {wanted.ref.name!r}.",
            where=server.url,
            remedy="Have it serve the task's base.",
        )
    return base


def _numbers(wanted: Wanted) -> str:
    """The type of its weights: that of the machine where it was started here; else it is taken for bf16."""
    return "f32" if not wanted.address and wanted.machine.dtype == "float32" else "bf16"
