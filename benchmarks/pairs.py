"""Pairs of answers for the benchmark programs: hh_rlhf as it is, and arithmetic made up."""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

import common

from rung.data import preferences
from rung.errors import DataError
from rung.lm.models.load import Loaded, load
from rung.lm.trees.tree import Row
from rung.types import Example, Preference


def base(machine) -> tuple[Loaded, Path]:
    """The untouched model and where it lies."""
    folder = common.base_folder()
    return load(folder, machine), folder


def hh() -> list[Preference]:
    """Human pairs on harmlessness (MIT licence, Anthropic). A line that cannot be used (nine of 2,312) is left out."""
    found = []
    lines = gzip.decompress((common.DATA / "hh_rlhf" / "harmless-base_test.jsonl.gz").read_bytes()).decode().splitlines()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "line.jsonl"
        try:
            path.write_text("\n".join(lines), encoding="utf-8")
            found = list(preferences.load(Path(folder), ["line.jsonl"]))
        except DataError as error:
            bad = {int(word.rstrip(":")) for word in _after(str(error), "line.jsonl line ")}
            path.write_text("\n".join(line for i, line in enumerate(lines, 1) if i not in bad), encoding="utf-8")
            found = list(preferences.load(Path(folder), ["line.jsonl"]))
    return found


def _after(text: str, mark: str) -> list[str]:
    return [part.split()[0] for part in text.split(mark)[1:]]


def rows(loaded: Loaded, given: list[Preference], count: int, least: int = 0, most: int = 10**9) -> list[tuple[Row, Row]]:
    """The first pairs of which the longer answer ends between `least` and `most` tokens, as the chat has them."""
    out: list[tuple[Row, Row]] = []
    for one in given:
        messages = (*one.history, *_asked(one))
        two = (loaded.chat.row(messages, one.chosen), loaded.chat.row(messages, one.rejected))
        if least <= max(len(row.tokens) for row in two) <= most:
            out.append(two)
        if len(out) == count:
            return out
    return out


def _asked(one: Preference):
    from rung.types import Message

    return (Message("user", one.input),)


def sums(count: int, seed: int = 0) -> list[Example]:
    """Additions of two numbers below 100, in words, with their answer."""
    import random

    rng = random.Random(seed)
    drawn = [(rng.randrange(2, 50), rng.randrange(2, 50)) for _ in range(count)]
    return [Example(f"Tom has {a} stamps and is given {b} more. How many has he now?", str(a + b)) for a, b in drawn]


def additions(count: int, seed: int = 0) -> list[Example]:
    """Additions of two digits, of which the default model answers about half: there is something to reward, and to learn."""
    import random

    rng = random.Random(seed)
    drawn = [(rng.randrange(10), rng.randrange(10)) for _ in range(count)]
    return [Example(f"What is {a} plus {b}? Answer with the number only.", str(a + b)) for a, b in drawn]
