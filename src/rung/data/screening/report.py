"""What a screening left out, as it is stored and as it is shown.

Stored are numbers: a file may be renamed, and a held-out row moved to another line, without a new screening. So their names
are looked up when a report is opened.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rung import files
from rung.data.screening.contamination import HeldRuns

Example = Mapping[str, Any]
"""A document that is left out, `at` a file and a number in it, both from 0; and the document that it is the `same` as, the hash
of the held-out `run` in it, or the `text` that it begins with."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a screening left out."""

    documents: int
    """Documents in all."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Documents left out by reason, as `REASONS` names them."""
    examples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The first few by reason: where they are, and what they repeat or how they begin."""
    digest: str = ""
    """Of which documents are left out; empty if none are."""

    @property
    def total(self) -> int:
        return sum(self.left_out.values())

    @property
    def text(self) -> str:
        """One sentence for a user."""
        each = ", ".join(f"{count:,} for {reason}" for reason, count in self.left_out.items())
        return f"{self.total:,} of {self.documents:,} documents of raw text are left out: {each}"


def write(path: Path, report: Report, examples: Mapping[str, Sequence[Example]]) -> None:
    """Store a report; its examples as numbers."""
    content = {"documents": report.documents, "left_out": report.left_out, "digest": report.digest, "examples": examples}
    files.write_json(path, content)


def read(path: Path, names: Sequence[str], held: HeldRuns, root: Path) -> Report:
    """A stored report. `names`: the files of the text; `root`: what places are named relative to."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    rows = held.places()

    def place(file: int, number: int) -> str:
        given = Path(names[file])
        shown = given.relative_to(root) if given.is_relative_to(root) else given
        return f"{shown.as_posix()} document {number + 1}"

    def shown(one: Example) -> str:
        more = f"= {place(*one['same'])}" if "same" in one else f"= {rows[one['run']]}" if "run" in one else f"“{one['text']}”"
        return f"{place(*one['at'])} {more}"

    examples = {reason: tuple(map(shown, some)) for reason, some in stored["examples"].items()}
    return Report(stored["documents"], stored["left_out"], examples, stored["digest"])
