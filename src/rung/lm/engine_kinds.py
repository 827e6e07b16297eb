"""The table of engine kinds: what each can do, and how its models are named, sized, priced and opened.

Everything else asks `can(ref)`; no other file compares a kind by its name. Nothing heavy is imported until a model is opened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rung.errors import ModelError
from rung.lm.base import Engine, ModelRef
from rung.lm.inference.fake import FakeEngine
from rung.lm.inference.rules import RuleEngine
from rung.lm.remote.settings import Settings, endpoint, is_remote
from rung.machine import Machine
from rung.plugins import Table
from rung.types import digest

if TYPE_CHECKING:
    from rung.lm.backends.table import BackendChoice
    from rung.lm.inference.causal import CausalEngine
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


# --- local language models ---------------------------------------------------------------------------------------------


def _open_causal(engines: Workshop, ref: ModelRef) -> Engine:
    from rung.lm.inference.causal import CausalEngine
    from rung.lm.models import fits
    from rung.lm.models.load import load

    found = engines.find(ref.name)
    if ref.digest not in ("", found.digest) and fits.split(found.folder, ref.files)[0] == found.folder:
        raise ModelError(
            "its weights are others than those that this was fitted on.",
            where=ref.name,
            remedy="Put the old ones back, or climb again.",
        )
    if engines.serving:
        from rung.lm.inference.served import Bases, opened

        bases = engines.keep("served bases", Bases)
        own = partial(opened, found.folder, found.digest, ref.files, engines.machine, engines.say, bases)
        return _open_backend(engines, ref, found, own) if ref in engines.backends else own()
    return CausalEngine(load(found.folder, engines.machine, ref.files), engines.say)


def _open_backend(engines: Workshop, ref: ModelRef, found: ModelFiles, own: Callable[[], CausalEngine]) -> Engine:
    """A model whose free text another program writes."""
    from rung.lm.backends.base import Wanted
    from rung.lm.backends.table import engine

    chat, context = engines.chat(ref), engines.context(ref)
    assert chat, "models with weights here have a chat template"
    wanted = Wanted(ref, found, chat, context or 2**20, engines.machine, engines.say)
    return engine(engines.backends[ref], wanted, own)


def _digest_causal(engines: Workshop, name: str) -> str:
    from rung.lm.models.resolve import KNOWN

    if name in KNOWN and KNOWN[name].what != "causal":
        raise ModelError(
            f"{name!r} is an embedding model, so it cannot be a base.",
            where="base",
            remedy="Name a language model; an embedding model goes under `encoder`.",
        )
    return engines.find(name).digest


def _size_causal(engines: Workshop, name: str) -> int:
    from rung.lm.models.resolve import KNOWN, parameters

    return KNOWN[name].parameters if name in KNOWN else parameters(engines.find(name).folder)


# --- what methods fit --------------------------------------------------------------------------------------------------


def _open_encoder(engines: Workshop, ref: ModelRef) -> Engine:
    from rung.lm.inference import label_sets
    from rung.lm.inference.embed import Embedder
    from rung.lm.inference.encoder import ENCODER, load_head

    tuned, folder = Path(ref.files) / ENCODER, Path(ref.files)
    embedder = Embedder(tuned, engines.machine) if tuned.is_dir() else engines.embedder(ref.name)
    if (folder / label_sets.HEAD).is_file():
        return label_sets.load_head(embedder.embed, folder)
    return load_head(embedder, folder)


def _open_classifier(engines: Workshop, ref: ModelRef) -> Engine:
    from rung.lm.training.classifier import load

    return load(Path(ref.files), engines.machine)


# --- endpoints ---------------------------------------------------------------------------------------------------------


def _open_remote(engines: Workshop, ref: ModelRef) -> Engine:
    from rung.lm.remote.engine import RemoteEngine

    return RemoteEngine(endpoint(ref.name, engines.api.key_env), engines.api, engines.ledger, engines.say)


def _digest_remote(engines: Workshop, name: str) -> str:
    at = endpoint(name, engines.api.key_env)
    return digest([at.url, at.model])


def _price_remote(engines: Workshop, ref: ModelRef) -> Price | None:
    """ModelError where no price is known: rungs are ordered by cost, and a cost is never guessed."""
    at = endpoint(ref.name, engines.api.key_env)
    found = at.price(engines.api.prices)
    if found or at.loopback:
        return found
    raise ModelError(
        f"no price is known for {at.model!r} at {at.host}.",
        where="base",
        remedy=f"Add to rung.yaml, in US dollars per million tokens: prices: {{{at.model}: {{input: …, output: …}}}}.",
    )


KINDS: dict[str, EngineKind] = {
    kind.name: kind
    for kind in (
        EngineKind(
            name="causal",
            can=Capabilities(writes=True, continues=True, streams=True, chat_template=True, logprobs=True, reads_text=True),
            open=_open_causal,
            digest=_digest_causal,
            parameters=_size_causal,
        ),
        EngineKind(name="encoder", can=Capabilities(head=True), open=_open_encoder),
        EngineKind(name="classifier", can=Capabilities(head=True), open=_open_classifier),
        EngineKind(name="rule", can=Capabilities(), open=lambda engines, ref: RuleEngine(ref.name, Path(ref.files))),
        EngineKind(
            name="remote",
            can=Capabilities(local=False, writes=True, streams=True, counts_tokens=False, open_weights=False),
            open=_open_remote,
            digest=_digest_remote,
            price=_price_remote,
            private=lambda name: endpoint(name).in_house,
        ),
        EngineKind(
            name="fake",
            can=Capabilities(writes=True, continues=True),
            open=lambda engines, ref: FakeEngine(),
            digest=lambda engines, name: "fake",
            parameters=lambda engines, name: 1_000_000,
        ),
    )
}


def _accept(name: str, given: Any) -> EngineKind:
    """A plug-in's engine kind."""
    if not isinstance(given, EngineKind):
        raise ValueError("an engine kind is a rung.lm.engine_kinds.EngineKind")
    if given.name != name:
        raise ValueError(f"it calls itself {given.name!r}")
    return given


TABLE = Table("rung.engines", "engine kind", KINDS, _accept)
"""The kinds above, and those of installed packages."""


def kind(name: str) -> EngineKind:
    """The kind of this name. ModelError where there is none."""
    if found := TABLE.get(name):
        return found
    raise ModelError(
        f"there is no engine kind {name!r}.", remedy=f"Known: {', '.join(TABLE.names())}. Install the package that adds it."
    )


def kind_of(model: str) -> EngineKind:
    """The kind that opens an untouched model, from its name as a base or a teacher; a plug-in's are called `KIND:NAME`."""
    if model == "fake" or is_remote(model):
        return KINDS["fake" if model == "fake" else "remote"]
    scheme, colon, _ = model.partition(":")
    return kind(scheme) if colon and TABLE.added(scheme) else KINDS["causal"]


def can(model: ModelRef | str) -> Capabilities:
    """What the engine of a model can do: of one that is referred to, or of an untouched one by its name."""
    return (kind_of(model) if isinstance(model, str) else kind(model.kind)).can


def leaves(model: str) -> bool:
    """Whether what a model of this name is asked leaves this machine and the user's own network."""
    found = kind_of(model)
    return not found.can.local and not found.private(model)
