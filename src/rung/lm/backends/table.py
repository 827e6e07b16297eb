"""The table of backends: how each is opened for a model, and whether it can be here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING

from rung.errors import ModelError
from rung.lm.backends.base import Backend, Wanted
from rung.machine import Device

if TYPE_CHECKING:
    from rung.lm.backends.engine import BackendEngine
    from rung.lm.inference.causal import CausalEngine

OWN, AUTO = "own", "auto"


@dataclass(frozen=True, kw_only=True)
class BackendKind:
    """One program."""

    name: str
    open: Callable[[Wanted], Backend]
    """ModelError where it cannot load the model."""
    missing: Callable[[], str]
    """What must be installed first; empty where nothing is missing."""
    version: Callable[[], str]
    """Of the package."""
    device: Device
    """Where `--engine auto` tries it."""
    addressed: bool = False
    """Whether it may be a server that runs already: NAME=http://…"""


def _open_llamacpp(wanted: Wanted) -> Backend:
    from rung.lm.backends import weights
    from rung.lm.backends.llamacpp import LlamaCpp, token_bytes

    ref, found = wanted.ref, wanted.found
    file = weights.gguf(found.folder, found.digest, ref.files, ref.files_digest, "f16")
    return LlamaCpp(file, "f16", wanted.machine.threads, wanted.context, token_bytes(found.folder))


def _missing_llamacpp() -> str:
    from rung.lm.llama_cpp import installed

    return "" if installed() else "pip install 'rung[llamacpp]'"


def _open_vllm(wanted: Wanted) -> Backend:
    from rung.lm.backends.vllm import opened

    return opened(wanted)


def _missing_vllm() -> str:
    from rung.lm.backends.vllm import installed

    return "" if installed() else "pip install vllm, or name a server that runs: --engine vllm=http://…"


TABLE: dict[str, BackendKind] = {
    kind.name: kind
    for kind in (
        BackendKind(
            name="llamacpp", open=_open_llamacpp, missing=_missing_llamacpp, version=partial(version, "xllamacpp"), device="cpu"
        ),
        BackendKind(
            name="vllm", open=_open_vllm, missing=_missing_vllm, version=partial(version, "vllm"), device="cuda", addressed=True
        ),
    )
}


@dataclass(frozen=True, slots=True)
class BackendChoice:
    """A backend by its name, and the address of one that runs already."""

    kind: BackendKind
    address: str = ""

    @property
    def said(self) -> str:
        """As `--engine` names it."""
        return f"{self.kind.name}={self.address}" if self.address else self.kind.name


def choice(said: str) -> BackendChoice:
    """The backend that `--engine` names. ModelError where there is none such, or where it is not installed."""
    name, equals, address = said.partition("=")
    where = "--engine"
    if name not in TABLE:
        known = ", ".join((OWN, *TABLE, "vllm=http://…", AUTO))
        raise ModelError(f"there is no engine {name!r}.", where=where, remedy=f"Known: {known}.")
    kind = TABLE[name]
    if equals and not (kind.addressed and address.startswith(("http://", "https://"))):
        remedy = (
            f"Write --engine {name}=http://HOST:PORT." if kind.addressed else f"Write --engine {name}: it runs in this process."
        )
        raise ModelError(f"{address!r} is no address of {name}.", where=where, remedy=remedy)
    if not address and (missing := kind.missing()):
        raise ModelError(f"{name} is not installed.", where=where, remedy=f"Run: {missing}.")
    return BackendChoice(kind, address.rstrip("/"))


def candidate(device: Device) -> BackendChoice | None:
    """The backend that `--engine auto` tries on this device; None where none is installed."""
    found = [kind for kind in TABLE.values() if kind.device == device and not kind.missing()]
    return BackendChoice(found[0]) if found else None


def engine(chosen: BackendChoice, wanted: Wanted, own: Callable[[], CausalEngine]) -> BackendEngine:
    """A model as an engine whose free text this backend writes; `own` opens rung's engine of the same model."""
    from rung.lm.backends.engine import BackendEngine

    return BackendEngine(chosen.kind.open(replace(wanted, address=chosen.address)), wanted.chat, wanted.context, own)
