"""Tables of the SQLite store, and a passage as a row of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rung.retrieve.passage import Passage

TABLES = """
create table if not exists facts (name text primary key, value text not null) without rowid;
create table if not exists documents (
    document integer primary key autoincrement,  -- a new number for each new content: never used again
    path text not null unique, digest text not null, refused text not null);
create table if not exists vectors (
    vector integer primary key, embedder text not null, text text not null, value blob not null, unique (embedder, text));
create table if not exists passages (
    row integer primary key autoincrement, id text not null unique,
    document integer not null references documents on delete cascade, vector integer references vectors,
    heading text not null, body text not null, first_line integer not null, last_line integer not null,
    page integer not null, access text not null, extra text not null);
create index if not exists passages_of on passages (document);
create index if not exists passages_with on passages (vector);
create table if not exists tags (
    tag text not null, row integer not null references passages on delete cascade, primary key (tag, row)) without rowid;
create index if not exists tags_of on tags (row);
"""
COLUMNS = "p.id, d.path, p.heading, p.body, p.first_line, p.last_line, p.page, p.access, p.extra"
PASSAGES = "passages p join documents d using (document)"
INSERT = "insert into passages values (null, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
"""Of what `values` gives."""


def values(one: Passage, document: int | None, vector: int | None) -> list[Any]:
    """A passage's row. `document`, `vector`: numbers of their rows, as SQLite gives them."""
    place = [one.first_line, one.last_line, one.page, one.access]
    heading, extra = (json.dumps(some, ensure_ascii=False) for some in (one.heading, dict(one.extra)))
    return [one.id, document, vector, heading, one.text, *place, extra]


def passage(row: Sequence[Any]) -> Passage:
    """A row of `COLUMNS` as a passage; what follows them is left out."""
    name, path, heading, text, first, last, page, access, extra = row[:9]
    return Passage(name, path, tuple(json.loads(heading)), text, first, last, page, access, json.loads(extra))
