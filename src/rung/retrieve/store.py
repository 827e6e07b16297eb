"""The protocol of an index store, and its values."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rung.retrieve.passage import Passage, embedded_text

Vector = NDArray[np.float32]
Found = list[tuple[str, float]]
"""Passage ids with a leg's score, best first."""


@dataclass(frozen=True, slots=True)
class IndexConfig:
    """The configuration of an index. If any of it changes, every file is read again."""

    embedder: str = ""
    """Name of the embedding model; empty for an index without a dense leg."""
    embedder_digest: str = ""
    size: int = 200
    """Most tokens of a passage, by the embedder's tokenizer."""
    overlap: int = 30
    version: str = ""
    """Version of parsing and chunking."""


@dataclass(frozen=True, slots=True)
class Change:
    """One file's new state; its passages are replaced in one transaction."""

    path: str
    digest: str = ""
    """Of the file's bytes and its access label; empty for a deleted file."""
    passages: tuple[Passage, ...] = ()
    refused: str = ""
    """Why the file is not indexed, with the remedy; it then has no passages."""


@dataclass(frozen=True, slots=True)
class Allow:
    """Which passages a question may use. Applied inside both legs, so that hidden passages never displace others.

    Word frequencies are those of the whole index, including hidden passages.
    """

    access: frozenset[str] | None = frozenset()
    """The user's labels: permits passages without a label or with one of these. None permits all."""
    under: str = ""
    """Only files in this folder, or this file."""
    where: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Only passages with these values in `extra`."""

    def clauses(self) -> tuple[frozenset[str], ...]:
        """Sets of tags; a passage is allowed if it has a tag of each set."""
        out = [] if self.access is None else [frozenset(_access(label) for label in {"", *self.access})]
        if self.under.strip("/"):
            out.append(frozenset({f"under={self.under.strip('/')}"}))
        return (*out, *(frozenset({f"is={key}={value}"}) for key, value in sorted(self.where.items())))


def tags(passage: Passage) -> list[str]:
    """Tags for filtering: a passage's label, its file and every folder above, its extra values."""
    steps = passage.path.split("/")
    under = [f"under={'/'.join(steps[: i + 1])}" for i in range(len(steps))]
    return [_access(passage.access), *under, *(f"is={key}={value}" for key, value in passage.extra.items())]


def _access(label: str) -> str:
    return f"access={label}"


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the index is complete: every passage should be searchable by each leg."""

    documents: int
    passages: int
    lexical: int
    """Passages that the lexical leg can find."""
    dense: int | None
    """Passages that the dense leg can find; None for an index without one."""
    generation: int
    refused: Mapping[str, str]
    """Path to reason."""
    unindexed: int = 0
    """Passages that are not yet in the vector index and are searched one by one."""

    @property
    def whole(self) -> bool:
        return self.passages == self.lexical and self.dense in (None, self.passages)


class Store(Protocol):
    """An index. `apply` is atomic; a search sees one whole generation, old or new."""

    def config(self) -> IndexConfig | None:
        """Its configuration; None if nothing is indexed yet."""
        ...

    def generation(self) -> int:
        """Incremented by every `apply`."""
        ...

    def documents(self) -> dict[str, str]:
        """Path to digest of every file, including refused ones."""
        ...

    def embedded(self, embedder: str, texts: Iterable[str]) -> set[str]:
        """Which of these text digests have a vector of the embedder with this digest."""
        ...

    def keep_vectors(self, embedder: str, texts: Sequence[str], vectors: Vector) -> None:
        """Store vectors (len(texts), width) of unit length by text digest, so that no text is embedded twice."""
        ...

    def apply(self, changes: Sequence[Change], config: IndexConfig) -> None:
        """Apply the changes in one transaction. The vectors of their passages must be stored before.

        If `config` differs from the current one, there must be a change for every document.
        """
        ...

    def settle(self) -> None:
        """Update all derived data to the current generation; a search does so too if necessary."""
        ...

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """The passages of these ids, in their order; KeyError for a deleted one."""
        ...

    def file(self, path: str) -> list[Passage]:
        """The passages of a file, in its order; none for an unknown one."""
        ...

    def contents(self) -> Iterable[tuple[Change, Vector | None]]:
        """All files, with the vectors of their passages: what `move` copies."""
        ...

    def lexical(self, question: str, depth: int, allow: Allow) -> Found:
        """BM25 over the terms of `analyse`."""
        ...

    def dense(self, vector: Vector, depth: int, allow: Allow) -> Found:
        """Cosine similarity with the question's vector, exact unless the store says otherwise."""
        ...

    def health(self) -> Health: ...

    def updating(self) -> AbstractContextManager[object]:
        """A lock while files are read and applied. BusyError if another process holds it."""
        ...

    def close(self) -> None: ...


def text_digest(passage: Passage) -> str:
    """The key of a passage's vector: a digest of the embedded text, not of its place."""
    return hashlib.sha256(embedded_text(passage).encode()).hexdigest()[:32]


def move(store: Store, other: Store) -> None:
    """Copy a whole index into another, empty store. No text is read, chunked or embedded again."""
    config = store.config()
    if config is None:
        return
    changes = []
    for change, vectors in store.contents():
        if vectors is not None:
            other.keep_vectors(config.embedder_digest, [text_digest(p) for p in change.passages], vectors)
        changes.append(change)
    other.apply(changes, config)
    other.settle()
