"""What an export target is: which numbers it writes, how its files are written, asked and described."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rung.export import asking, texts
from rung.export.proof import Proven
from rung.export.source import Source

Progress = Callable[[str], object]

NUMBERS = {
    "f32": "in float32",
    "f16": "in float16",
    "bf16": "in bfloat16",
    "q8_0": "in Q8_0 (8 bits in blocks of 32)",
    "int8": "in int8 (dynamic quantisation)",
}
"""By kind, as model cards say it."""


@dataclass(frozen=True, slots=True)
class Made:
    """Files that were written, loaded by the engine that they are meant for."""

    reader: Any
    """A Reader, or of an encoder a LabelReader, or what the target's own proof asks."""
    changed: int = 0
    """Tensors that merging an adapter changed."""
    original: Any = None
    """Of an encoder: the plain model that was written."""


@dataclass(frozen=True)
class Target:
    """One row of the table of targets."""

    name: str
    """What `--to` says."""
    what: str
    """What is written, in a few words."""
    kinds: tuple[str, ...]
    """Types of numbers, the default first."""
    write: Callable[[Source, Form, Path], Made]
    """Write the rung's files to a folder and load them."""
    use: Callable[[Source, Form], str]
    """How to load and ask the files, as Markdown for the model card."""
    library: str
    """The name by which hubs know what loads it."""
    encoders: bool = False
    """For encoders with a head; otherwise for language models."""
    adapter_kinds: tuple[str, ...] = ()
    """Types of numbers beside an adapter that is not merged, the default first; empty where it must be."""
    brings_base: bool = False
    """Such an adapter lies beside its base."""
    limits: Callable[[Source], list[str]] = asking.limits
    """What `rung ask` does that the files do not."""
    prover: Callable[[Source, Form, Made, Progress], Proven] | None = None
    """Its own proof, where it is neither that of language models nor that of encoders."""

    def prove(self, source: Source, form: Form, made: Made, original: texts.Original | None, progress: Progress) -> Proven:
        """Ask the files what the original was asked, and score both. `original`: a language model's answers, if known."""
        if self.prover:
            return self.prover(source, form, made, progress)
        if self.encoders:
            from rung.export import label_proof

            return label_proof.prove(source, form.kind, made.original, made.reader, progress)
        return texts.prove(source, form.kind, made.reader, original or texts.ask_original(source, progress), progress)


@dataclass(frozen=True)
class Form:
    """What an export is to be."""

    target: Target
    kind: str
    adapter: bool = False
    """The adapter is not merged into the weights."""

    @property
    def library(self) -> str:
        """The name by which hubs know what loads it."""
        return "peft" if self.adapter and self.target.library == "transformers" else self.target.library

    @property
    def name(self) -> str:
        """What the export's folder is called behind the rung's name."""
        return f"{self.target.name}-adapter" if self.adapter else f"{self.target.name}-{self.kind}"
