"""The command line run in this process: starting Python and importing everything takes longer than most commands."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import warnings
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from rung.cli import main

DECIDED = {"climb", "show"}
"""Commands whose exit code says what became of the goal: 0 meets, 3 fails, 4 undecided."""


def ended(words: Sequence[str | Path], code: int) -> int:
    """An exit code, with 0 for each way in which a climb ends."""
    return 0 if words and str(words[0]) in DECIDED and code in (3, 4) else code


def command(*words: str | Path, typed: str = "") -> subprocess.CompletedProcess[str]:
    """What a command prints and how it ends."""
    stdout, stderr = io.StringIO(), io.StringIO()
    code: Any = 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(stdout), redirect_stderr(stderr):
        patch.setattr(sys, "argv", ["rung", *map(str, words)])
        patch.setattr(sys, "stdin", io.StringIO(typed))
        patch.setattr(sys, "excepthook", sys.excepthook)  # `main` sets these two: put back afterwards
        patch.setattr(warnings, "showwarning", warnings.showwarning)
        signals = {number: signal.getsignal(number) for number in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))}
        try:
            main()
        except SystemExit as end:
            code = end.code or 0
        finally:
            for number, handler in signals.items():
                signal.signal(number, handler)
    return subprocess.CompletedProcess(words, code, stdout.getvalue(), stderr.getvalue())
