"""Runs `rung export` and gives what it printed."""

from __future__ import annotations

from pathlib import Path

from commands import command


def exported(*words: str | Path, code: int = 0) -> str:
    """What the command printed, once it has ended with this code and without a traceback."""
    done = command("export", *words)
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr
