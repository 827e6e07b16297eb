"""Embeds a store's passages: each text only once, in groups large enough to sort by length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from rung.retrieve.passage import Passage, embedded_text
from rung.retrieve.store import Store, Vector, text_digest

GROUP = 512
"""Texts embedded and stored together: enough for batches of similar length, few enough that a kill loses little."""


class Embeds(Protocol):
    """An embedding model: `rung.lm.inference.embed.Embedder`, or a test's own."""

    @property
    def max_length(self) -> int:
        """Tokens that it reads of a text."""
        ...

    def embed(self, texts: Sequence[str]) -> Vector:
        """(len(texts), width), float32, unit length."""
        ...

    def count(self, text: str) -> int:
        """Tokens of a whole text."""
        ...


def embed_new(store: Store, embedder: Embeds, name: str, passages: Sequence[Passage]) -> int:
    """Embed texts without a vector in the store under the embedder's digest `name`; returns their number."""
    texts = {text_digest(passage): embedded_text(passage) for passage in passages}
    known = store.embedded(name, list(texts))
    new = [key for key in texts if key not in known]
    for start in range(0, len(new), GROUP):
        part = new[start : start + GROUP]
        store.keep_vectors(name, part, embedder.embed([texts[key] for key in part]))
    return len(new)
