"""Model references to engines in memory, opened once and kept while there is room."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.errors import ModelError
from rung.lm.base import Engine, ModelRef, Prompt
from rung.lm.inference.fake import FakeEngine
from rung.lm.inference.rules import RuleEngine
from rung.lm.models import fits
from rung.lm.remote.settings import LEDGER, Settings, endpoint, is_remote
from rung.lm.this_machine import load_or_measure
from rung.machine import Machine, home
from rung.types import digest
from rung.visible import say

if TYPE_CHECKING:
    from rung.lm.inference.embed import Embedder
    from rung.lm.inference.rerank import Reranker
    from rung.lm.models.chat import Chat
    from rung.lm.models.resolve import ModelFiles
    from rung.lm.remote.ledger import Ledger, Spent
    from rung.lm.remote.prices import Price

CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length")
"""What the configurations of architectures call it."""

ROOM = 2
"""Engines kept in memory. Climbing goes rung by rung, so the last one and the next one are enough."""

Say = Callable[[str], object]


class Engines:
    """Opens models for one climb or one server. `say` is told about downloads."""

    def __init__(self, machine: Machine | None = None, say: Say = say, api: Settings | None = None):
        """`api`: how endpoints are asked and what they may cost; by default without limits, kept under `home()`."""
        self._machine, self.say, self.api = machine, say, api or Settings(folder=home())
        self.until = float("inf")
        """`time.monotonic()` after which no endpoint is asked."""
        self._open: dict[ModelRef, Engine] = {}
        self._embedders: dict[str, Any] = {}
        self._found: dict[str, Any] = {}
        self._kept: dict[str, Any] = {}
        self._chats: dict[Path, Any] = {}

    @cached_property
    def machine(self) -> Machine:
        return self._machine or load_or_measure()

    def find(self, name: str) -> ModelFiles:
        from rung.lm.models.resolve import find

        if name not in self._found:
            self._found[name] = find(name, say=self.say)
        return self._found[name]

    def reference(self, name: str) -> ModelRef:
        """The reference to an untouched base."""
        if name == "fake":
            return ModelRef("fake", "fake", "fake")
        if is_remote(name):
            at = endpoint(name, self.api.key_env)
            return ModelRef("remote", name, digest([at.url, at.model]))
        from rung.lm.models.resolve import KNOWN

        if name in KNOWN and KNOWN[name].what != "causal":
            raise ModelError(
                f"{name!r} makes vectors of texts and writes none, so it cannot be a base.",
                where="base",
                remedy="Name a language model; an embedding model stands under `encoder`.",
            )
        return ModelRef("causal", name, self.find(name).digest)

    def chat(self, ref: ModelRef) -> Chat | None:
        """The tokenizer alone, without the weights; None for models that read no tokens."""
        if ref.kind != "causal":
            return None
        folder, _ = fits.split(self.find(ref.name).folder, ref.files)
        if folder not in self._chats:
            from rung.lm.models.chat import Chat, tokenizer

            self._chats[folder] = Chat(tokenizer(folder))
        return self._chats[folder]

    def tokens(self, ref: ModelRef, prompt: Prompt, answer: str) -> tuple[int, int]:
        """Tokens of a prompt and of an answer with its end."""
        if ref.kind == "remote":
            from rung.lm.remote.tokens import estimate, of_text

            return estimate(prompt), of_text(answer) + 1
        chat = self.chat(ref)
        if chat is None:
            return self.open(ref).count(prompt), len(answer.split()) + 1
        return len(chat.prompt(prompt.messages)), len(chat.answer(answer))

    def context(self, ref: ModelRef) -> int | None:
        """Longest prompt and answer together, as the model's configuration says; None where it says nothing."""
        import json

        path = self.find(ref.name).folder / "config.json"
        said = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        said |= said.get("text_config") or {}  # of a model that also sees
        return next((said[key] for key in CONTEXT_KEYS if said.get(key)), None)

    def parameters(self, name: str) -> int:
        """Size of an untouched model: as known, or read from the heads of its weight files. A quote fetches no known model."""
        if name == "fake":
            return 1_000_000
        if is_remote(name):
            return 0  # nothing is computed here
        from rung.lm.models.resolve import KNOWN, parameters

        return KNOWN[name].parameters if name in KNOWN else parameters(self.find(name).folder)

    def table(self, name: str) -> int:
        """Of an encoder's parameters, the table of tokens, which is looked up, not computed with."""
        if name == "fake":
            return 0
        from rung.lm.models.resolve import KNOWN, parameters

        return KNOWN[name].table if name in KNOWN else parameters(self.find(name).folder, "word_embeddings")

    def close(self) -> None:
        """Let go of the models in memory, before another copy is loaded to be trained; what is asked again is opened again."""
        self._open.clear()

    def open(self, ref: ModelRef) -> Engine:
        if ref not in self._open:
            while len(self._open) >= ROOM:
                del self._open[next(iter(self._open))]
            self._open[ref] = _OPENERS[ref.kind](self, ref)
        return self._open[ref]

    @cached_property
    def ledger(self) -> Ledger:
        """The books of all calls to endpoints."""
        from rung.lm.remote.ledger import Ledger

        return Ledger(self.api.folder, self.api.limits, lambda: self.until, self.say)

    def spent(self) -> Spent | None:
        """What calls to endpoints have cost so far; None where none was ever made."""
        return self.ledger.spent() if (self.api.folder / LEDGER).exists() else None

    def price(self, ref: ModelRef) -> Price | None:
        """What an endpoint asks for tokens; None where this machine's time is the price, as for one that runs on it.

        ModelError where a price is needed and none is known: rungs are ordered by cost, and none is guessed.
        """
        if ref.kind != "remote":
            return None
        at = endpoint(ref.name, self.api.key_env)
        found = at.price(self.api.prices)
        if found or at.loopback:
            return found
        raise ModelError(
            f"no price is known for {at.model!r} at {at.host}.",
            where="base",
            remedy=f"Add to rung.yaml, in US dollars per million tokens: prices: {{{at.model}: {{input: …, output: …}}}}.",
        )

    def keep(self, name: str, make: Callable[[], Any]) -> Any:
        """Anything else that is opened once, by name."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    def embedder(self, name: str) -> Embedder:
        if name not in self._embedders:
            from rung.lm.inference.embed import Embedder

            self._embedders[name] = Embedder(self.find(name).folder, self.machine)
        return self._embedders[name]

    def reranker(self, name: str) -> Reranker:
        def made() -> Reranker:
            from rung.lm.inference.rerank import Reranker

            return Reranker(self.find(name).folder, self.machine)

        return self.keep(f"reranker {name}", made)


def _causal(engines: Engines, ref: ModelRef) -> Engine:
    from rung.lm.inference.causal import CausalEngine
    from rung.lm.models.load import load

    return CausalEngine(load(engines.find(ref.name).folder, engines.machine, ref.files), engines.say)


def _encoder(engines: Engines, ref: ModelRef) -> Engine:
    from rung.lm.inference.encoder import load_head

    return load_head(engines.embedder(ref.name), Path(ref.files))


def _classifier(engines: Engines, ref: ModelRef) -> Engine:
    from rung.lm.training.classifier import load

    return load(Path(ref.files), engines.machine)


def _remote(engines: Engines, ref: ModelRef) -> Engine:
    from rung.lm.remote.engine import RemoteEngine

    return RemoteEngine(endpoint(ref.name, engines.api.key_env), engines.api, engines.ledger, engines.say)


_OPENERS: dict[str, Callable[[Engines, ModelRef], Engine]] = {
    "causal": _causal,
    "encoder": _encoder,
    "classifier": _classifier,
    "rule": lambda engines, ref: RuleEngine(ref.name, Path(ref.files)),
    "remote": _remote,
    "fake": lambda engines, ref: FakeEngine(),
}
