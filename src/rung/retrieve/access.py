"""Who may see which document: patterns of paths with their labels, as a task names them."""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

Rules = tuple[tuple[str, str], ...]
"""Pattern and label, in the task's order."""

_SIGNS = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def label(rules: Rules, path: str) -> str:
    """The label of the last pattern that covers a document's path; empty, open to all, where none does.

    Told from the path alone, never from a listing made before: a file that comes while others are read has its label too.
    """
    return next((label for pattern, label in reversed(rules) if _covers(pattern, path)), "")


def idle(rules: Rules, paths: Iterable[str]) -> list[str]:
    """Patterns that cover none of the paths. A misspelt one leaves open what was meant to be closed."""
    paths = list(paths)
    return [pattern for pattern, _ in rules if not any(_covers(pattern, path) for path in paths)]


def _covers(pattern: str, path: str) -> bool:
    return _compiled(pattern).fullmatch(unicodedata.normalize("NFC", path)) is not None


@lru_cache(maxsize=256)
def _compiled(pattern: str) -> re.Pattern[str]:
    """A glob over a whole path. What names a folder covers all below it, as it does under data.documents."""
    plain = posixpath.normpath(unicodedata.normalize("NFC", pattern))  # macOS writes accents apart in file names
    if plain == ".":
        return re.compile(".*", re.DOTALL)
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", plain)
    return re.compile("".join(_SIGNS.get(part) or re.escape(part) for part in parts) + "(?:/.*)?", re.DOTALL)
