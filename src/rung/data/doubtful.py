"""Texts that programs write in place of what is missing or cannot be written, and that are read as answers or questions."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from rung.data.finding import Finding, Parts, first_places
from rung.task import Task
from rung.types import Example

MISSING = frozenset({"nan", "<na>", "nat", "none", "null", "undefined", "n/a", "na", "#n/a", "-", "tbd", "todo"})
"""How programs and people write a missing value. Each may also be a label or an answer."""
_FAILED = re.compile(r"#(?:N/A|REF!|VALUE!|NAME\?|DIV/0!|NUM!|NULL!|SPILL!|CALC!)")
"""What a spreadsheet writes for a formula that failed."""
_DAMAGED = re.compile("\ufffd|Ã[\x80-\xbf©¨¤¶¼Ÿ±§ª«­¡]|â€[\x99\x9c\x9d\u2122\u0153\u201c\u201d]")
"""Characters replaced because they could not be read, and UTF-8 read as Windows-1252."""
_THOUGHT = re.compile(r"\s*<think(?:ing)?>")


def doubtful_texts(parts: Parts, task: Task) -> Iterator[Finding]:
    """Rows whose question or answer is probably none, is damaged, or begins with reasoning that no answer is scored with."""
    rows = [row for some in parts.values() for row in some]
    named = {label.casefold() for label in task.labels or ()}
    if missing := [row.where for row in rows if _is_missing(row, named)]:
        yield Finding(
            "missing-as-text",
            "warn",
            f"{len(missing)} of {len(rows)} rows have a text that stands for a missing value, such as None or n/a; it counts as a"
            " question or an answer like any other.",
            "Empty the cells, and delete such rows; if it is a label, name all labels under `labels` in rung.yaml.",
            first_places(missing),
            len(missing),
        )
    if damaged := [row.where for row in rows if _DAMAGED.search(row.input) or _DAMAGED.search(row.output)]:
        yield Finding(
            "damaged-text",
            "warn",
            f"{len(damaged)} of {len(rows)} rows have characters that were lost or misread, such as \ufffd or Ã©.",
            "Export the rows again as UTF-8.",
            first_places(damaged),
            len(damaged),
        )
    if thought := [row.where for row in rows if _THOUGHT.match(row.output)]:
        yield Finding(
            "reasoning-in-answers",
            "warn",
            f"{len(thought)} of {len(rows)} rows have reasoning in <think> before the right answer. Engines keep what a model"
            " thinks apart from its answer, which is then wrong in comparison.",
            "Remove the reasoning from the outputs.",
            first_places(thought),
            len(thought),
        )


def _is_missing(row: Example, named: Collection[str]) -> bool:
    answers = (one for one in row.accepted if one.strip().casefold() not in named)
    return any(text.strip().casefold() in MISSING or _FAILED.fullmatch(text.strip()) for text in (row.input, *answers))
