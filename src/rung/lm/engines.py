"""Model references to engines: a model is opened once, and the last few stay in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung import files
from rung.home import home
from rung.lm.base import Closes, EndsServers, Engine, InServer, ModelRef, Prompt
from rung.lm.engine_kinds import can, kind, kind_of
from rung.lm.models import fits
from rung.lm.remote.calls import LEDGER, FileCalls
from rung.lm.remote.settings import Settings
from rung.lm.this_machine import load_or_measure
from rung.machine import Machine
from rung.task.base_names import split_server
from rung.visible import print_visible

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rung.lm.backends.table import BackendChoice
    from rung.lm.inference.embed import Embedder
    from rung.lm.inference.rerank import Reranker
    from rung.lm.models.chat import Chat
    from rung.lm.models.resolve import ModelFiles
    from rung.lm.remote.calls import Spent
    from rung.lm.remote.ledger import Ledger
    from rung.lm.remote.prices import Price

CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len", "seq_length")
"""Names that the configurations of architectures give to the longest context."""
LAYER_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
"""Names that they give to the number of layers."""

MOST_VECTORS = 50_000
"""Embeddings of rows in memory at once, for each embedding model."""
MAX_OPEN = 2
"""Engines in memory at once. A climb goes rung by rung, so the last one and the next one are enough."""

Say = Callable[[str], object]


class Engines:
    """Opens models for one climb or one server."""

    def __init__(
        self,
        machine: Machine | None = None,
        say: Say = print_visible,
        api: Settings | None = None,
        opened: Mapping[ModelRef, Engine] | None = None,
        most: int = MAX_OPEN,
        serving: bool = False,
    ):
        """`say` receives a line about each download. `api`: how endpoints are asked and what they may cost; by default
        without limits, with the ledger under `home()`. `opened`: engines that are there already, as by `put`. `most`: models
        in memory at once; of more, the one that was asked longest ago is closed. `serving`: they answer and are not trained, so
        adapters of one base share its weights.
        """
        self._machine, self.say, self.api = machine, say, api or Settings(folder=home())
        self._most, self.serving = most, serving
        self.until = float("inf")
        """`time.monotonic()` after which no endpoint is asked."""
        self.backends: dict[ModelRef, BackendChoice] = {}
        self._open: dict[ModelRef, Engine] = {}
        self._put: dict[ModelRef, Engine] = dict(opened or {})
        self._embedders: dict[str, tuple[str, Any]] = {}
        self._found: dict[str, Any] = {}
        self._kept: dict[str, Any] = {}
        self._chats: dict[tuple[Path, str], Any] = {}

    @cached_property
    def machine(self) -> Machine:
        return self._machine or load_or_measure()

    def find(self, name: str) -> ModelFiles:
        from rung.lm.models.resolve import find

        name = split_server(name)[1]
        found, stamp = self._found.get(name, (None, ()))
        if found is None or (stamp is not None and stamp != files.stamp(found.folder)):  # other files under an old name
            found = find(name, say=self.say)
            self._found[name] = found, files.stamp(found.folder)
        return found

    def reference(self, name: str) -> ModelRef:
        """The reference to an untouched base."""
        found = kind_of(name)
        return ModelRef(found.name, name, found.digest(self, name))

    def chat(self, ref: ModelRef) -> Chat | None:
        """The tokenizer alone, without the weights; None for models that read no tokens."""
        if not can(ref).chat_template:
            return None
        found = self.find(ref.name)
        folder, _ = fits.split(found.folder, ref.files)
        key = (folder, found.digest)
        if key not in self._chats:
            from rung.lm.models.chat import Chat, tokenizer

            self._chats[key] = Chat(tokenizer(folder))
        return self._chats[key]

    def tokens(self, ref: ModelRef, prompt: Prompt, answer: str) -> tuple[int, int]:
        """Tokens of a prompt and of an answer with its end."""
        if chat := self.chat(ref):
            return len(chat.prompt(prompt.messages)), len(chat.answer(answer))
        if can(ref).counts_tokens:
            return self.open(ref).count(prompt), len(answer.split()) + 1
        from rung.lm.remote.tokens import estimate, estimate_text

        return estimate(prompt), estimate_text(answer) + 1

    def context(self, ref: ModelRef) -> int | None:
        """Longest prompt and answer together, as the model's configuration says; None where it says nothing."""
        return self._configured(ref, CONTEXT_KEYS)

    def layers(self, ref: ModelRef) -> int:
        """Layers of a language model, as its configuration says; 0 where it says nothing or there is none."""
        return (self._configured(ref, LAYER_KEYS) or 0) if can(ref).chat_template else 0

    def vocabulary_parameters(self, ref: ModelRef) -> int:
        """Parameters of a language model's embeddings and output head: its matrices with a row per token; 0 without weights."""
        tokens = self._configured(ref, ("vocab_size",)) if can(ref).chat_template else None
        if not tokens:
            return 0
        from rung.lm.models.weights import shapes

        of_tokens = [shape for shape in shapes(self.find(ref.name).folder).values() if len(shape) == 2 and shape[0] == tokens]
        return sum(rows * columns for rows, columns in of_tokens)

    def _configured(self, ref: ModelRef, keys: Sequence[str]) -> int | None:
        """The first of these numbers in the model's configuration."""
        import json

        path = self.find(ref.name).folder / "config.json"
        said = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        said |= said.get("text_config") or {}  # of a model that also sees
        return next((said[key] for key in keys if said.get(key)), None)

    def parameters(self, name: str) -> int:
        """Size of an untouched model: as known, or read from the heads of its weight files. No known model is fetched for it."""
        return kind_of(name).parameters(self, name)

    def table(self, name: str) -> int:
        """Of an encoder's parameters, the table of tokens, which is looked up, not computed with."""
        if not can(name).chat_template:
            return 0
        from rung.lm.models.resolve import KNOWN, parameters

        return KNOWN[name].table if name in KNOWN else parameters(self.find(name).folder, "word_embeddings")

    def put(self, ref: ModelRef, engine: Engine) -> None:
        """Answer for `ref` with this engine from now on: a fake in a test, or a model that the caller has opened."""
        self._put[ref] = engine

    def put_embedder(self, name: str, embedder: Embedder, digest: str) -> None:
        """Embed with this where the embedding model `name` is asked for; `digest` names its content."""
        from rung.lm.models.hub import ModelFiles

        self._embedders[name] = digest, embedder
        self._found[name] = ModelFiles(name, Path(), digest, "given"), None

    @property
    def opened(self) -> tuple[ModelRef, ...]:
        """The models in memory that were opened here."""
        return tuple(self._open)

    def close(self) -> None:
        """Free the models in memory, before another copy is loaded to be trained; what is asked again is opened again."""
        while self._open:
            self._drop()
        self.end_servers()

    def end_servers(self) -> None:
        """End the servers that were started here: a model of this process needs their memory."""
        for one in self._kept.values():
            if isinstance(one, EndsServers):
                one.end_servers()

    def end_models(self) -> None:
        """Forget the models in this process, and give their memory back to its device: a server needs it."""
        import gc

        import torch

        for ref in [ref for ref, engine in self._open.items() if not isinstance(engine, InServer)]:
            del self._open[ref]
        gc.collect()
        torch.get_device_module(self.machine.device).empty_cache()

    def _drop(self) -> None:
        """Close the engine that was asked longest ago."""
        engine = self._open.pop(next(iter(self._open)))
        if isinstance(engine, Closes):
            engine.close()

    def open(self, ref: ModelRef) -> Engine:
        """The engine of a model, opened if need be. ModelError where it cannot be found or trusted."""
        if ref in self._put:
            return self._put[ref]
        found = self._open.pop(ref, None)
        if found is None:
            while len(self._open) >= self._most:
                self._drop()
            found = kind(ref.kind).open(self, ref)
        self._open[ref] = found  # last: the first in order is the one asked longest ago
        return found

    def fitted(self, ref: ModelRef) -> ModelRef:
        """Who answers with what was just fitted: another engine where this model's cannot load it."""
        return kind(ref.kind).fitted(self, ref)

    def reader(self, ref: ModelRef) -> ModelRef:
        """Who gives the log-probability of raw text: another engine of the same weights where this model's is slow at it."""
        return kind(ref.kind).reader(self, ref)

    @cached_property
    def ledger(self) -> Ledger:
        """Every call to an endpoint, with its tokens and dollars."""
        from rung.lm.remote.ledger import Ledger

        calls = self.api.shared() if self.api.shared else FileCalls(self.api.folder)
        return Ledger(calls, self.api.limits, lambda: self.until, self.say)

    def spent(self) -> Spent | None:
        """What calls to endpoints have cost so far; None where none was ever made."""
        if not self.api.shared and not (self.api.folder / LEDGER).exists():
            return None
        found = self.ledger.spent()
        return found if found.calls else None

    def price(self, ref: ModelRef) -> Price | None:
        """What an endpoint asks for tokens; None where this machine's time is the price. ModelError for an unknown price."""
        return kind(ref.kind).price(self, ref)

    def keep(self, name: str, make: Callable[[], Any]) -> Any:
        """Anything else that is opened once, by name."""
        if name not in self._kept:
            self._kept[name] = make()
        return self._kept[name]

    def embedder(self, name: str) -> Embedder:
        """The embedding model `name`, opened again if its folder has other files by now."""
        found = self.find(name)
        if self._embedders.get(name, ("",))[0] != found.digest:
            from rung.lm.inference.embed import Embedder

            self._embedders[name] = found.digest, Embedder(found.folder, self.machine)
        return self._embedders[name][1]

    def vectors(self, name: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embeddings of rows that several fits learn from: each is computed once, up to MOST_VECTORS. (texts, width)."""
        import numpy as np

        known: dict[str, Any] = self.keep(f"vectors {name}", dict)
        new = [text for text in dict.fromkeys(texts) if text not in known]
        found = dict(zip(new, self.embedder(name).embed(new))) if new else {}
        if len(known) + len(found) <= MOST_VECTORS:
            known |= found
        return np.asarray([found[text] if text in found else known[text] for text in texts], np.float32)

    def reranker(self, name: str) -> Reranker:
        """The cross-encoder `name`, opened again if its folder has other files by now."""
        found = self.find(name)

        def made() -> Reranker:
            from rung.lm.inference.rerank import Reranker

            return Reranker(found.folder, self.machine)

        return self.keep(f"reranker {found.digest}", made)

    def close_reranker(self, name: str) -> None:
        """Free the cross-encoder `name`, if it is in memory."""
        if name:
            self._kept.pop(f"reranker {self.find(name).digest}", None)
