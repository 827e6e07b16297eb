"""How labelled rows were drawn: at random, or chosen. Chosen rows may be trained on, but never measured on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rung.data.rows import MAX_LISTED
from rung.errors import DataError
from rung.types import Example, Split

DRAWN = "rung_drawn"
"""Column that `rung label` writes: how the row was drawn."""
BY = "rung_by"
"""Column that `rung label` writes: who labelled the row."""
RANDOM = "random"
"""Drawn at random and labelled without a proposal in view. Any other value of the column is a chosen row."""


def is_chosen(row: Example) -> bool:
    """Whether a row was chosen by a model's doubt, or labelled with a proposal in view.

    Chosen rows are harder than the task, and proposals pull labels towards a model's answers: a score on either is biased.
    """
    return str(row.extra.get(DRAWN) or RANDOM).strip().casefold() != RANDOM


def refuse_chosen(rows: Iterable[Example] | None, split: Split) -> None:
    """DataError if chosen rows were given as dev or test rows."""
    chosen: Sequence[Example] = [row for row in rows or () if is_chosen(row)]
    if not chosen:
        return
    places = ", ".join(row.where for row in chosen[:MAX_LISTED])
    more = f" and {len(chosen) - MAX_LISTED} more" if len(chosen) > MAX_LISTED else ""
    raise DataError(
        f"{len(chosen)} {split} rows were chosen for training ({DRAWN} is {chosen[0].extra[DRAWN]!r}), not drawn at random"
        f" ({places}{more}): a score on them would be biased.",
        where=f"data.{split}",
        remedy=f"Move them to data.train, and draw {split} rows with: rung label FOLDER --for {split}",
    )
