"""The section `data.screening` of rung.yaml: which documents of raw text are left out of training."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from rung.task.values import Number, Section

Filter = Literal["few-words", "odd-words", "symbols", "few-letters", "repeated-lines"]


class Screening(Section):
    """What is left out of raw text, and why."""

    duplicates: bool = True
    """Whether a document that repeats an earlier one exactly is left out."""
    contamination: bool = True
    """Whether a document that repeats the input of a dev or test row (13 words in a row, or a shorter one whole) is left out."""
    near: Annotated[Number, Field(ge=0.5, le=0.95)] | None = None
    """Share of runs of five words, from 0.5 to 0.95, from which a document is left out as like an earlier one (rung[near])."""
    filters: Annotated[tuple[Filter, ...], BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)] = ()
    """Rules of quality: few-words, odd-words, symbols, few-letters, repeated-lines. A document that breaks one is left out."""
