"""Model references to engines in memory, opened once and kept while there is room."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.lm import layers
from rung.lm.base import Engine, ModelRef, Prompt
from rung.lm.fake import FakeEngine
from rung.lm.rules import RuleEngine
from rung.machine import Machine, load_or_measure

if TYPE_CHECKING:
    from rung.lm.chat import Chat
    from rung.lm.embed import Embedder
    from rung.lm.models import ModelFiles

ROOM = 2
"""Engines kept in memory. Climbing goes rung by rung, so the last one and the next one are enough."""

Say = Callable[[str], object]


class Engines:
    """Opens models for one climb or one server. `say` is told about downloads."""

    def __init__(self, machine: Machine | None = None, say: Say = print):
        self._machine, self.say = machine, say
        self._open: dict[ModelRef, Engine] = {}
        self._embedders: dict[str, Any] = {}
        self._found: dict[str, Any] = {}
        self._chats: dict[Path, Any] = {}

    @cached_property
    def machine(self) -> Machine:
        return self._machine or load_or_measure()

    def find(self, name: str) -> ModelFiles:
        from rung.lm.models import find

        if name not in self._found:
            self._found[name] = find(name, say=self.say)
        return self._found[name]

    def reference(self, name: str) -> ModelRef:
        """The reference to an untouched base."""
        if name == "fake":
            return ModelRef("fake", "fake", "fake")
        return ModelRef("causal", name, self.find(name).digest)

    def chat(self, ref: ModelRef) -> Chat | None:
        """The tokenizer alone, without the weights; None for models that read no tokens."""
        if ref.kind != "causal":
            return None
        folder, _ = layers.split(self.find(ref.name).folder, ref.files)
        if folder not in self._chats:
            from transformers import AutoTokenizer

            from rung.lm.chat import Chat

            self._chats[folder] = Chat(AutoTokenizer.from_pretrained(folder))
        return self._chats[folder]

    def tokens(self, ref: ModelRef, prompt: Prompt, answer: str) -> tuple[int, int]:
        """Tokens of a prompt and of an answer with its end."""
        chat = self.chat(ref)
        if chat is None:
            return self.open(ref).count(prompt), len(answer.split()) + 1
        return len(chat.prompt(prompt.messages)), len(chat.answer(answer))

    def context(self, ref: ModelRef) -> int | None:
        """Longest prompt and answer together, as the model's configuration says; None where it says nothing."""
        import json

        path = self.find(ref.name).folder / "config.json"
        return json.loads(path.read_text(encoding="utf-8")).get("max_position_embeddings") if path.exists() else None

    def parameters(self, name: str) -> int:
        """Size of an untouched model: as known, or read from the heads of its weight files. A quote fetches no known model."""
        if name == "fake":
            return 1_000_000
        from rung.lm.models import KNOWN, parameters

        return KNOWN[name].parameters if name in KNOWN else parameters(self.find(name).folder)

    def open(self, ref: ModelRef) -> Engine:
        if ref not in self._open:
            while len(self._open) >= ROOM:
                del self._open[next(iter(self._open))]
            self._open[ref] = _OPENERS[ref.kind](self, ref)
        return self._open[ref]

    def embedder(self, name: str) -> Embedder:
        if name not in self._embedders:
            from rung.lm.embed import Embedder

            self._embedders[name] = Embedder(self.find(name).folder, self.machine)
        return self._embedders[name]


def _causal(engines: Engines, ref: ModelRef) -> Engine:
    from rung.lm.causal import CausalEngine
    from rung.lm.load import load

    return CausalEngine(load(engines.find(ref.name).folder, engines.machine, ref.files))


def _encoder(engines: Engines, ref: ModelRef) -> Engine:
    from rung.lm.encoder import EncoderEngine

    return EncoderEngine(engines.embedder(ref.name), Path(ref.files))


_OPENERS: dict[str, Callable[[Engines, ModelRef], Engine]] = {
    "causal": _causal,
    "encoder": _encoder,
    "rule": lambda engines, ref: RuleEngine(ref.name, Path(ref.files)),
    "fake": lambda engines, ref: FakeEngine(),
}
