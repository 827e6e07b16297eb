"""What rung exports to, and in which types of numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rung.errors import RungError

Target = Literal["hf", "gguf", "ollama"]

KINDS: dict[Target, tuple[str, ...]] = {
    "hf": ("f32", "bf16", "f16"),
    "gguf": ("f16", "f32", "q8_0"),
    "ollama": ("f16", "f32", "q8_0"),
}
"""By target the types, the default first."""


@dataclass(frozen=True, slots=True)
class Form:
    """What an export is to be."""

    to: Target
    kind: str
    adapter: bool = False
    """The adapter alone, beside the name of its base."""

    @property
    def name(self) -> str:
        """What the export's folder is called behind the rung's name."""
        return f"{self.to}-adapter" if self.adapter else f"{self.to}-{self.kind}"


def form(to: str, kind: str = "", adapter: bool = False) -> Form:
    """The form that is asked for. RungError where there is none such."""
    if to not in KINDS:
        raise RungError(f"there is no export to {to!r}.", where="rung export --to", remedy=f"Known: {', '.join(KINDS)}.")
    allowed = KINDS[to]
    kind = kind.lower()
    if kind and kind not in allowed:
        raise RungError(
            f"{to} is not written in {kind!r}.", where="rung export --kind", remedy=f"Take one of {', '.join(allowed)}."
        )
    if adapter and to != "hf":
        raise RungError(f"an adapter alone is not exported to {to}.", where="rung export --adapter", remedy="Take --to hf.")
    if adapter and kind not in ("", "f32"):
        raise RungError("an adapter is written in the type it was trained in.", where="--kind", remedy="Leave --kind out.")
    return Form(to, kind or allowed[0], adapter)
