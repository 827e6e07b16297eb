"""Content that identifies a Predictor; fields added in later versions count only if set."""

from __future__ import annotations

from typing import Any


def identity_fields(content: dict[str, Any]) -> dict[str, Any]:
    """A Predictor's content without what cannot change an answer; modifies `content`."""
    content.pop("taught")
    _without(content, "label_set")
    _without(content, "other")
    content["model"].pop("files")
    _without(content["model"], "precision")
    if content["model"]["digest"]:
        content["model"].pop("name")  # the digest identifies the model, wherever it is stored
    content["demos"].pop("files")
    for row in (*content["demos"]["fixed"], *content["demos"]["pool"]):
        row.pop("references", None)  # prompts show only the first answer, which is the output
        _without(row, "after")
        for turn in (*row["history"], *row.get("after", ())):
            _without(turn, "extra")
    if content["lookup"] is None:
        content.pop("lookup")
    else:
        for part in ("index", "files"):
            content["lookup"].pop(part)
        for part in ("browse", "around", "files_digest", "together", "reranker"):
            _without(content["lookup"], part)
        content["lookup"].get("reranker", {}).pop("files", None)
    for part in ("schema", "calls", "template_calls"):
        _without(content["decoding"], part)
    for part in ("thinking", "calibration", "threshold", "cascade", "tools"):
        if content[part] is None:
            content.pop(part)
    return content


def _without(content: dict[str, Any], part: str) -> None:
    if not content[part]:
        content.pop(part)
