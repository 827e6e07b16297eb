"""A task's documents and their index: its location, and updating it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path

from rung import files, signed
from rung.errors import DataError
from rung.lm.engines import Engines
from rung.retrieve.access import Rules, label, unmatched
from rung.retrieve.formats.readers import origin
from rung.retrieve.formats.source import content
from rung.retrieve.index import Changes, Folder, Progress, add_part, health, index_config, update
from rung.retrieve.parse import listing, relative
from rung.retrieve.store import Health, IndexConfig, Store
from rung.retrieve.unread import NAMED, not_read
from rung.sources import Documents, join_sources
from rung.types import Example, Texts, digest

USUAL, POINTER, TASKS = "index", "index.json", ".rung"
"""Names of the index folder, of the file that points elsewhere, and of the folder in the task that contains them."""
SIZE, OVERLAP = 200, 30
"""Size and overlap of passages, in the embedder's tokens; smaller if the embedder's maximum is smaller."""


def documents(folder: Path, patterns: tuple[str, ...], access: Rules = ()) -> Texts:
    """The task's documents by content and access label; each file is hashed once here, also for the index.

    DataError if a pattern matches no readable file, or a pattern of `access` matches nothing.
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
    if lost := unmatched(access, [*paths, *(one.path for one in found.refused)]):
        raise DataError(
            f"{lost[0]!r} matches no document, so documents that it should restrict may be open.",
            where="rung.yaml data.access",
            remedy=f"Write paths as in citations, such as {paths[0]}; * matches within a folder, ** across folders.",
        )
    names, sizes = zip(*(content(path, folder) for path in found.files))
    labels = [label(access, path) for path in paths]
    readers = [origin(path.suffix.lower()) for path in found.files]  # what another version of one reads is another text
    entries = [[path, name, *filter(None, [mark, reader])] for path, name, mark, reader in zip(paths, names, labels, readers)]
    return Texts(
        tuple(map(str, found.files)),
        digest(sorted(entries)),
        str(folder),
        tuple(patterns),
        sum(sizes),
        contents=names,
        ignored=found.ignored,
        access=access,
    )


@lru_cache(maxsize=4)
def named(texts: Texts) -> Documents:
    """The documents by every name that a row may use for them."""
    return Documents(contents(texts), texts.root)


def with_sources(row: Example, texts: Texts) -> Example:
    """The row with its source as in citations; unchanged if it does not name a single document."""
    found = named(texts).find(row.source) if row.source else ()
    return replace(row, source=join_sources(found)) if found else row


def is_open(source: str, texts: Texts) -> bool:
    """Whether everyone may see a row's source. Always without labels; a row without a source is open.

    With labels it is open only if each of its sources names one document and no document it may mean has a label: a
    misspelled source is restricted.
    """
    if not any(name for _, name in texts.access):
        return True
    found = named(texts).find(source)
    return all(one.path and not any(label(texts.access, path) for path in one.may) for one in found) if found else not source


def open_to_all(rows: Sequence[Example], texts: Texts) -> tuple[Example, ...]:
    """The rows that may be trained on or shown to anyone: a model reveals to every user what it learnt from a row.

    Of rows with the same content and no source, none is open if another one is restricted.
    """
    kept = [is_open(row.source, texts) for row in rows]
    closed = {row.id for row, is_kept in zip(rows, kept) if not is_kept} if not all(kept) else set()
    return tuple(row for row, is_kept in zip(rows, kept) if is_kept and (row.source or row.id not in closed))


def is_open_file(file: Path, texts: Texts) -> bool:
    """Whether a file of raw text may be trained on: it is not a labelled document, nor a link to one, nor a copy of one."""
    if not any(name for _, name in texts.access):
        return True
    root = Path(texts.root)
    if any(label(texts.access, relative(path, start)) for path, start in ((file, root), (file.resolve(), root.resolve()))):
        return False
    return content(file)[0] not in {name for path, name in contents(texts).items() if label(texts.access, path)}


