"""SQL answers by what they return: answer and right query are run on the task's SQLite file, in a sandboxed child process.

The file is opened read-only; statements may only select; time, memory and rows are limited; extensions are never loaded
(`rung.metrics.sql_child`).
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from rung.errors import DataError
from rung.types import Example

CHILD = Path(__file__).with_name("sql_child.py")
SECONDS = 5.0
"""Longest time of a query."""
ROWS = 10_000
"""Most rows of a result."""
BYTES = 1 << 30
"""Most memory of the child."""
DIGITS = 9
"""Significant digits in which numbers are compared: sums of floats depend on their order."""

_FENCE = re.compile(r"```(?:\w+)?\s*(.*?)```", re.DOTALL)
_ORDERED = re.compile(r"\border\s+by\b(?![^()]*\))", re.IGNORECASE)
"""An ORDER BY outside brackets."""

Result = dict[str, Any]
"""`rows`, or `error`."""


def statement(text: str) -> str:
    """The query of an answer, bare or in a code fence, without the semicolon behind it."""
    fenced = _FENCE.search(text)
    return (fenced[1] if fenced else text).strip().removesuffix(";").strip()


def run(database: Path, queries: Sequence[str]) -> list[Result]:
    """The result of each query. One that takes the child down with it is run alone, and has an error."""
    given = {"database": str(database.resolve()), "queries": list(queries), "seconds": SECONDS, "rows": ROWS, "bytes": BYTES}
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", str(CHILD)],
            input=json.dumps(given),
            capture_output=True,
            text=True,
            timeout=SECONDS * len(queries) + 10,
            env={},
            cwd="/",
            check=True,
        )
        found: list[Result] = json.loads(done.stdout)
        return found
    except subprocess.TimeoutExpired:
        why = f"longer than {SECONDS:g} s"
    except (subprocess.CalledProcessError, ValueError):
        why = "it broke the limits on memory or time"
    return [{"error": why}] if len(queries) == 1 else [one for query in queries for one in run(database, [query])]


def same(said: Result, due: Result, ordered: bool) -> bool:
    """Whether two results have the same rows, in the same order if `ordered`. Names of columns do not count."""
    if "rows" not in said:
        return False
    a, b = ([tuple(map(_value, row)) for row in one["rows"]] for one in (said, due))
    return a == b if ordered else Counter(a) == Counter(b)


def _value(value: Any) -> Any:
    if isinstance(value, int | float):
        return float(f"{value:.{DIGITS}g}")
    return json.dumps(value) if isinstance(value, dict) else value


def score(database: Path) -> Callable[[str, str, Example], float]:
    """1 if the answer's query returns what the right one does; the order of rows counts where the right one has an ORDER BY."""

    @lru_cache(maxsize=4096)
    def due(query: str) -> str:
        return json.dumps(run(database, [query])[0])

    def per_row(output: str, reference: str, example: Example) -> float:
        query = statement(reference)
        right = json.loads(due(query))
        if "rows" not in right:
            raise DataError(
                f"the right query {query[:80]!r} does not run on {database.name}: {right['error']}.",
                where=example.where,
                remedy="Fix the row, or name the database that it is for.",
            )
        said = statement(output)
        return float(said == query or same(run(database, [said])[0], right, bool(_ORDERED.search(query))))

    return per_row


def failing(database: Path, rows: Sequence[Example]) -> dict[str, str]:
    """Rows whose right query does not run, by location, with the reason."""
    queries = [statement(right) for row in rows for right in row.accepted]
    places = [row.where for row in rows for _ in row.accepted]
    return {place: one["error"] for place, one in zip(places, run(database, queries)) if "error" in one} if queries else {}
