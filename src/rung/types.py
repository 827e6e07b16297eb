"""The frozen values that all parts share: examples, predictions, scores, costs, records."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rung.measurements import Attack as Attack
from rung.measurements import Cost as Cost
from rung.measurements import Forgetting as Forgetting
from rung.measurements import Interval as Interval
from rung.measurements import Latency as Latency
from rung.measurements import Provenance as Provenance
from rung.measurements import Raced as Raced
from rung.measurements import Selection as Selection
from rung.rows import UNKNOWN as UNKNOWN
from rung.rows import Example as Example
from rung.rows import Message as Message
from rung.rows import Preference as Preference
from rung.rows import digest as digest
from rung.sources import names_document

Kind = Literal["classify", "extract", "answer", "generate"]
Split = Literal["train", "dev", "test"]
Status = Literal["done", "skipped", "failed"]


class Need(enum.StrEnum):
    """What a method requires. Methods state needs as data; a rung with a missing one is skipped with the reason."""

    EXAMPLES = "examples"
    LABELS = "one label a row"
    """A closed set of labels of which each row has one."""
    CLASSES = "labels"
    """A closed set of labels, of which a row has one or several."""
    OPEN_WEIGHTS = "open weights"
    DOCUMENTS = "documents"
    PREFERENCES = "preferences"
    CORPUS = "a corpus"
    UNLABELLED = "unlabelled inputs"
    GPU = "a GPU"


@dataclass(frozen=True, slots=True)
class Texts:
    """Raw text in files, read on demand: it may be larger than memory."""

    files: tuple[str, ...] = ()
    digest: str = ""
    """Content digest of the files; empty without files."""
    root: str = ""
    """Folder that file names are relative to."""
    patterns: tuple[str, ...] = ()
    """Patterns as written in the task."""
    size: int = 0
    """Total bytes."""
    share: float = 1.0
    """Share of the documents that is read, chosen by content; the rest of the general text measures forgetting."""
    screened: str = ""
    """Folder that says which documents of raw text are left out (`rung.data.screening`); empty if none are."""
    contents: tuple[str, ...] = ()
    """SHA-256 of each of the task's documents, in the order of `files`, or why one cannot be read."""
    ignored: tuple[str, ...] = ()  # files among the task's documents whose format is not read
    access: tuple[tuple[str, str], ...] = ()
    """Path patterns with the label that an asker needs; of several matching patterns the last one counts."""


@dataclass(frozen=True, slots=True)
class TrainData:
    """All that `fit` may see. There is no dev and no test in it, so a method cannot peek."""

    examples: tuple[Example, ...]
    labels: tuple[str, ...] = ()
    """The closed set of outputs of a classify task with one label a row, sorted; empty otherwise."""
    preferences: tuple[Preference, ...] = ()
    corpus: Texts = Texts()
    """The team's raw domain text."""
    general: Texts = Texts()
    """General text for replay; the documents that forgetting is measured on are left out."""
    documents: Texts = Texts()
    """Documents to retrieve from."""
    unlabelled: tuple[str, ...] = ()
    """Inputs without an answer, for a teacher to label."""
    label_set: tuple[str, ...] = ()
    """The labels of a classify task with several labels a row, whose outputs are lists of them (`rung.label_sets`)."""
    every_answer: bool = False
    """Whether rows are conversations of which every answer of the assistant is trained on."""

    def only(self, needs: frozenset[Need]) -> TrainData:
        """The parts that a method needs. It cannot read the rest, and changes there cause no new fit."""
        return TrainData(
            self.examples,
            self.labels,
            self.preferences if Need.PREFERENCES in needs else (),
            self.corpus if Need.CORPUS in needs else Texts(),
            self.general if Need.CORPUS in needs else Texts(),
            self.documents if Need.DOCUMENTS in needs else Texts(),
            self.unlabelled if Need.UNLABELLED in needs else (),
            self.label_set,
            self.every_answer,
        )

    @property
    def digest(self) -> str:
        more = [[p.id for p in self.preferences], self.corpus.digest, self.general.digest, self.documents.digest, self.unlabelled]
        rows = [[e.id, e.source, dict(e.extra)] if e.source or e.extra else e.id for e in self.examples]
        several: list[Any] = [{"label_set": list(self.label_set)}] if self.label_set else []
        several += ["every answer"] if self.every_answer else []
        return digest([rows, self.labels, *([more] if any(more) else []), *several])


