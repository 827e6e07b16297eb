"""Labels of a task file, as a list or with descriptions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rung.task.bounds import shorten

OTHER = "other"
"""The answer to an input that is unlike all labels, where the task has `other: true`."""
NONE_OF_THESE = "none of these"
"""What it means, where the task does not say."""


def _label_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"the label {shorten(repr(value))} is not text; put it in quotes.")
    return value.strip()


def labels(value: Any) -> Any:
    """Labels as {label: description}. ValueError for a label that is not text or repeated, or for fewer than two."""
    if isinstance(value, list):
        value = [(label, "") for label in value]
    elif isinstance(value, dict):
        value = [(label, "" if what is None else what) for label, what in value.items()]
    else:
        return value
    found: dict[str, Any] = {}
    for raw, what in value:
        label = _label_text(raw)
        if label in found:
            raise ValueError(f"the label {shorten(repr(label))} is listed twice. Keep one.")
        found[label] = what
    if len(found) < 2:
        raise ValueError(f"{len(found)} label given, but at least two are needed. Add the others, or omit `labels`.")
    return found


def in_order(labels: Sequence[str]) -> str:
    """The metric `quadratic_kappa` with the labels in their order, lowest first. ValueError for a label with < in it."""
    if odd := [label for label in labels if "<" in label]:
        raise ValueError(f"quadratic_kappa needs labels without <, but one is {shorten(repr(odd[0]))}.")
    return f"quadratic_kappa({' < '.join(labels)})"
