"""The kinds of engine whose weights are here: rung's own, and vLLM's, which loads the same files in a server."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal, cast

from rung.errors import ModelError
from rung.lm.base import Engine, ModelRef
from rung.lm.engine_kind import Capabilities, EngineKind, Workshop
from rung.lm.remote.settings import endpoint
from rung.task.base_names import VLLM, split_server
from rung.types import digest

if TYPE_CHECKING:
    from rung.lm.inference.causal import CausalEngine
    from rung.lm.models.hub import ModelFiles
    from rung.lm.remote.prices import Price

WEIGHTS = Capabilities(writes=True, continues=True, streams=True, chat_template=True, logprobs=True, reads_text=True)
AT_ONCE = 256
"""Sequences that vLLM runs at once by default."""


def _open_causal(engines: Workshop, ref: ModelRef) -> Engine:
    from rung.lm.inference.causal import CausalEngine
    from rung.lm.models.load import load

    found = _unchanged(engines, ref, _digest_causal)
    if _one_owner(engines):
        engines.end_servers()
    if engines.serving:
        from rung.lm.inference.served import Bases, opened

        bases = engines.keep("served bases", Bases)
        own = partial(opened, found.folder, found.digest, ref, engines.machine, engines.say, bases)
        return _open_backend(engines, ref, found, own) if ref in engines.backends else own()
    frozen: Literal["", "below"] = "below" if ref.precision and engines.machine.multiplies_bf16 else ""
    return CausalEngine(load(found.folder, engines.machine, ref.files, frozen=frozen), engines.say)


def _one_owner(engines: Workshop) -> bool:
    """Whether either language models of this process or one server have the memory, so that one ends before the other begins.

    On a CPU both have room, and what serves ends nothing that others may be asking.
    """
    return engines.machine.device != "cpu" and not engines.serving


def _unchanged(engines: Workshop, ref: ModelRef, digest_now: Callable[[Workshop, str], str]) -> ModelFiles:
    """The files of a base. ModelError where they are others than those that something was fitted on.

    `digest_now`: of the base as its files are now, as its kind computes it.
    """
    from rung.lm.models import fits

    found = engines.find(ref.name)
    if ref.digest not in ("", digest_now(engines, ref.name)) and fits.split(found.folder, ref.files)[0] == found.folder:
        raise ModelError(
            "its weights are others than those that this was fitted on.",
            where=ref.name,
            remedy="Put the old ones back, or climb again.",
        )
    return found


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

    name = split_server(name)[1]
    if name in KNOWN and KNOWN[name].what != "causal":
        raise ModelError(
            f"{name!r} is an embedding model, so it cannot be a base.",
            where="base",
            remedy="Name a language model; an embedding model goes under `encoder`.",
        )
    return engines.find(name).digest


def _size_causal(engines: Workshop, name: str) -> int:
    from rung.lm.models.resolve import KNOWN, parameters

    name = split_server(name)[1]
    return KNOWN[name].parameters if name in KNOWN else parameters(engines.find(name).folder)


# --- vLLM --------------------------------------------------------------------------------------------------------------


def _open_vllm(engines: Workshop, ref: ModelRef) -> Engine:
    from rung.lm.backends import vllm
    from rung.lm.backends.base import Wanted
    from rung.lm.backends.vllm_engine import VllmEngine

    address, found = _vllm_address(ref.name), _vllm_files(engines, ref)
    chat, context = engines.chat(ref), engines.context(ref)
    assert chat, "models with weights here have a chat template"
    wanted = Wanted(ref, found, chat, context or 2**20, engines.machine, engines.say, address)
    make_room = engines.end_models if _one_owner(engines) else None
    started: vllm.Servers = engines.keep("vllm servers", partial(vllm.Servers, make_room))
    key = os.environ.get(engines.api.key_env, "") if engines.api.key_env else ""
    backend = vllm.opened(wanted, started, key)

    def own() -> CausalEngine:
        return cast("CausalEngine", _open_causal(engines, _in_rung(engines, ref)))

    return VllmEngine(backend, chat, own, None if address else vllm.Started(started, found.digest))


def _vllm_files(engines: Workshop, ref: ModelRef) -> ModelFiles:
    return _unchanged(engines, ref, _digest_vllm_server if _vllm_address(ref.name) else _digest_causal)


def _vllm_address(name: str) -> str:
    """Of the server in the name of one that runs already; empty of one that rung starts."""
    return endpoint(name).url.removesuffix("/v1") if split_server(name)[0] != VLLM else ""


def _digest_vllm_server(engines: Workshop, name: str) -> str:
    """Answers and latencies of one server are not those of another."""
    return digest([_vllm_address(name), _digest_causal(engines, name)])


def _vllm_fitted(engines: Workshop, ref: ModelRef) -> ModelRef:
    """vLLM loads plain LoRA adapters on the base by name; with everything else rung's own engine answers."""
    from rung.lm.backends.vllm_http import MAX_RANK
    from rung.lm.models import serving

    adapter = serving.plain_lora(engines.find(ref.name).folder, ref.files)
    return ref if adapter and serving.rank(adapter) <= MAX_RANK else _in_rung(engines, ref)


def _in_rung(engines: Workshop, ref: ModelRef) -> ModelRef:
    """The same model in rung's own engine."""
    return replace(ref, kind="causal", name=split_server(ref.name)[1], digest=_vllm_files(engines, ref).digest)


def _price_vllm(engines: Workshop, ref: ModelRef) -> Price | None:
    return endpoint(ref.name).known_price(engines.api.prices)


OWN = EngineKind(
    name="causal",
    can=replace(WEIGHTS, replaceable=True, precisions=True),
    open=_open_causal,
    digest=_digest_causal,
    parameters=_size_causal,
)
STARTED = EngineKind(
    name="vllm",
    can=replace(WEIGHTS, at_once=AT_ONCE),
    open=_open_vllm,
    digest=_digest_causal,
    parameters=_size_causal,
    fitted=_vllm_fitted,
    reader=_in_rung,
)
"""A server that rung starts."""
RUNNING = EngineKind(
    name="vllm-server",
    can=replace(WEIGHTS, local=False, at_once=AT_ONCE),
    open=_open_vllm,
    digest=_digest_vllm_server,
    parameters=_size_causal,
    price=_price_vllm,
    private=lambda name: endpoint(name).in_house,
    fitted=_vllm_fitted,
    reader=_in_rung,
)
"""One that runs already, at an address."""
