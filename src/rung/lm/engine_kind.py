"""What a kind of engine is: what its engines can do, and how its models are named, sized, priced and opened."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from rung.lm.base import Engine, ModelRef
from rung.lm.remote.settings import Settings
from rung.machine import Machine
from rung.types import digest

if TYPE_CHECKING:
    from rung.lm.backends.table import BackendChoice
    from rung.lm.inference.embed import Embedder
    from rung.lm.models.chat import Chat
    from rung.lm.models.hub import ModelFiles
    from rung.lm.remote.ledger import Ledger
    from rung.lm.remote.prices import Price


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What engines of one kind can do. What a single engine adds (`ScoresLabels`, `Streams`) is seen in its type."""

    local: bool = True
    """It runs on this machine: its time is this machine's, and nothing is sent anywhere."""
    writes: bool = False
    """It writes free text, so it can reason before it answers."""
    continues: bool = False
    """It goes on from the beginning of an answer (`Prompt.begun`)."""
    streams: bool = False
    """It gives an answer piece by piece (`Streams`)."""
    chat_template: bool = False
    """It has a tokenizer and a chat template on this disk: tokens are counted without its weights."""
    counts_tokens: bool = True
    """`Engine.count` is exact; otherwise tokens are estimated from the text."""
    open_weights: bool = True
    """It may be trained."""
    logprobs: bool = False
    """It gives the log-probabilities of an answer's tokens, and of every label (`ScoresLabels`)."""
    reads_text: bool = False
    """It gives the log-probability of raw text, so forgetting can be measured."""
    head: bool = False
    """It is an encoder with a head on the labels, in files that `rung.lm.export.heads` reads."""
    exports_other: bool = False
    """Exports of it hold the rule by which it answers `other`."""
    replaceable: bool = False
    """Another program may write its free text (`rung serve --engine`)."""
    precisions: bool = False
    """Its frozen layers may be bfloat16 on a CPU (`ModelRef.precision`)."""
    at_once: int = 0
    """Rows that it needs at once to be busy; 0 for any number."""


class Workshop(Protocol):
    """What a kind is given to find and open a model with: `rung.lm.engines.Engines`."""

    say: Callable[[str], object]
    api: Settings
    serving: bool
    """Whether models are opened for a server: adapters of one base share its weights, and nothing is trained."""

    backends: dict[ModelRef, BackendChoice]
    """Models whose free text another program writes, where `serving`."""

    @property
    def machine(self) -> Machine: ...

    @property
    def ledger(self) -> Ledger: ...

    def find(self, name: str) -> ModelFiles:
        """The files of a model, fetched if need be."""
        ...

    def chat(self, ref: ModelRef) -> Chat | None: ...

    def context(self, ref: ModelRef) -> int | None: ...

    def embedder(self, name: str) -> Embedder: ...

    def end_servers(self) -> None: ...

    def end_models(self) -> None: ...

    def keep(self, name: str, make: Callable[[], Any]) -> Any:
        """Anything that is opened once, by name."""
        ...


@dataclass(frozen=True, kw_only=True)
class EngineKind:
    """One kind of engine."""

    name: str
    can: Capabilities
    open: Callable[[Workshop, ModelRef], Engine]
    """A model in memory, ready to answer."""
    digest: Callable[[Workshop, str], str] = lambda engines, name: digest(["model", name])
    """Content name of an untouched model by its name as a base: another content, another digest."""
    parameters: Callable[[Workshop, str], int] = lambda engines, name: 0
    """The size of an untouched model; 0 where nothing is computed on this machine."""
    price: Callable[[Workshop, ModelRef], Price | None] = lambda engines, ref: None
    """What is asked for its tokens; None where this machine's time is the price."""
    private: Callable[[str], bool] = lambda name: False
    """Whether what is sent to a model of this name, where `can.local` is false, stays in the user's own network."""
    fitted: Callable[[Workshop, ModelRef], ModelRef] = lambda engines, ref: ref
    """Who answers with something that was fitted on a model of this kind: another kind where this one cannot load it."""
    reader: Callable[[Workshop, ModelRef], ModelRef] = lambda engines, ref: ref
    """Who gives the log-probability of raw text, where `can.reads_text`."""
