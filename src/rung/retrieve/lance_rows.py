"""Rows of the LanceDB store's table (passages, documents, facts), the SQL to query them, and how they are committed."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Sequence
from typing import Any

from rung.retrieve.passage import Passage
from rung.retrieve.store import Change, Vector, tags, text_digest

FACTS = ":facts"
"""The id of the row with the index configuration; no path or passage has this id."""
PLACE = ["id", "path", "heading", "body", "first_line", "last_line", "page", "access", "extra"]
"""The columns of a passage itself."""
HEAD = ["id", "kind", "path", "digest", "document", "body"]
"""The columns of a file's row."""
ATTEMPTS = 20
"""Of a commit, where Lance fails to join it with those of others, as after 30 seconds on a slow object store."""
CONFLICTS = ("concurrent", "conflict", "please retry")
"""Parts, in small letters, of what Lance says where another commit came before this one; its words differ by kind of commit. A
merge may be tried again whatever was meant: it inserts or updates by id."""
PAUSE = 2.0
"""Most seconds between two attempts, drawn at random so that writers do not meet again."""


def head(change: Change, document: int) -> dict[str, Any]:
    """A file's row; `body` is the reason if it was refused."""
    named = {"id": f"file:{change.path}", "kind": "document", "path": change.path}
    return {**named, "digest": change.digest, "document": document, "body": change.refused}


def row(passage: Passage, document: int, number: int, vector: Vector | None) -> dict[str, Any]:
    """A passage's row; `digest` is that of the embedded text."""
    return {
        "id": passage.id,
        "kind": "passage",
        "path": passage.path,
        "digest": text_digest(passage),
        "document": document,
        "row": number,
        "heading": list(passage.heading),
        "body": passage.text,
        "first_line": passage.first_line,
        "last_line": passage.last_line,
        "page": passage.page,
        "access": passage.access,
        "extra": json.dumps(dict(passage.extra), ensure_ascii=False),
        "tags": tags(passage),
        "vector": vector,
    }


def passage(found: dict[str, Any]) -> Passage:
    """A row as a passage."""
    values = {**found, "heading": tuple(found["heading"]), "extra": json.loads(found["extra"])}
    return Passage(text=values["body"], **{name: values[name] for name in PLACE if name != "body"})


def arrow(rows: Iterable[dict[str, Any]], width: int) -> Any:
    """Rows as an Arrow table with vectors of this width."""
    import pyarrow as pa

    words = ["id", "kind", "path", "digest", "body", "access", "extra"]
    numbers = ["document", "row", "first_line", "last_line", "page"]
    lists = {"heading": pa.list_(pa.string()), "tags": pa.list_(pa.string()), "vector": pa.list_(pa.float32(), width)}
    columns = [*((name, pa.string()) for name in words), *((name, pa.int64()) for name in numbers), *lists.items()]
    return pa.Table.from_pylist(list(rows), pa.schema([pa.field(name, kind) for name, kind in columns]))


def among(column: str, values: Sequence[str | int]) -> str:
    """SQL: the column has one of the values; false if there are none."""
    return f"{column} in ({', '.join(map(literal, values))})" if values else "false"


def tagged(clause: Iterable[str]) -> str:
    """SQL: the row has one of the tags."""
    return f"array_has_any(tags, [{', '.join(literal(tag) for tag in sorted(clause))}])"


def literal(value: str | int) -> str:
    """A value as an SQL literal, escaped."""
    return str(value) if isinstance(value, int) else "'" + value.replace("'", "''") + "'"


def gave_way(error: Exception) -> bool:
    """Whether a commit failed because another came between: nothing was written, and it can be tried again.

    lance 13 panics where a merge meets an overwrite.
    """
    return type(error).__name__ == "RustPanic" or any(words in str(error).lower() for words in CONFLICTS)


def merged(table: Any, rows: Any, paths: Sequence[str]) -> None:
    """One commit: insert or update the rows, delete the other rows of these paths."""
    merge = table.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
    if paths:
        merge = merge.when_not_matched_by_source_delete(among("path", paths))
    for left in reversed(range(ATTEMPTS)):
        try:
            merge.execute(rows, on_bad_vectors="null")
            return
        except Exception as error:
            if not gave_way(error) or not left:
                raise
            time.sleep(random.uniform(0, PAUSE))
            table.checkout_latest()
