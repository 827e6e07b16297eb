"""A task's documents and their index: where it lies, and bringing it up to date."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from rung.errors import DataError
from rung.lm.engines import Engines
from rung.retrieve.formats.source import read_bytes
from rung.retrieve.index import Changes, Progress, making, update
from rung.retrieve.parse import listing, relative
from rung.retrieve.store import Making, Store
from rung.types import Texts, digest

POINTER = "index.json"
SIZE, OVERLAP = 200, 30
"""Tokens of a passage, and of what it repeats of the one before; the embedder's tokens. Fewer where it reads fewer."""


def documents(folder: Path, patterns: tuple[str, ...]) -> Texts:
    """The task's documents by content. DataError where a pattern names nothing that can be read."""
    if not patterns:
        return Texts()
    found = listing(folder, patterns)
    if not found.files:
        why = "; ".join(f"{one.path}: {one.reason}" for one in found.refused) or "no file is there"
        raise DataError(
            f"there are no documents: {why}.", where="rung.yaml data.documents", remedy="Name a folder, a file or a pattern."
        )
    content, size = [], 0
    for path in found.files:
        try:
            data = read_bytes(path)
        except DataError as error:
            content.append([relative(path, folder), error.what])
        else:
            content.append([relative(path, folder), hashlib.sha256(data).hexdigest()])
            size += len(data)
    return Texts(tuple(map(str, found.files)), digest(sorted(content)), str(folder), tuple(patterns), size)


def place(home: Path) -> str:
    """Where the index of a task lies: the URL it was moved to, or a folder in the task's own."""
    pointer = home / POINTER
    return json.loads(pointer.read_text(encoding="utf-8"))["store"] if pointer.exists() else str(home / "index")


def point(home: Path, store: str) -> None:
    """Remember where the index was moved to."""
    home.mkdir(parents=True, exist_ok=True)
    part = home / f"{POINTER}.part"
    part.write_text(json.dumps({"store": store}), encoding="utf-8")
    part.replace(home / POINTER)


def opened(index: str) -> Store:
    """The store at a folder, or at a lance:// URL."""
    if index.startswith("lance://"):
        from rung.retrieve.lance import Lance

        return Lance(index)
    from rung.retrieve.sqlite import Sqlite

    return Sqlite(Path(index))


def open_kept(index: str, engines: Engines) -> Store:
    """The index, opened once for an engine room."""
    return engines.keep(f"index {index}", lambda: opened(index))


def made(engines: Engines, embedder: str, size: int = 0, overlap: int = OVERLAP) -> Making:
    """What an index with this embedder is made with. A `size` of 0 takes the usual one, or less where it reads less."""
    opened = engines.embedder(embedder)
    return making(opened, embedder, engines.find(embedder).digest, size or min(SIZE, opened.longest), overlap)


def bring_up_to_date(texts: Texts, index: str, engines: Engines, how: Making, progress: Progress = lambda *_: None) -> Changes:
    """The index at `index` made true to the documents; unchanged files cost a hash each."""
    return update(
        Path(texts.root), texts.patterns, open_kept(index, engines), engines.embedder(how.embedder), how, progress=progress
    )
