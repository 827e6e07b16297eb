"""Passages to vectors in a store: each text once, ever, in groups large enough to sort by length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rung.retrieve.passage import Passage, embedded_text
from rung.retrieve.store import Store, Vector, text_digest

GROUP = 512
"""Texts embedded and kept together: enough that their batches are of like lengths, few enough that a kill loses little."""


class Embeds(Protocol):
    """What turns texts into vectors: `rung.lm.inference.embed.Embedder`, or a test's own."""

    @property
    def longest(self) -> int:
        """Tokens of a text that it reads."""
        ...

    def embed(self, texts: Sequence[str]) -> Vector:
        """(len(texts), width), float32, unit length."""
        ...

    def count(self, text: str) -> int:
        """Tokens of a text, all of them."""
        ...


def embed_new(store: Store, embedder: Embeds, name: str, passages: Sequence[Passage]) -> int:
    """Embed those texts that the store has no vector for under the embedder's digest `name`; how many they were."""
    texts = {text_digest(passage): embedded_text(passage) for passage in passages}
    known = store.embedded(name, list(texts))
    new = [key for key in texts if key not in known]
    for start in range(0, len(new), GROUP):
        part = new[start : start + GROUP]
        store.keep_vectors(name, part, embedder.embed([texts[key] for key in part]))
    return len(new)
