"""The command line: one file for each group of commands."""

from __future__ import annotations

from rung.cli.commands import app, main

__all__ = ["app", "main"]
