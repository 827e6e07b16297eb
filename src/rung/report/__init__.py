"""The report: a climb's measurements as one self-contained HTML file."""

from __future__ import annotations

from rung.report.html import board, render, rendered, write

__all__ = ["board", "render", "rendered", "write"]
