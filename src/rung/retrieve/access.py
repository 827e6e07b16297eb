"""Access labels of documents, from a task's path patterns."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

Rules = tuple[tuple[str, str], ...]
"""Pairs of pattern and label, in the task's order."""

_WILDCARDS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def label(rules: Rules, path: str) -> str:
    """The label of the last pattern that matches a document's path; empty (open to all) if none does.

    Depends on the path alone, never on an earlier listing: a file added while others are read has its label too.
    """
    return next((label for pattern, label in reversed(rules) if _matches(pattern, path)), "")


def unmatched(rules: Rules, paths: Iterable[str]) -> list[str]:
    """Patterns that match none of the paths. A misspelled one leaves documents open that were meant to be restricted."""
    paths = list(paths)
    return [pattern for pattern, _ in rules if not any(_matches(pattern, path) for path in paths)]


def _matches(pattern: str, path: str) -> bool:
    return _compiled(pattern).fullmatch(unicodedata.normalize("NFC", path)) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    """A glob over a whole path. A folder's name matches everything below it, as under data.documents."""
    plain = posixpath.normpath(unicodedata.normalize("NFC", pattern))  # macOS decomposes accents in file names
    if plain == ".":
        return re.compile(".*", re.DOTALL)
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", plain)
    return re.compile("".join(_WILDCARDS.get(part) or re.escape(part) for part in parts) + "(?:/.*)?", re.DOTALL)