@dataclass(frozen=True, slots=True)
class Source:
    """A passage retrieved for an answer."""

    id: str
    path: str
    section: str
    """Its innermost heading."""
    where: str
    """The place as a citation shows it: file, headings, lines or page."""
    text: str
    cited: bool = False
    """Whether the answer cites it and shares content with it."""
    left_out: tuple[str, ...] = ()
    """Sentences addressed to the model, which the prompt leaves out."""

    def is_named(self, source: str) -> bool:
        """Whether a row's source, or one of several, means this passage: its document, and its section where one is given."""
        return names_document(source, self.path, self.section)


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer. A row that failed has its error and no score; it is never dropped."""

    id: str
    output: str
    confidence: float | None = None
    """Probability of the answer among the labels, where the task has labels."""
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    """Wall-clock seconds of this row in its batch, when it was first answered."""
    error: str = ""
    tokens_cached: int = 0
    """Of `tokens_in`: billed at the lower price of the provider's prompt cache."""
    again: bool = False
    """The error is temporary (a call that failed): the row is asked again next time."""
    wrong: bool = False
    """The error is the model's own (a prompt over its context), and the row counts as wrong. Any other error says nothing
    about the model, and the row does not count."""
    sources: tuple[Source, ...] = ()
    """Retrieved passages, best first."""
    abstained: str = ""
    """Why no answer was given; empty if one was."""
    guess: str = ""
    """The likeliest answer of a rung that is not sure enough to give it; `output` is then empty."""
    left_out: int = 0
    """The earliest turns of its conversation that the prompt left out, since the context had no room for them."""

    @property
    def failed(self) -> bool:
        """Whether the answer is missing for a reason outside the model: a broken server, a full disk."""
        return bool(self.error) and not self.wrong


@dataclass(frozen=True, slots=True)
class Unscored:
    """A row without a score: its answer is missing for a reason outside the model, or its judge failed."""

    id: str
    why: str
    again: bool = False
    """The fault is temporary: the row is scored again next time."""


@dataclass(frozen=True, slots=True)
class Scores:
    """A metric over the rows of one split, with the per-row values that paired tests need."""

    metric: str
    split: Split
    overall: Interval
    ids: tuple[str, ...]
    per_row: tuple[float, ...]
    """One value per row, in the order of `ids`. For a corpus metric (macro-F1): whether each row is right."""
    outputs: tuple[str, ...] = ()
    """The answers, in the same order; corpus metrics are recomputed from these when rows are resampled."""
    others: Mapping[str, Interval] = field(default_factory=dict, hash=False)
    unscored: tuple[Unscored, ...] = ()
    """Rows without a score. They have 0 in `per_row`; the upper end of `overall` assumes 1 for all of them."""
    answered: tuple[bool, ...] = ()
    """Which rows were answered, for a goal with a coverage; `overall` is over these. Empty: all were."""
    coverage: Interval | None = None
    """The share of rows answered."""
    confidences: tuple[float | None, ...] = ()
    """The confidence of each row's answer or best guess, for a goal with a coverage."""

    @property
    def at_best(self) -> tuple[float, ...]:
        """`per_row` with 1 for every row without a score."""
        missing = {row.id for row in self.unscored}
        return tuple(1.0 if row in missing else value for row, value in zip(self.ids, self.per_row))


@dataclass(frozen=True, slots=True)
class Record:
    """What was measured of one rung. Append-only: a rerun adds a record and never edits one."""

    rung: str
    status: Status
    reason: str = ""
    """Why it was skipped or failed, or which rows lack a score."""
    scores: Scores | None = None
    """On dev."""
    quote: Cost | None = None
    cost: Cost | None = None
    """Measured."""
    latency: Latency | None = None
    forgetting: Forgetting | None = None
    """None if no weights of a language model changed."""
    predictor: str = ""
    """Digest of the fitted Predictor; its folder under `.rung/predictors`."""
    provenance: Provenance = field(default=Provenance(), hash=False)
    """What a repeat of the measurement needs."""
    selection: Selection | None = None
    """From which confidence on it answers, for a goal with a coverage."""

    def to_json(self) -> dict[str, Any]:
        """The record as plain values; `rung.store.record` reads them."""
        return asdict(self) | {"provenance": self.provenance.to_json()}


def plain(value: Any) -> Any:
    """A frozen value as plain JSON-able dicts and lists."""
    return asdict(value)
