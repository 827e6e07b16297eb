"""The table of engine kinds: what each can do, and how its models are named, sized, priced and opened.

Everything else asks `can(ref)`; no other file compares a kind by its name. Nothing heavy is imported until a model is opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.errors import ModelError
from rung.lm.base import Engine, ModelRef
from rung.lm.engine_kind import Capabilities, EngineKind, Workshop
from rung.lm.engine_weights import OWN, RUNNING, STARTED
from rung.lm.inference.fake import FakeEngine
from rung.lm.inference.rules import RuleEngine
from rung.lm.remote.settings import endpoint, is_remote
from rung.plugins import Table
from rung.task.base_names import VLLM, split_server
from rung.types import digest

if TYPE_CHECKING:
    from rung.lm.remote.prices import Price


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
    return endpoint(ref.name, engines.api.key_env).known_price(engines.api.prices)


KINDS: dict[str, EngineKind] = {
    kind.name: kind
    for kind in (
        OWN,
        STARTED,
        RUNNING,
        EngineKind(name="encoder", can=Capabilities(head=True, exports_other=True), open=_open_encoder),
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
    if server := split_server(model)[0]:
        return STARTED if server == VLLM else RUNNING
    if model == "fake" or is_remote(model):
        return KINDS["fake" if model == "fake" else "remote"]
    scheme, colon, _ = model.partition(":")
    return kind(scheme) if colon and TABLE.added(scheme) else OWN


def can(model: ModelRef | str) -> Capabilities:
    """What the engine of a model can do: of one that is referred to, or of an untouched one by its name."""
    return (kind_of(model) if isinstance(model, str) else kind(model.kind)).can


def leaves(model: str) -> bool:
    """Whether what a model of this name is asked leaves this machine and the user's own network."""
    found = kind_of(model)
    return not found.can.local and not found.private(model)
