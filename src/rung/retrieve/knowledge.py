"""A task's documents and their index: where it lies, and bringing it up to date."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

from rung import files, signed
from rung.errors import DataError
from rung.lm.engines import Engines
from rung.retrieve.access import Rules, idle, label
from rung.retrieve.formats.readers import origin
from rung.retrieve.formats.source import content
from rung.retrieve.index import Changes, Progress, health, index_config, update
from rung.retrieve.parse import listing, relative
from rung.retrieve.store import Health, IndexConfig, Store
from rung.retrieve.unread import NAMED, not_read
from rung.sources import Documents, join_sources
from rung.types import Example, Texts, digest

USUAL, POINTER, TASKS = "index", "index.json", ".rung"
"""Names of the folder and of the file that points elsewhere, and of the task's folder that they lie in."""
SIZE, OVERLAP = 200, 30
"""Tokens of a passage, and of what it repeats of the one before; the embedder's tokens. Fewer where it reads fewer."""


def documents(folder: Path, patterns: tuple[str, ...], access: Rules = ()) -> Texts:
    """The task's documents by content and access label; each file is read once here, and its name serves the index too.

    DataError where a pattern names nothing that can be read, or one of `access` nothing at all.
    """
    if not patterns:
        return Texts()
    found = listing(folder, patterns)
    if not found.files:
        reasons = [f"{one.path}: {one.reason}" for one in found.refused[:NAMED]]
        why = "; ".join([*reasons, *filter(None, [not_read(found.ignored)])]).rstrip(".") or "no file is there"
        raise DataError(
            f"there are no documents: {why}.", where="rung.yaml data.documents", remedy="Name a folder, a file or a pattern."
        )
    paths = [relative(path, folder) for path in found.files]
    if lost := idle(access, [*paths, *(one.path for one in found.refused)]):
        raise DataError(
            f"{lost[0]!r} covers no document, so what it was meant for may lie open.",
            where="rung.yaml data.access",
            remedy=f"Paths are those that citations show, such as {paths[0]}; * stays in a folder, ** does not.",
        )
    names, sizes = zip(*(content(path, folder) for path in found.files))
    labels = [label(access, path) for path in paths]
    readers = [origin(path.suffix.lower()) for path in found.files]  # what another version of one reads is another text
    told = [[path, name, *filter(None, [mark, reader])] for path, name, mark, reader in zip(paths, names, labels, readers)]
    return Texts(
        tuple(map(str, found.files)),
        digest(sorted(told)),
        str(folder),
        tuple(patterns),
        sum(sizes),
        contents=names,
        ignored=found.ignored,
        access=access,
    )


@lru_cache(maxsize=4)
def named(texts: Texts) -> Documents:
    """The documents by all that a row may call them."""
    return Documents(contents(texts), texts.root)


def with_sources(row: Example, texts: Texts) -> Example:
    """The row with its source as citations spell it; what names no single document stays as it is."""
    found = named(texts).find(row.source) if row.source else ()
    return replace(row, source=join_sources(found)) if found else row


def is_open(source: str, texts: Texts) -> bool:
    """Whether everyone may see what a row's source names. Without labels that is all; a row that names none is open.

    With labels it is open only where each of its sources names one document and none that it may mean has a label: a
    misspelt source hides what it stands for.
    """
    if not any(name for _, name in texts.access):
        return True
    found = named(texts).find(source)
    return all(one.path and not any(label(texts.access, path) for path in one.may) for one in found) if found else not source


def open_to_all(rows: Sequence[Example], texts: Texts) -> tuple[Example, ...]:
    """The rows that anyone may learn from or be shown: what is learnt from a row is told to every asker.

    Of rows with the same content that name no source, none is open where another one is closed.
    """
    kept = [is_open(row.source, texts) for row in rows]
    closed = {row.id for row, is_kept in zip(rows, kept) if not is_kept} if not all(kept) else set()
    return tuple(row for row, is_kept in zip(rows, kept) if is_kept and (row.source or row.id not in closed))


