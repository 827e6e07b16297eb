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
        """In the order of the probabilities; the one for inputs unlike all others is the last."""
        ...

    def cut(self, text: str) -> Tokens:
        """A text's tokens, begin and end included, no more than the model reads."""
        ...

    def answers(self, texts: Sequence[str]) -> tuple[NDArray, NDArray]:
        """Probabilities (texts, labels), and the place of the label that is answered (texts,)."""
        ...

    def close(self) -> None:
        """Free its memory."""
        ...
