"""Builds an index of a folder of documents, and updates it as files are added, changed, moved and deleted."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import chain
from pathlib import Path

from rung.errors import BusyError, TaskError
from rung.retrieve.chunk import CHUNK_VERSION, chunk
from rung.retrieve.embed import GROUP, Embeds, embed_new
from rung.retrieve.formats import readers
from rung.retrieve.formats.source import content
from rung.retrieve.parse import listing, parse, relative
from rung.retrieve.passage import Refused
from rung.retrieve.store import Change, Health, IndexConfig, Store
from rung.types import digest

FORMAT = 3
"""Increase when the same file is read in another way; `CHUNK_VERSION` does so for chunking."""

WAIT_SECONDS = 600.0
"""Longest wait for another process that indexes into the same store."""
POLL_SECONDS = 0.2

Progress = Callable[[str, float], object]
"""Called with the current activity and the share of the work done."""
Label = Callable[[str], str]
"""From a file's path to its access label; the empty label is open to all."""


@dataclass(frozen=True, slots=True)
class Folder:
    """The documents of an index: where they are, and what is known of them before they are read."""

    root: Path
    patterns: Sequence[str] = (".",)
    """Globs relative to the root."""
    label: Label = lambda path: ""
    contents: Mapping[str, str] = field(default_factory=dict)
    """Known content digests by path, so that files are not read again for them; see `source.content`."""


@dataclass(frozen=True, slots=True)
class FolderChanges:
    """How a folder differs from its index. Paths are relative to the root."""

    added: tuple[str, ...]
    changed: tuple[str, ...]
    deleted: tuple[str, ...]
    renamed: tuple[tuple[str, str], ...]
    """Old path, new path, same content."""
    unchanged: int
    refused: Mapping[str, str] = field(default_factory=dict)
    """Path to reason, for files refused before they were opened."""

    @property
    def stale(self) -> int:
        """Number of files for which the index is outdated."""
        return len(self.added) + len(self.changed) + len(self.deleted) + len(self.renamed)


@dataclass(frozen=True, slots=True)
class Changes:
    """What an update did. A newly refused file is only in `refused`."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)
    """Path to reason."""
    unchanged: int = 0
    embedded: int = 0
    """Texts embedded; the others already had a vector."""


def index_config(
    embedder: Embeds | None, name: str = "", embedder_digest: str = "", size: int = 200, overlap: int = 30
) -> IndexConfig:
    """The configuration of an index. TaskError if passages would be longer than the embedder reads."""
    if embedder and size > embedder.max_length:
        raise TaskError(
            f"passages of {size} tokens are longer than the {embedder.max_length} that {name} reads.",
            remedy=f"Set the passages' size to {embedder.max_length} or less.",
        )
    return IndexConfig(name, embedder_digest, size, overlap, " ".join([f"{FORMAT}.{CHUNK_VERSION}", *readers.TABLE.origins()]))


def look(folder: Folder, store: Store, made: IndexConfig) -> FolderChanges:
    """Compare the folder with the index by content; modification times are ignored."""
    root = folder.root
    found = listing(root, folder.patterns)
    known = store.documents() if store.config() == made else dict.fromkeys(store.documents(), "")
    named = {relative(file, root): file for file in found.files}
    now = {path: _digest(folder.contents.get(path) or content(file, root)[0], folder.label(path)) for path, file in named.items()}
    refused = {one.path: _reason(one) for one in found.refused}
    now |= {path: digest(["refused", reason]) for path, reason in refused.items()}
    deleted = {path: old for path, old in known.items() if path not in now}
    left = defaultdict(list, {old: [path for path in deleted if deleted[path] == old] for old in deleted.values() if old})
    renamed = tuple((left[new].pop(0), path) for path, new in now.items() if path not in known and left[new])
    moved, arrived = {old for old, _ in renamed}, {new for _, new in renamed}
    return FolderChanges(
        added=tuple(path for path in now if path not in known and path not in arrived),
        changed=tuple(path for path in now if path in known and known[path] != now[path]),
        deleted=tuple(path for path in deleted if path not in moved),
        renamed=renamed,
        unchanged=sum(known.get(path) == now[path] for path in now),
        refused=refused,
    )


@contextmanager
def _alone(store: Store, progress: Progress) -> Iterator[None]:
    """Hold the store for writing once no other process does. BusyError where one still does after `WAIT_SECONDS`."""
    end = time.monotonic() + WAIT_SECONDS
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(store.updating())
                break
            except BusyError:
                if time.monotonic() > end:
                    raise
            progress("waiting for another process that is indexing", 0.0)
            time.sleep(POLL_SECONDS)
        yield


def update(
    folder: Folder, store: Store, embedder: Embeds | None, made: IndexConfig, progress: Progress = lambda what, share: None
) -> Changes:
    """Bring the index up to date with the folder, in groups of files, each group in one transaction.

    Killed at any moment, it leaves each file as it was or as it is, and the next run resumes from there; texts embedded before
    the kill are not embedded again. While another process indexes into the same store, it waits. Where the index was made in
    another way (embedder, size, program), everything is read again and replaced in one single transaction.
    """
    with _alone(store, progress):
        seen = look(folder, store, made)
        at_once = store.config() not in (None, made)
        ended = ((Change(path),) for path in seen.deleted)
        ready: list[Change] = []
        refused: dict[str, str] = {}
        embedded = 0
        for group in _groups(chain(ended, _read(folder, seen, embedder, made, progress))):
            embedded += _embedded(store, embedder, made, group)
            refused |= {change.path: change.refused for change in group if change.refused}
            ready += group
            if not at_once:
                store.apply(ready, made)
                ready = []
        if ready or store.config() != made:
            store.apply(ready, made)
        progress("finishing the index", 1.0)
        store.settle()
    return Changes(
        added=tuple(path for path in seen.added if path not in refused),
        changed=tuple(path for path in seen.changed if path not in refused),
        deleted=seen.deleted,
        renamed=seen.renamed,
        refused=refused,
        unchanged=seen.unchanged,
        embedded=embedded,
    )


def add_part(
    folder: Folder,
    store: Store,
    embedder: Embeds | None,
    made: IndexConfig,
    progress: Progress = lambda what, share: None,
    *,
    part: int,
    of: int,
) -> int:
    """Add what the index lacks of one part of the files, while other processes add the rest; the number of texts embedded.

    The hash of a path says to which part it belongs, so that no process needs to know of another. Deleted and renamed files are
    left to `update`, and so is an index that was made in another way. The store must allow for several writers.
    """
    if store.config() not in (None, made):
        return 0

    def own(paths: Sequence[str]) -> tuple[str, ...]:
        return tuple(path for path in paths if int(digest(path), 16) % of == part)

    seen = look(folder, store, made)
    seen = replace(seen, added=own(seen.added), changed=own(seen.changed), deleted=(), renamed=())
    embedded = 0
    for group in _groups(_read(folder, seen, embedder, made, progress)):
        embedded += _embedded(store, embedder, made, group)
        store.apply(group, made)
    return embedded


def health(store: Store, folder: Folder | None = None) -> tuple[Health, int]:
    """The store's own health; and, where the folder is given, how many of its files the index is behind on."""
    made = store.config()
    return store.health(), look(folder, store, made).stale if folder and made else 0


