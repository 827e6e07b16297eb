"""The fields of a Predictor, and its digest."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from rung.lm import engine_kinds
from rung.lm.base import Decoding, ModelRef
from rung.lm.inference.thinking import Thinking
from rung.naming import identity_fields
from rung.retrieve import orders
from rung.retrieve.lookup import Lookup
from rung.tools import Tools
from rung.types import Example, Kind, digest

PROMPT_VERSION = 1
"""Raise when the same Predictor would be asked in other words."""


@dataclass(frozen=True)
class Demos:
    """Demonstrations in the prompt: fixed ones first, so that all prompts share them, then similar ones."""

    fixed: tuple[Example, ...] = ()
    pool: tuple[Example, ...] = ()
    """Candidates for the similar ones."""
    similar: int = 0
    """How many of the pool are shown: those most similar to the input, the nearest last."""
    files: str = ""
    """Folder with the pool's vectors (`pool.safetensors`)."""
    files_digest: str = ""


@dataclass(frozen=True)
class Calibration:
    """What is added to each label's log-probability, to remove a bias towards some labels."""

    bias: tuple[float, ...]
    """In the order of the labels."""
    of: str
    """Digest of the Predictor it was measured on; it is invalid for any other."""


@dataclass(frozen=True)
class Threshold:
    """From which confidence on an answer is given; below it the answer is a guess."""

    at: float
    """After calibration; 0 for every answer."""
    slope: float = 1.0
    shift: float = 0.0
    """Of the log-odds of the confidence, as `rung.measurements.Selection` has them."""


@dataclass(frozen=True)
class Cascade:
    """A second Predictor for the rows that the first is not sure of."""

    cut: Threshold
    """From which confidence on the first one's answer is given."""
    then: PredictorFields
    """A `rung.predictor.Predictor`."""


@dataclass(frozen=True, kw_only=True)
class PredictorFields:
    """All that decides how a row is answered."""

    kind: Kind
    model: ModelRef
    instruction: str
    labels: tuple[str, ...] = ()
    label_set: tuple[str, ...] = ()
    """The labels of a task in which a row has several: an answer is a list of them. `labels` is empty then."""
    descriptions: tuple[str, ...] = ()
    """What each label means, in the order of `labels` or `label_set`; empty strings if the task does not say."""
    show_labels: bool = True
    """Whether the prompt lists the labels. A model trained on them knows them, and its prompt is shorter."""
    encoder: str = "all-minilm-l6-v2"
    """Embedding model, for similar demonstrations and for the classification head."""
    demos: Demos = Demos()
    lookup: Lookup | None = None
    """Where passages are retrieved from; None answers without passages."""
    decoding: Decoding = Decoding()
    taught: tuple[Example, ...] = ()
    """Rows that a teacher labelled, for the next method to train on like the team's own. Answering does not read them."""
    thinking: Thinking | None = None
    """How to reason before answering; None answers at once."""
    calibration: Calibration | None = None
    threshold: Threshold | None = None
    """None gives every answer."""
    other: str = ""
    """Of `labels`: the answer to an input that is unlike all others; empty if the task has none."""
    tools: Tools | None = None
    """The tools of a task whose answers are calls of them."""
    cascade: Cascade | None = None
    """None where it answers alone. It comes before `threshold`, which is on the answers of both."""

    @property
    def browses(self) -> bool:
        """Whether the model looks through the documents itself, in several turns."""
        return bool(self.lookup and self.lookup.browse)

    @property
    def digest(self) -> str:
        """Content digest: equal for Predictors that answer alike, wherever their files are."""
        shown: dict[str, Any] = {"orders": orders.VERSION} if self.lookup else {}
        if added := engine_kinds.TABLE.origin(self.model.kind):
            shown["engine"] = added  # another version of a plug-in may answer differently
        if self.cascade:
            shown["cascade"] = [asdict(self.cascade.cut), self.cascade.then.digest]
        return digest(identity_fields(asdict(self) | {"prompt": PROMPT_VERSION} | shown))
