"""The report: a climb's measurements as one self-contained HTML file."""

from __future__ import annotations

from rung.report.html import render, write

__all__ = ["render", "write"]