def is_open_file(file: Path, texts: Texts) -> bool:
    """Whether a file of raw text may be learnt from: it is no document with a label, no link to one and no copy of one."""
    if not any(name for _, name in texts.access):
        return True
    root = Path(texts.root)
    if any(label(texts.access, relative(path, start)) for path, start in ((file, root), (file.resolve(), root.resolve()))):
        return False
    return content(file)[0] not in {name for path, name in contents(texts).items() if label(texts.access, path)}


def place(home: Path, size: int = 0, overlap: int = OVERLAP) -> str:
    """Where the index of a task lies: the URL it was moved to, or a folder in the task's own; one for each size."""
    if (size, overlap) != (0, OVERLAP):
        return str(home / f"{USUAL}-{size}-{overlap}")
    pointer = home / POINTER
    return _pointed(pointer) if pointer.exists() else str(home / USUAL)


def _pointed(pointer: Path) -> str:
    """Where a pointer says that the index is. DataError where it is not to be believed: questions go there."""
    value, why = signed.opened(POINTER, pointer.read_text(encoding="utf-8", errors="replace"))
    if why or value is None:
        remedy = f"{signed.TRUST} Or delete the file; the index is then built beside it."
        raise DataError(f"it says where the index is, and it {why}.", where=str(pointer), remedy=remedy)
    return str(value["store"])


def others(home: Path) -> list[str]:
    """Indexes with passages of another size, which rungs had made."""
    return sorted(str(folder) for folder in home.glob(f"{USUAL}-*-*") if folder.is_dir())


def followed(index: str) -> str:
    """Where an index is now: a Predictor remembers where it was when it was fitted."""
    return place(Path(index).parent) if "://" not in index and Path(index).name == USUAL else index


def is_there(index: str) -> bool:
    """Whether an index can be opened without being made first; of a URL it is taken for granted."""
    return "://" in (now := followed(index)) or Path(now).is_dir()


def point(home: Path, store: str) -> None:
    """Remember where the index was moved to."""
    files.write_text(home / POINTER, signed.seal(POINTER, signed.dumps({"store": store})))


def opened(index: str, say: Callable[[str], object] = warnings.warn) -> Store:
    """The store at a folder, or at a lance:// URL."""
    if index.startswith("lance://"):
        from rung.retrieve.lance import Lance

        return Lance(index)
    from rung.retrieve.ours import open_ours

    folder = Path(index)
    return open_ours(folder, say, inside=folder.parent.name == TASKS)


def open_kept(index: str, engines: Engines) -> Store:
    """The index, where it is now, opened once for an engine room."""
    now = followed(index)
    return engines.keep(f"index {now}", lambda: opened(now, engines.say))


def config_of(engines: Engines, embedder: str, size: int = 0, overlap: int = OVERLAP) -> IndexConfig:
    """What an index with this embedder is made with. A `size` of 0 takes the usual one, or less where it reads less."""
    opened = engines.embedder(embedder)
    return index_config(opened, embedder, engines.find(embedder).digest, size or min(SIZE, opened.longest), overlap)


def bring_up_to_date(
    texts: Texts, index: str, engines: Engines, how: IndexConfig, progress: Progress = lambda *_: None
) -> Changes:
    """The index at `index` made true to the documents and their labels; unchanged files are not read again."""
    embedder = engines.embedder(how.embedder)
    return update(
        Path(texts.root), texts.patterns, open_kept(index, engines), embedder, how, labels(texts), progress, contents(texts)
    )


def looked_over(texts: Texts, store: Store) -> tuple[Health, int]:
    """The index's health, and how many documents it is behind on."""
    return health(store, Path(texts.root), texts.patterns, labels(texts), contents(texts))


def labels(texts: Texts) -> Callable[[str], str]:
    """A document's path to its access label."""
    return partial(label, texts.access)


def contents(texts: Texts) -> dict[str, str]:
    """A document's path to the SHA-256 of its bytes, or to the reason why it cannot be read."""
    return {relative(Path(file), Path(texts.root)): name for file, name in zip(texts.files, texts.contents)}
