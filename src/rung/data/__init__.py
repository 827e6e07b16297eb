"""The team's rows: loading, splitting and checking."""

from __future__ import annotations

from rung.data.check import blocking, check
from rung.data.finding import Finding
from rung.data.load import Loaded, load
from rung.data.split import Sealed, Splits, make_splits, normalise, question, split

__all__ = [
    "Finding",
    "Loaded",
    "Sealed",
    "Splits",
    "blocking",
    "check",
    "load",
    "make_splits",
    "normalise",
    "question",
    "split",
]
