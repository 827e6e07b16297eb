"""What a cost estimate starts from: counts of the task and its data, and of the model that is asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from rung.lm.remote.prices import Price
from rung.methods.written import Seen, StopBehaviour


@dataclass(frozen=True, kw_only=True)
class Answerer:
    """A model that is asked, the base or a teacher: what an estimate needs to know of it."""

    parameters: int
    call_seconds: float = 0.0
    """Assumed seconds of a call to an endpoint; 0 for a model that runs here."""
    tariff: Price | None = None
    """Its price per token; None for a model that runs here, which costs machine time."""
    concurrency: int = 1
    """Calls in flight at once; 1 for a model that runs here, whose seconds a row are already those of a batch."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Counts of the task and its data, taken before anything is spent. Tokens are the base model's."""

    train_rows: int
    dev_rows: int = 0
    """They are answered side by side; 0 where their number is unknown."""
    parameters: int
    """Of the base model."""
    vocabulary_parameters: int = 0
    """How many of these are the embeddings and the output head; 0 where that is unknown."""
    layers: int = 0
    """Of the base model; 0 where its configuration does not say, or it has none."""
    encoder_parameters: int
    encoder_table: int = 0
    """How many of these are the token embedding table, which is looked up and not computed with."""
    shared_tokens: float
    """Tokens of the instruction, the same in every prompt, without the list of labels: a trained model is not shown it."""
    input_tokens: float
    """Mean tokens of one row's own part of the prompt."""
    output_tokens: float
    """Mean tokens of an answer."""
    answer_lengths: tuple[float, ...] = ()
    """Tokens of each of a sample of answers; empty where only their mean is known."""
    max_new_tokens: float = 0.0
    """Tokens after which an answer is cut; 0 where answers are chosen from labels, or the limit is unknown."""
    labels: int
    """0 unless the task is to classify."""
    label_set: int = 0
    """Labels of a task in which a row has several; `labels` is 0 then."""
    unlabelled: int = 0
    """Inputs without an answer."""
    document_tokens: int = 0
    """Of all documents, guessed from their size."""
    corpus_tokens: int = 0
    """Of the raw domain text, guessed from its size."""
    general_text: bool = False
    """Whether general text is named, for continued pre-training to replay."""
    label_tokens: float = 0.0
    """Tokens of the list of labels, which stands in the prompt of a model that was not trained on them."""
    call_seconds: float = 0.0
    """Assumed seconds of a call to a base behind an API; 0 for a base that runs here."""
    tariff: Price | None = None
    """The base's price per token; None for a base that runs here, which costs machine time."""
    concurrency: int = 1
    """Calls to a base behind an API in flight at once."""
    teacher: Callable[[str], Answerer] | None = field(default=None, compare=False, repr=False)
    """Looks a teacher up by the name that an option gives it: tuning also tries teachers that the task does not name."""
    sizes: Callable[[str], tuple[int, int]] | None = field(default=None, compare=False, repr=False)
    """Looks up the parameters of another encoder that an option names, and how many of these are its token embedding table."""
    pairs: int = 0
    """Preferences: pairs of answers, or votes."""
    pair_tokens: float = 0.0
    """Mean tokens of a preference: its question, counted once, and its answers."""
    seen: Mapping[StopBehaviour, Seen] = field(default_factory=dict, hash=False)
    """What a few answers showed of models with each stop behaviour."""

    def of(self, teacher: str) -> Facts:
        """These facts with the teacher in place of the base; unchanged if no teacher is named."""
        if not teacher or not self.teacher:
            return self
        who = self.teacher(teacher)
        return replace(
            self,
            parameters=who.parameters,
            call_seconds=who.call_seconds,
            tariff=who.tariff,
            concurrency=who.concurrency,
            seen={},
        )

    @property
    def right_lengths(self) -> tuple[float, ...]:
        """Tokens of right answers: of a sample of them, or the mean alone."""
        return self.answer_lengths or (self.output_tokens,)

    @property
    def encoder_computing(self) -> int:
        """Parameters of the encoder that every token is computed with."""
        return self.encoder_parameters - self.encoder_table

    def reader(self, name: str) -> tuple[int, int]:
        """Parameters of a cross-encoder, and those that every token is computed with. `name`: empty for the task's encoder."""
        if not name or not self.sizes:
            return self.encoder_parameters, self.encoder_computing
        whole, table = self.sizes(name)
        return whole, whole - table
