"""Two public tasks that no constant of the cost estimates was set on; `quotes.py --tasks hellaswag arc` measures them."""

from __future__ import annotations

import bz2
import json
from collections.abc import Callable

from common import DATA
from eight import Source


def hellaswag() -> Source:
    """Sentences to complete. Six lines a row: how it begins, the number of the right ending, and four endings."""
    lines = bz2.decompress((DATA / "hellaswag/hellaswag_val_full.txt.bz2").read_bytes()).decode().splitlines()
    rows = {lines[i]: lines[i + 2 + int(lines[i + 1])] for i in range(0, len(lines) - 5, 6)}
    return Source("Write how the text goes on.", "generate", "rouge_l", list(rows.items()), "the right ending alone")


def arc() -> Source:
    """Questions of which one of four answers is right."""
    found = json.loads((DATA / "commonsense_probes/ARC-Easy/test.json").read_text(encoding="utf-8"))
    four = [row for row in found if row["instruction"].endswith("answer1/answer2/answer3/answer4")]
    rows = {row["instruction"].partition(": ")[2]: row["answer"] for row in four}
    return Source("Choose the right answer.", "classify", "accuracy", list(rows.items()), "questions with four answers")


TASKS: dict[str, Callable[[], Source]] = {load.__name__: load for load in (hellaswag, arc)}
