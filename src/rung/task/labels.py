"""The labels of a task file, given as a list or with descriptions."""

from __future__ import annotations

from typing import Any

from rung.task.bounds import shortened


def _label_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"the label {shortened(repr(value))} is not text; put it in quotes.")
    return value.strip()


def labels(value: Any) -> Any:
    """A list of labels, or labels with descriptions, as label: description. ValueError for what is no text, twice, or alone."""
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
            raise ValueError(f"the label {shortened(repr(label))} stands there twice. Keep one.")
        found[label] = what
    if len(found) < 2:
        raise ValueError(f"{len(found)} label given, and choosing needs two. Name the others, or leave `labels` out.")
    return found