def place(home: Path, size: int = 0, overlap: int = OVERLAP) -> str:
    """Location of a task's index: the URL it was moved to, or a folder in the task's; one per passage size."""
    if (size, overlap) != (0, OVERLAP):
        return str(home / f"{USUAL}-{size}-{overlap}")
    pointer = home / POINTER
    return _pointer_target(pointer) if pointer.exists() else str(home / USUAL)


def _pointer_target(pointer: Path) -> str:
    """The location in a pointer file. DataError if it is not trusted: questions are sent there."""
    value, why = signed.opened(POINTER, pointer.read_text(encoding="utf-8", errors="replace"))
    if why or value is None:
        remedy = f"{signed.TRUST} Or delete the file; the index is then built beside it."
        raise DataError(f"it states where the index is, and it {why}.", where=str(pointer), remedy=remedy)
    return str(value["store"])


def others(home: Path) -> list[str]:
    """Indexes with other passage sizes, built by rungs."""
    return sorted(str(folder) for folder in home.glob(f"{USUAL}-*-*") if folder.is_dir())


def followed(index: str) -> str:
    """Current location of an index: a Predictor stores its location at the time of the fit."""
    return place(Path(index).parent) if "://" not in index and Path(index).name == USUAL else index


def is_there(index: str) -> bool:
    """Whether an index exists; assumed for a URL."""
    return "://" in (now := followed(index)) or Path(now).is_dir()


def point(home: Path, store: str) -> None:
    """Record where the index was moved to."""
    files.write_text(home / POINTER, signed.seal(POINTER, signed.dumps({"store": store})))


def opened(index: str, say: Callable[[str], object] = warnings.warn) -> Store:
    """The store in a folder or at a lance:// URL."""
    if index.startswith("lance://"):
        from rung.retrieve.lance import Lance

        return Lance(index)
    from rung.retrieve.ours import open_ours

    folder = Path(index)
    return open_ours(folder, say, inside=folder.parent.name == TASKS)


def open_kept(index: str, engines: Engines) -> Store:
    """The index at its current location, opened once per `engines`."""
    now = followed(index)
    return engines.keep(f"index {now}", lambda: opened(now, engines.say))


def config_of(engines: Engines, embedder: str, size: int = 0, overlap: int = OVERLAP) -> IndexConfig:
    """The configuration of an index with this embedder. `size` 0 is the default, or the embedder's maximum if smaller."""
    opened = engines.embedder(embedder)
    return index_config(opened, embedder, engines.find(embedder).digest, size or min(SIZE, opened.max_length), overlap)


def bring_up_to_date(
    texts: Texts, index: str, engines: Engines, how: IndexConfig, progress: Progress = lambda *_: None
) -> Changes:
    """Update the index to the documents and their labels; unchanged files are not read again."""
    return update(folder_of(texts), open_kept(index, engines), engines.embedder(how.embedder), how, progress)


def bring_part_up_to_date(
    texts: Texts, index: str, engines: Engines, how: IndexConfig, progress: Progress, part: int, of: int
) -> int:
    """Add what the index lacks of one part of the documents, beside other processes; see `index.add_part`."""
    store, embedder = open_kept(index, engines), engines.embedder(how.embedder)
    return add_part(folder_of(texts), store, embedder, how, progress, part=part, of=of)


def looked_over(texts: Texts, store: Store) -> tuple[Health, int]:
    """The index's health, and the number of documents for which it is outdated."""
    return health(store, folder_of(texts))


def folder_of(texts: Texts) -> Folder:
    """The documents as an index reads them."""
    return Folder(Path(texts.root), texts.patterns, labels(texts), contents(texts))


def labels(texts: Texts) -> Callable[[str], str]:
    """From a document's path to its access label."""
    return partial(label, texts.access)


def contents(texts: Texts) -> dict[str, str]:
    """From a document's path to the SHA-256 of its bytes, or to the reason why it cannot be read."""
    return {relative(Path(file), Path(texts.root)): name for file, name in zip(texts.files, texts.contents)}
