"""The live board of a climb at 80 columns: nothing is cut, nothing jumps, and no line of another console runs into it."""

from __future__ import annotations

import io
import re
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from rung.cli.screens import console
from rung.cli.screens.progress import Board
from rung.types import Cost, Record

NAMES = ("majority", "nearest>few-shot-similar", "lora")
GOAL: Any = SimpleNamespace(metric="accuracy")


def board() -> Board:
    made = Board(Console(file=io.StringIO(), width=80), GOAL)
    made.planned([SimpleNamespace(rung=name, estimate=Cost(), skip="") for name in NAMES])  # type: ignore[list-item]
    return made


def drawn(made: Board) -> list[str]:
    shown = Console(file=io.StringIO(), width=80, record=True)
    shown.print(made.draw())
    return shown.export_text().splitlines()


def test_what_a_rung_does_stands_below_the_table_and_moves_no_column() -> None:
    made = board()
    waiting = drawn(made)
    made.began("nearest>few-shot-similar")
    made.progress("nearest>few-shot-similar", "row 576 of 2316 of the second of three folds, 1 min 28 s left", 0.25)
    running = drawn(made)
    assert waiting[0] == running[0] and "p95" in running[0] and len(running) == len(NAMES) + 2
    assert running[-1].strip() == "▸ row 576 of 2316 of the second of three folds, 1 min 28 s left"
    assert all(any(name in line for line in running) for name in NAMES), "no name is cut or folded"
    made.ended(Record("nearest>few-shot-similar", "failed", "a long reason " * 9))
    assert drawn(made)[0] == waiting[0] and not any("…" in line for line in drawn(made))


def test_nothing_is_drawn_before_the_plan() -> None:
    assert not "".join(drawn(Board(Console(file=io.StringIO()), GOAL))).strip()


def test_a_line_on_the_other_console_stands_above_the_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are one terminal. It would else be written behind the last line of the table."""
    screen = io.StringIO()
    out, err = (console.Terminal(file=screen, force_terminal=True, width=80) for _ in range(2))
    monkeypatch.setattr(console, "out", out)
    monkeypatch.setattr(console, "err", err)
    with Board(out, GOAL) as made:
        made.planned([SimpleNamespace(rung=name, estimate=Cost(), skip="") for name in NAMES])  # type: ignore[list-item]
        made.screen.live.refresh()  # type: ignore[union-attr]
        err.print("fetching the model")
    assert re.search(r"(\n|\r|\x1b\[2K)fetching the model\n", screen.getvalue())
    err.print("after")
    assert screen.getvalue().endswith("after\n") and err.drawing is None
