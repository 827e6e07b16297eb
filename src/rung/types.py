"""The frozen values that every part passes on: examples, predictions, scores, costs, records, decisions."""

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
from rung.rows import UNKNOWN as UNKNOWN
from rung.rows import Example as Example
from rung.rows import Message as Message
from rung.rows import Preference as Preference
from rung.rows import digest as digest
from rung.sources import names_document

Kind = Literal["classify", "extract", "answer", "generate"]
Split = Literal["train", "dev", "test"]
Status = Literal["done", "skipped", "failed"]
Verdict = Literal["meets", "fails", "undecided"]


class Need(enum.StrEnum):
    """What a method cannot do without. Methods state needs as data; a missing one is a named skip."""

    EXAMPLES = "examples"
    LABELS = "labels"
    OPEN_WEIGHTS = "open weights"
    DOCUMENTS = "documents"
    PREFERENCES = "preferences"
    CORPUS = "a corpus"
    UNLABELLED = "unlabelled inputs"
    GPU = "a GPU"


@dataclass(frozen=True, slots=True)
class Texts:
    """Raw text in files, read when it is needed: it may be larger than memory."""

    files: tuple[str, ...] = ()
    digest: str = ""
    """Content name of the files; empty where there are none."""
    root: str = ""
    """Folder that they are named from."""
    patterns: tuple[str, ...] = ()
    """As the task names them."""
    size: int = 0
    """Bytes in all."""
    share: float = 1.0
    """Share of the documents that is read, by their content; what is left out of general text is kept for measuring on."""
    contents: tuple[str, ...] = ()
    """SHA-256 of each of the task's documents, in the order of `files`; of one that cannot be read, the reason."""
    ignored: tuple[str, ...] = ()  # files among the task's documents whose format is not read
    access: tuple[tuple[str, str], ...] = ()
    """Patterns of paths with the label that an asker needs; of several that cover a path the last one holds."""


@dataclass(frozen=True, slots=True)
class TrainData:
    """All that `fit` may see. There is no dev and no test in it, so a method cannot peek."""

    examples: tuple[Example, ...]
    labels: tuple[str, ...] = ()
    """The closed set of outputs of a classify task, sorted; empty otherwise."""
    preferences: tuple[Preference, ...] = ()
    corpus: Texts = Texts()
    """The team's raw domain text."""
    general: Texts = Texts()
    """General text for replay; the documents that forgetting is measured on are left out."""
    documents: Texts = Texts()
    """What answers may be looked up in."""
    unlabelled: tuple[str, ...] = ()
    """Inputs without an answer, for a teacher to label."""

    def only(self, needs: frozenset[Need]) -> TrainData:
        """The part that a method says it needs. The rest is not there to be used, and its change redoes nothing."""
        return TrainData(
            self.examples,
            self.labels,
            self.preferences if Need.PREFERENCES in needs else (),
            self.corpus if Need.CORPUS in needs else Texts(),
            self.general if Need.CORPUS in needs else Texts(),
            self.documents if Need.DOCUMENTS in needs else Texts(),
            self.unlabelled if Need.UNLABELLED in needs else (),
        )

    @property
    def digest(self) -> str:
        more = [[p.id for p in self.preferences], self.corpus.digest, self.general.digest, self.documents.digest, self.unlabelled]
        rows = [[e.id, e.source, dict(e.extra)] if e.source or e.extra else e.id for e in self.examples]
        return digest([rows, self.labels, *([more] if any(more) else [])])


@dataclass(frozen=True, slots=True)
class Source:
    """A passage that an answer was looked up in."""

    id: str
    path: str
    section: str
    """Its innermost heading."""
    where: str
    """The place as a citation shows it: file, headings, lines or page."""
    text: str
    cited: bool = False
    """The answer cites it, and shares content with it."""
    left_out: tuple[str, ...] = ()
    """Parts of its text that are addressed to the answerer; the prompt shows the passage without them."""

    def is_named(self, source: str) -> bool:
        """Whether a row's source, or one of several, means this passage: its document, and its section where one is given."""
        return names_document(source, self.path, self.section)


