"""Rows that an annotation tool exports although the annotator rejected them: their label is wrong, or was never given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rung.data.rows import quoted
from rung.errors import DataError

_PRODIGY = ("_task_hash", "answer")
"""Columns of Prodigy; `answer` is what the annotator said of the label in another column."""


def refuse_rejected(row: Mapping[str, Any], output: str, where: str) -> None:
    """DataError for a row whose label was rejected or ignored in Prodigy, or discarded in Argilla.

    `output`: the column with the label. Argilla keeps the states of its responses in `OUTPUT.status`.
    """
    column = _PRODIGY[1] if set(_PRODIGY) <= row.keys() and output != _PRODIGY[1] else f"{output}.status"
    said = row.get(column)
    states = said if isinstance(said, list) else [said]
    for state in states:
        if isinstance(state, str) and state.strip().casefold() in ("reject", "ignore", "discarded"):
            raise DataError(
                f"{column} is {quoted(said)}: the annotator did not confirm the label.",
                where=where,
                remedy="Delete the row, or correct its label and its state.",
            )
