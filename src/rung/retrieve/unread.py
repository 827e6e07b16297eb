"""A message about files in formats that are not read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

NAMED = 10
"""Most files (and endings) in a message."""


def not_read(paths: Sequence[str]) -> str:
    """The number of files that are not read, by ending, and the first names; empty if there are none."""
    if not paths:
        return ""
    counts = Counter(PurePosixPath(path).suffix.lower() or "no ending" for path in paths)
    kinds = ", ".join(f"{count} {ending}" for ending, count in counts.most_common(NAMED))
    more = ", …" if len(paths) > NAMED else ""
    are = "file is" if len(paths) == 1 else "files are"
    return f"{len(paths):,} {are} not read, since the format is unknown ({kinds}): {', '.join(paths[:NAMED])}{more}."
