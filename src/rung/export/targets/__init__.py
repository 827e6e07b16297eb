"""The table of what rung exports to: a file here and a row in TARGETS for each."""

from __future__ import annotations

from rung.errors import RungError
from rung.export.source import Source
from rung.export.targets.base import Form, Target
from rung.export.targets.gguf import GGUF
from rung.export.targets.hf import HF
from rung.export.targets.hf_encoder import HF_ENCODER
from rung.export.targets.ollama import OLLAMA
from rung.export.targets.onnx import ONNX
from rung.export.targets.vllm import VLLM
from rung.export.targets.zip import ZIP, ZIP_ENCODER

TARGETS: tuple[Target, ...] = (HF, HF_ENCODER, GGUF, OLLAMA, VLLM, ONNX, ZIP, ZIP_ENCODER)
"""In the order in which they are listed. A name may stand twice: for language models and for encoders."""


def form(source: Source, to: str, kind: str = "", adapter: bool = False) -> Form:
    """The form that is asked for. RungError where there is none such for this rung."""
    named = [one for one in TARGETS if one.name == to]
    if not named:
        known = "Known: " + "; ".join(f"{one.name} ({one.what})" for one in TARGETS)
        raise RungError(f"there is no export to {to!r}.", where="rung export --to", remedy=f"{known}. --out names a folder.")
    target = next((one for one in named if one.encoders == source.encoder), None)
    if target is None:
        able = ", ".join(one.name for one in TARGETS if one.encoders == source.encoder)
        what = "an encoder with a head" if source.encoder else "a language model"
        raise RungError(
            f"{source.rung} answers with {what}, which is not exported to {to}.", where="rung export --to", remedy=f"Take {able}."
        )
    if adapter and not target.adapter_kinds:
        able = ", ".join(one.name for one in TARGETS if one.adapter_kinds)
        raise RungError(f"an adapter alone is not exported to {to}.", where="rung export --adapter", remedy=f"Take --to {able}.")
    kind, kinds = kind.lower(), target.adapter_kinds if adapter else target.kinds
    if kind and kind not in kinds:
        how = f"{to} with an adapter" if adapter else to
        allowed = ", ".join(kinds)
        raise RungError(f"{how} is not written in {kind!r}.", where="rung export --kind", remedy=f"Take one of {allowed}.")
    return Form(target, kind or kinds[0], adapter)
