"""What an index can do, whatever it is kept in, and the values that go in and come out."""

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
    """What an index is made with. Where any of it changes, every file is read again."""

    embedder: str = ""
    """Name of the embedding model; empty for an index without a dense leg."""
    embedder_digest: str = ""
    size: int = 200
    """Tokens of the embedder in a passage, at most."""
    overlap: int = 30
    version: str = ""
    """Of the program's parsing and cutting."""


@dataclass(frozen=True, slots=True)
class Change:
    """One file's new state. All its old passages go, its new ones come, in one transaction."""

    path: str
    digest: str = ""
    """Of the file's bytes and its access label; empty for a file that is gone."""
    passages: tuple[Passage, ...] = ()
    refused: str = ""
    """Why the file is not indexed, with the remedy; it then has no passages."""


@dataclass(frozen=True, slots=True)
class Allow:
    """What a question may see. Applied inside both legs, so that what is hidden never takes the place of what is not.

    How rare a word is, is counted over the whole index, hidden passages too.
    """

    access: frozenset[str] | None = frozenset()
    """The asker's labels: passages without a label and those with one of these. None sees all."""
    under: str = ""
    """Only files in this folder, or this file."""
    where: Mapping[str, str] = field(default_factory=dict, hash=False)
    """Only passages whose `extra` holds these values."""

    def clauses(self) -> tuple[frozenset[str], ...]:
        """Sets of tags; a passage is allowed where it carries one of each set."""
        out = [] if self.access is None else [frozenset(_access(label) for label in {"", *self.access})]
        if self.under.strip("/"):
            out.append(frozenset({f"under={self.under.strip('/')}"}))
        return (*out, *(frozenset({f"is={key}={value}"}) for key, value in sorted(self.where.items())))


def tags(passage: Passage) -> list[str]:
    """The marks by which a passage is filtered: its label, its file and every folder above, its extra values."""
    steps = passage.path.split("/")
    under = [f"under={'/'.join(steps[: i + 1])}" for i in range(len(steps))]
    return [_access(passage.access), *under, *(f"is={key}={value}" for key, value in passage.extra.items())]


def _access(label: str) -> str:
    return f"access={label}"


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the index is whole: every passage should be searchable by each leg."""

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
    """Passages that a leg finds only by going over them one by one, as its index does not hold them yet."""

    @property
    def whole(self) -> bool:
        return self.passages == self.lexical and self.dense in (None, self.passages)


class Store(Protocol):
    """An index. `apply` is atomic; searches see a whole generation, the old one or the new one."""

    def config(self) -> IndexConfig | None:
        """What it was made with; None where nothing was indexed yet."""
        ...

    def generation(self) -> int:
        """Raised by every `apply`."""
        ...

    def documents(self) -> dict[str, str]:
        """Path to digest of every file that was read, the refused ones too."""
        ...

    def embedded(self, embedder: str, texts: Iterable[str]) -> set[str]:
        """Which of these text digests have a vector of the embedder of that digest."""
        ...

    def keep_vectors(self, embedder: str, texts: Sequence[str], vectors: Vector) -> None:
        """Keep vectors by text digest, so that no text is embedded twice. (len(texts), width), unit length."""
        ...

    def apply(self, changes: Sequence[Change], config: IndexConfig) -> None:
        """Carry out the changes in one transaction. The vectors of their passages must have been kept before.

        Where `config` is not the present one, there must be a change for every document there is.
        """
        ...

    def settle(self) -> None:
        """Bring whatever is derived up to the present generation; a search does so too where it must."""
        ...

    def passages(self, ids: Sequence[str]) -> list[Passage]:
        """The passages of these ids, in their order; KeyError for one that is gone."""
        ...

    def contents(self) -> Iterable[tuple[Change, Vector | None]]:
        """Everything, file by file as they were applied, with the vectors of each one's passages: what `move` copies.

        The order is kept because passages with equal scores stand in the order in which they came.
        """
        ...

    def lexical(self, question: str, depth: int, allow: Allow) -> Found:
        """BM25 over analysed words."""
        ...

    def dense(self, vector: Vector, depth: int, allow: Allow) -> Found:
        """Cosine with the question's vector, exact unless the store says otherwise."""
        ...

    def health(self) -> Health: ...

    def updating(self) -> AbstractContextManager[object]:
        """Held while files are read and applied. BusyError where another process holds it."""
        ...

    def close(self) -> None: ...


def text_digest(passage: Passage) -> str:
    """The name under which a passage's vector is kept: of the text that is embedded, not of its place."""
    return hashlib.sha256(embedded_text(passage).encode()).hexdigest()[:32]


def move(store: Store, other: Store) -> None:
    """Copy a whole index into another, empty store. No text is read, cut or embedded again."""
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
