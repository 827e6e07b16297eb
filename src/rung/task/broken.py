"""Hints for invalid YAML lines; most often a text needs quotes."""

from __future__ import annotations

import json
import re

USUAL = "Check the indentation (spaces, no tabs), the colons and the quotes there."
LONGEST = 80
_PAIR = re.compile(r"\s*(?:- )?(?P<key>[\w.-]+):\s+(?P<value>\S.*?)\s*")
_QUOTABLE = re.compile(
    r"mapping values are not allowed|sequence entries are not allowed|mapping keys are not allowed|cannot start any token"
    r"|expected alphabetic or numeric|expected a comment or a line break|but found '<scalar>'"
    r"|constructor for the tag|undefined alias"
)


def remedy(problem: str, line: str) -> str:
    """How to fix `line`, given PyYAML's `problem`."""
    if "'\\t'" in problem or line.startswith("\t"):
        return "Indent with spaces, not with tabs."
    if "flow" in problem or "expected ',' or" in problem:
        return "Close the bracket; if it belongs to a text, put the whole text in quotes."
    if not _QUOTABLE.search(problem):
        return USUAL
    pair = _PAIR.fullmatch(line)
    if pair is None:
        return USUAL
    key, value = pair["key"], pair["value"]
    if "mapping values" in problem and not re.search(r":(?:\s|$)", value):
        return (
            "The line is indented more than the one above: start both in the same column. If it continues a text,"
            " put the whole text in quotes, or behind `key: |` on lines of its own."
        )
    return f"A text with such a character needs quotes: {key}: {_in_quotes(value)}"


def _in_quotes(value: str) -> str:
    """The value as a quoted YAML string; existing outer quotes are not doubled."""
    bare = value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "\"'" else value
    if len(bare) > LONGEST:
        bare = f"{bare[:LONGEST]}…"
    return json.dumps(bare, ensure_ascii=False)