@dataclass(frozen=True, slots=True)
class Prediction:
    """One answer. A row that failed keeps its error and scores nothing; it is never dropped."""

    id: str
    output: str
    confidence: float | None = None
    """Probability of the answer among the labels, where the task has labels."""
    tokens_in: int = 0
    tokens_out: int = 0
    seconds: float = 0.0
    """Wall clock of this row in its batch, as first measured; a cached answer keeps it."""
    error: str = ""
    tokens_cached: int = 0
    """Of `tokens_in`: billed at a seller's lower price for what stands in its prompt cache."""
    again: bool = False
    """The error may pass (a call that failed): the row is asked again next time."""
    wrong: bool = False
    """The error is the model's own (a prompt over its context), and the row counts as a wrong answer. Any other error says
    nothing of the model: the row counts neither for it nor against it."""
    sources: tuple[Source, ...] = ()
    """What was retrieved for it, best first."""
    abstained: str = ""
    """Why no answer was given; empty where one was."""

    @property
    def failed(self) -> bool:
        """Whether there is no answer for a reason that says nothing of the model: a broken server, a full disk."""
        return bool(self.error) and not self.wrong


@dataclass(frozen=True, slots=True)
class Unscored:
    """A row that has no score: its answer could not be had for a reason outside the model, or its judge failed."""

    id: str
    why: str
    again: bool = False
    """The fault may pass: the row is scored again next time."""


@dataclass(frozen=True, slots=True)
class Scores:
    """A metric over the rows of one split, with the per-row values that paired tests need."""

    metric: str
    split: Split
    overall: Interval
    ids: tuple[str, ...]
    per_row: tuple[float, ...]
    """One value a row, same order as `ids`. For a corpus metric (macro-F1) each row's own right or wrong."""
    outputs: tuple[str, ...] = ()
    """What was answered, same order; corpus metrics are recomputed from these when rows are resampled."""
    others: Mapping[str, Interval] = field(default_factory=dict, hash=False)
    unscored: tuple[Unscored, ...] = ()
    """Rows that could not be scored. They have 0 in `per_row`, and the upper end of `overall` is where they all had 1."""

    @property
    def at_best(self) -> tuple[float, ...]:
        """`per_row` were every row that could not be scored perfect."""
        missing = {row.id for row in self.unscored}
        return tuple(1.0 if row in missing else value for row, value in zip(self.ids, self.per_row))


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of one rung. Append-only: a rerun adds a record and never edits one."""

    rung: str
    status: Status
    reason: str = ""
    """Why it was skipped or failed, or what the measurement says against the goal."""
    scores: Scores | None = None
    """On dev."""
    quote: Cost | None = None
    cost: Cost | None = None
    """Measured."""
    latency: Latency | None = None
    forgetting: Forgetting | None = None
    """None where no weight of a language model was touched."""
    predictor: str = ""
    """Digest of the fitted Predictor; its folder under `.rung/predictors`."""
    provenance: Provenance = field(default=Provenance(), hash=False)
    """What a repeat of the measurement needs."""

    def to_json(self) -> dict[str, Any]:
        """The record as plain values; `rung.store.record` reads them."""
        return asdict(self) | {"provenance": self.provenance.to_json()}


@dataclass(frozen=True, slots=True)
class RungVerdict:
    """One rung against the goal."""

    rung: str
    verdict: Verdict
    why: str
    more_rows: int = 0
    """When undecided: about how many more labelled rows would decide."""
    unmeasured: bool = False
    """Undecided because the rung, or rows of it, failed for a reason that says nothing of the model."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A paired comparison of two rungs on the same rows."""

    a: str
    b: str
    difference: Interval
    """Score of b less score of a."""
    p_value: float
    """Adjusted (Holm) over the comparisons made together."""
    only_a: int
    """Rows that a got right and b wrong; only_b the other way round."""
    only_b: int


@dataclass(frozen=True, slots=True)
class Decision:
    verdict: Verdict
    chosen: str
    """Rung name; empty where nothing was measured."""
    why: str
    rungs: tuple[RungVerdict, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    """The chosen rung against each other one measured."""

    @property
    def unmeasured(self) -> bool:
        """Whether the goal is undecided because something failed; commands then end with an exit code other than 0."""
        return self.verdict == "undecided" and any(rung.unmeasured for rung in self.rungs)


def plain(value: Any) -> Any:
    """A frozen value as plain JSON-able dicts and lists."""
    return asdict(value)
