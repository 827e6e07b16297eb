"""The original language model asked, and an export asked beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from rung.export import compare, scores
from rung.export.proof import Proof
from rung.export.source import Source

if TYPE_CHECKING:
    from rung.lm.export.reader import Reader
    from rung.lm.export.reference import Reference

MOST = 64
"""Tokens at which answers are cut while an export is proven."""

Progress = Callable[[str], object]
Original: TypeAlias = "tuple[Reference, compare.Asked]"
"""The rung's own model with its answers."""


def ask_original(source: Source, progress: Progress = lambda text: None) -> Original:
    """The original in float32 on the CPU with its answers."""
    from rung.lm.export.reference import Reference, float32_engine

    progress("asking the original")
    engines, predictor = source.project.engines, source.predictor
    original = Reference(float32_engine(source.base.folder, predictor.model.files, engines.machine))
    prompts = predictor.prompts(source.rows, engines)
    most = min(MOST, predictor.decoding.max_new_tokens + (predictor.thinking.tokens if predictor.thinking else 0))
    return original, compare.ask(original, [row.id for row in source.rows], prompts, most)


def prove(source: Source, kind: str, reader: Reader, original: Original, progress: Progress) -> Proof:
    """Ask the export what the original was asked, and score both."""
    engine, asked = original
    proof, written = compare.compare(engine, asked, reader, kind, progress)
    return replace(proof, scores=scores.scored(source, asked.written, written))


def longest(source: Source) -> int:
    """Tokens of the longest prompt and its answer together."""
    engines, model = source.project.engines, source.predictor.model
    return max(engines.tokens(model, one, "")[0] for one in source.predictor.prompts(source.rows, engines)) + 2 * MOST
