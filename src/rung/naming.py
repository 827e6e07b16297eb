"""What a Predictor's content name is made of: fields that came later count only where they say something."""

from __future__ import annotations

from typing import Any


def named(content: dict[str, Any]) -> dict[str, Any]:
    """A Predictor's content, all that does not change an answer taken out; `content` itself is changed."""
    content.pop("taught")
    content["model"].pop("files")
    if content["model"]["digest"]:
        content["model"].pop("name")  # the digest says which model it is, wherever it lies
    content["demos"].pop("files")
    for row in (*content["demos"]["fixed"], *content["demos"]["pool"]):
        row.pop("references", None)  # the prompt shows the first right answer, and that is the output
        _without(row, "after")
        for turn in (*row["history"], *row.get("after", ())):
            _without(turn, "extra")
    if content["lookup"] is None:
        content.pop("lookup")
    else:
        content["lookup"].pop("index")
    for part in ("schema", "calls"):
        _without(content["decoding"], part)
    for part in ("thinking", "calibration"):
        if content[part] is None:
            content.pop(part)
    return content


def _without(content: dict[str, Any], part: str) -> None:
    if not content[part]:
        content.pop(part)
