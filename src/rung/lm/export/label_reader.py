"""What an engine is asked to prove an exported encoder: a text's tokens, and the probability of each label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from numpy.typing import NDArray

from rung.lm.export.reader import Tokens


class LabelReader(Protocol):
    """An exported encoder, loaded by the engine that it is meant for."""

    @property
    def engine(self) -> str:
        """The engine's name and version."""
        ...

    @property
    def labels(self) -> Sequence[str]:
        """In the order of the probabilities."""
        ...

    def cut(self, text: str) -> Tokens:
        """A text's tokens, begin and end included, no more than the model reads."""
        ...

    def odds(self, texts: Sequence[str]) -> NDArray:
        """Probabilities; (texts, labels)."""
        ...

    def close(self) -> None:
        """Free its memory."""
        ...
