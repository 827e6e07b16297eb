"""Files among the documents whose format is not read, told by number and name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

NAMED = 10
"""Files (and endings) that a message names."""


def not_read(paths: Sequence[str]) -> str:
    """How many files are not read, by their endings, and the first of their names; empty where all are."""
    if not paths:
        return ""
    counts = Counter(PurePosixPath(path).suffix.lower() or "no ending" for path in paths)
    kinds = ", ".join(f"{count} {ending}" for ending, count in counts.most_common(NAMED))
    more = ", …" if len(paths) > NAMED else ""
    are = "file is" if len(paths) == 1 else "files are"
    return f"{len(paths):,} {are} not read, since the format is unknown ({kinds}): {', '.join(paths[:NAMED])}{more}."
