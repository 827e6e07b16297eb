"""The report: what a climb measured, as one HTML file that opens anywhere."""

from __future__ import annotations

from rung.report.html import render, write

__all__ = ["render", "write"]
