"""Conversations in files: a list of messages, the same as text, or an object of lists."""

from __future__ import annotations

import ast
import json
from typing import Any

from rung.data.rows import quoted
from rung.errors import DataError


def as_messages(value: Any, where: str) -> Any:
    """A conversation as a list of messages; other values unchanged.

    A cell may hold it as JSON or as a Python literal; `datasets` turns a list of objects into an object of lists. DataError for
    lists of different lengths, or text that starts like a list of messages but cannot be parsed.
    """
    if isinstance(value, str):
        return _from_text(value, where)
    if isinstance(value, dict) and isinstance(value.get("messages"), list):  # a whole request to an API
        return value["messages"]
    if isinstance(value, dict) and value and all(isinstance(part, list) for part in value.values()):
        return _from_lists(value, where)
    return value


def _from_text(text: str, where: str) -> Any:
    start = text.lstrip()[:200].replace(" ", "").replace("\n", "")
    if not start.startswith(('[{"', "[{'", '{"role":[', "{'role':[", '{"from":[', "{'from':[")):
        return text
    found = _parsed(text)
    if isinstance(found, dict) and all(isinstance(part, list) for part in found.values()):
        return _from_lists(found, where)
    if isinstance(found, list) and all(isinstance(one, dict) for one in found):
        # other objects are a JSON answer
        return found if all("role" in one or "from" in one for one in found) else text
    if isinstance(found, dict) or not any(f"{mark}{name}{mark}" in text for mark in "\"'" for name in ("role", "from")):
        return text
    raise DataError(
        f"{quoted(text)} starts like a list of messages but is neither JSON nor a Python list.",
        where=where,
        remedy="Write the messages as JSON (json.dumps), or keep them as a list in jsonl or parquet.",
    )


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _from_lists(value: dict[str, list[Any]], where: str) -> list[dict[str, Any]]:
    lengths = {name: len(part) for name, part in value.items()}
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise DataError(
            f"the messages are an object of lists of different lengths ({counts}).",
            where=where,
            remedy="Give each message its role and its content.",
        )
    return [dict(zip(value, parts)) for parts in zip(*value.values())]
