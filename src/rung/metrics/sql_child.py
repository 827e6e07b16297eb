"""Runs queries on an SQLite file, in a process of its own that can do nothing else. Started by `rung.metrics.execution` alone.

Reads {"database", "queries", "seconds", "rows", "bytes"} as JSON from standard input and writes one result a query.
"""

from __future__ import annotations

import json
import resource
import sqlite3
import sys
import time
from typing import Any
from urllib.parse import quote

ALLOWED = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
"""All that a statement may do: everything else is denied, such as writing, PRAGMA and ATTACH."""
DENIED = {"load_extension", "fts3_tokenizer", "readfile", "writefile", "edit"}
"""Functions that reach outside the file, where a build of SQLite has them."""
STEPS = 1000
"""Instructions of SQLite's machine between two looks at the clock."""
LIMITS = {
    sqlite3.SQLITE_LIMIT_ATTACHED: 0,
    sqlite3.SQLITE_LIMIT_SQL_LENGTH: 100_000,
    sqlite3.SQLITE_LIMIT_LENGTH: 10_000_000,
    sqlite3.SQLITE_LIMIT_EXPR_DEPTH: 200,
    sqlite3.SQLITE_LIMIT_COMPOUND_SELECT: 50,
}


def allow(action: int, first: str | None, second: str | None, database: str | None, trigger: str | None) -> int:
    """SQLite's authorizer: what a statement may do."""
    denied = action not in ALLOWED or (action == sqlite3.SQLITE_FUNCTION and str(second).casefold() in DENIED)
    return sqlite3.SQLITE_DENY if denied else sqlite3.SQLITE_OK


def run(connection: sqlite3.Connection, query: str, seconds: float, most: int) -> dict[str, Any]:
    """The rows of a query, or its error."""
    end = time.monotonic() + seconds
    connection.set_progress_handler(lambda: time.monotonic() > end, STEPS)
    try:
        rows = connection.execute(query).fetchmany(most + 1)
    except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError, RecursionError) as error:
        late = time.monotonic() > end
        return {"error": f"longer than {seconds:g} s" if late else f"{type(error).__name__}: {error}"[:200]}
    if len(rows) > most:
        return {"error": f"more than {most} rows"}
    return {"rows": [[{"blob": value.hex()} if isinstance(value, bytes) else value for value in row] for row in rows]}


def main() -> None:
    """Take the limits, open the file, run the queries."""
    given = json.load(sys.stdin)
    whole = int(given["seconds"] * len(given["queries"])) + 2
    for what, most in (
        (resource.RLIMIT_AS, given["bytes"]),
        (resource.RLIMIT_CPU, whole),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    connection = sqlite3.connect(f"file:{quote(given['database'])}?mode=ro&immutable=1", uri=True)
    connection.execute(f"PRAGMA hard_heap_limit={given['bytes'] // 2}")
    connection.execute("PRAGMA query_only=1")
    connection.execute("PRAGMA trusted_schema=0")
    for what, most in LIMITS.items():
        connection.setlimit(what, most)
    connection.set_authorizer(allow)
    print(json.dumps([run(connection, query, given["seconds"], given["rows"]) for query in given["queries"]]))


if __name__ == "__main__":
    main()