def _groups(changes: Iterable[tuple[Change, ...]]) -> Iterator[list[Change]]:
    """Groups of changes to embed and commit together, each about `GROUP` passages; a change without any counts as one.

    What belongs together stays in one group.
    """
    group: list[Change] = []
    size = 0
    for one in changes:
        group += one
        size += sum(max(1, len(change.passages)) for change in one)
        if size >= GROUP:
            yield group
            group, size = [], 0
    if group:
        yield group


def _embedded(store: Store, embedder: Embeds | None, made: IndexConfig, group: Sequence[Change]) -> int:
    """Embed the texts of a group that have no vector yet; their number."""
    passages = [passage for change in group for passage in change.passages]
    return embed_new(store, embedder, made.embedder_digest, passages) if embedder else 0


def _read(
    folder: Folder, seen: FolderChanges, embedder: Embeds | None, made: IndexConfig, progress: Progress
) -> Iterator[tuple[Change, ...]]:
    """Changes to apply together: a file's new content; for a renamed file also the deletion of its old path."""
    count = lru_cache(maxsize=1 << 16)(embedder.count if embedder else _words)
    old_names = {new: old for old, new in seen.renamed}
    paths = [*old_names, *seen.changed, *seen.added]
    root = folder.root
    sizes = [max(1, (root / path).stat().st_size if (root / path).is_file() else 1) for path in paths]
    started, done = time.monotonic(), 0
    for path, size in zip(paths, sizes, strict=True):
        progress(_status(path, done / sum(sizes), time.monotonic() - started), done / sum(sizes))
        ended = (Change(old_names[path]),) if path in old_names else ()
        yield (*ended, _change(root, path, seen, made, folder.label(path), count))
        done += size


def _change(root: Path, path: str, seen: FolderChanges, made: IndexConfig, label: str, count: Callable[[str], int]) -> Change:
    if path in seen.refused:
        return Change(path, digest(["refused", seen.refused[path]]), refused=seen.refused[path])
    document = parse(root / path, root)
    if isinstance(document, Refused):
        return Change(path, _digest(content(root / path, root)[0], label), refused=_reason(document))
    passages = chunk(replace(document, access=label), count, made.size, made.overlap)
    return Change(path, _digest(document.digest, label), tuple(passages))


def _digest(name: str, label: str) -> str:
    """Digest of a file's content (or of the reason why it cannot be read) and its access label."""
    return digest([name, label])


def _reason(refused: Refused) -> str:
    return f"{refused.reason} {refused.remedy}".strip()


def _status(path: str, share: float, seconds: float) -> str:
    left = f", about {seconds / share * (1 - share):.0f} s left" if share > 0.02 and seconds > 2 else ""
    return f"reading {path}{left}"


def _words(text: str) -> int:
    """Token count without an embedder: one per word, or per two characters of a script without spaces."""
    return len(text.split()) + sum(ord(c) >= 0x2E80 for c in text) // 2
