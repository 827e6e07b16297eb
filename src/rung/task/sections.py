"""The sections of rung.yaml: data, goal, budget, API, prices, judge and needs."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, field_validator, model_validator

from rung.task import limits
from rung.task.screening import Screening
from rung.task.values import Model, Number, Path_, Paths, Section, Text, Whole


class Fractions(Section):
    dev: Annotated[Number, Field(gt=0, lt=1)] = 0.25
    """Share of the rows held back for deciding, between 0 and 1."""
    test: Annotated[Number, Field(gt=0, lt=1)] = 0.25
    """Share of the rows sealed for the number that is quoted, between 0 and 1."""
    most: Annotated[Whole, Field(ge=40)] | Literal["all"] | None = None
    """Most dev and test rows that are used, together. By default as many as prove a rung 0.02 above the goal; `all` uses each."""

    @model_validator(mode="after")
    def _leave_some(self) -> Self:
        if self.dev + self.test >= 1:
            raise ValueError(f"split.dev {self.dev:g} and split.test {self.test:g} leave nothing to train on. Reduce them.")
        return self


class Data(Section):
    examples: Paths = ()
    """File, folder or list of files with all the rows; `rung` splits them."""
    train: Paths = ()
    """Instead of `examples`: the rows to learn from, where you have split them yourself."""
    dev: Paths = ()
    """The rows to decide on; carved from `train` where absent."""
    test: Paths = ()
    """The rows sealed for the final number; carved from `train` where absent."""
    input: Text = "input"
    """Column that comes in. Naming it turns the detection of chat, Alpaca and ShareGPT rows off."""
    output: Text = "output"
    """Column that should come out. Naming it turns the detection of chat, Alpaca and ShareGPT rows off."""
    alternatives: Annotated[tuple[Text, ...], Field(max_length=100)] = ()
    """Columns with further right answers, whose empty cells are left out. The best of all right answers counts."""
    preferences: Paths = ()
    """Pairs of answers, the better and the worse (prompt, chosen, rejected), or single votes (prompt, completion, label)."""
    corpus: Paths = ()
    """Raw text of your domain, files or folders, for continued pre-training or pre-training."""
    general: Paths = ()
    """General text of your own, to replay in training and to measure forgetting on; by default the package's small probe."""
    screening: Screening = Screening()
    """Which documents of `corpus` and `general` are left out of training."""
    documents: Annotated[Paths, AfterValidator(limits.patterns)] = ()
    """What answers are looked up in: folders, files or patterns such as docs/**/*.md."""
    access: Annotated[dict[Path_, str], Field(max_length=1000)] = {}
    """Documents that not all may see, as pattern: label. Of several patterns that cover one the last holds; "" opens again."""
    source: Text | None = None
    """Column that names the document (or document#passage) which holds the answer."""
    unlabelled: Paths = ()
    """Inputs without an answer, for a teacher or `rung label`."""
    group: Text | None = None
    """Column whose rows belong together (a customer, a document) and never stand in two splits."""
    turns: Literal["last", "every"] = "last"
    """Which answers of a conversation are scored: the last one, or every one of the assistant's."""
    split: Fractions = Fractions()
    """Shares of the rows held back."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.examples and (self.train or self.dev or self.test):
            raise ValueError("`examples` cannot be combined with `train`, `dev` or `test`. With files per split, use `train`.")
        if not self.examples and not self.train:
            raise ValueError("there are no rows: neither `examples` nor `train` is given. Name your file under `examples`.")
        if self.access and not self.documents:
            raise ValueError("`access` needs `documents`. Name them, or remove it.")
        return self


class Goal(Section):
    metric: str = ""
    """A metric's name, or your own function as `metrics.py:score`. By default what fits `kind`."""
    at_least: Annotated[Number, Field(ge=0, le=1)]
    """The score to reach, from 0 to 1."""
    coverage: Annotated[Number, Field(gt=0, lt=1)] | None = None
    """Least share of rows to answer: a rung may leave the others as not sure, and the score is over the rows it answers."""
    latency_ms: Annotated[Number, Field(gt=0)] | None = None
    """Longest answer time allowed, in milliseconds, for 95 of 100 requests."""
    usd_per_1k: Annotated[Number, Field(ge=0)] | None = None
    """Most that 1,000 calls may cost, in US dollars."""
    usd_per_month: Annotated[Number, Field(ge=0)] | None = None
    """Most that a month may cost at the stated volume, in US dollars."""
    max_forgetting: Annotated[Number, Field(ge=0)] | None = None
    """Most that the loss on general text may rise over the untouched model's, in nats a token."""


class Budget(Section):
    minutes: Annotated[Number, Field(gt=0)] | None = None
    """Longest time that one climb may take, in minutes."""
    usd: Annotated[Number, Field(ge=0)] | None = None
    """Most that calls to models behind an API may cost on this task, all climbs together, in US dollars."""
    calls: Annotated[Whole, Field(ge=0)] | None = None
    """Most calls to models behind an API on this task, failed ones included."""
    tokens: Annotated[Whole, Field(ge=0)] | None = None
    """Most tokens that models behind an API may read and write on this task."""


class Api(Section):
    key_env: str = ""
    """Name of the environment variable that holds the key. By default OPENAI_API_KEY for `openai:NAME`, none for a URL."""
    concurrency: Annotated[Whole, Field(ge=1, le=1000)] = 8
    """Requests under way at once."""
    timeout_s: Annotated[Number, Field(gt=0)] = 120.0
    """Longest silence of the server, in seconds, before a request counts as failed."""
    retries: Annotated[Whole, Field(ge=0)] = 6
    """Times that a failed request is sent again."""
    cache: bool = True
    """Whether answers are kept, so that the same question is never paid twice."""

    @field_validator("key_env", mode="before")
    @classmethod
    def _names_a_variable(cls, value: Any) -> Any:
        """The error omits the value, which may be a key that was put here by mistake."""
        if value is None or (isinstance(value, str) and re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)?", value)):
            return value
        raise ValueError("this is not a variable name. Put the key into the environment, and the variable's name here.")


class TokenPrice(Section):
    input: Annotated[Number, Field(ge=0)]
    """US dollars per million tokens read."""
    output: Annotated[Number, Field(ge=0)]
    """US dollars per million tokens written."""
    cached: Annotated[Number, Field(ge=0)] | None = None
    """US dollars per million tokens read that the seller finds in its prompt cache; by default as `input`."""


class Judge(Section):
    model: Model
    """The model that judges, as `base` is named. There is no default: it is yours to choose and to trust."""
    form: Literal["rubric", "pairwise"] = "rubric"
    """rubric (a mark for each answer) or pairwise (each answer against the right one, shown in both orders)."""
    rubric: str = ""
    """What makes an answer good, as you would tell it to a person; with marks, what the lowest and the highest stand for."""
    rubric_file: Path_ | None = None
    """Instead of `rubric`: a text file that holds it."""
    points: Annotated[Whole, Field(ge=2, le=10)] = 5
    """The highest mark of a rubric; the lowest is 1."""
    marked: Paths = ()
    """Answers that people marked: input, output, reference, mark; or for pairwise input, first, second, better."""
    least_agreement: Annotated[Number, Field(ge=0, lt=1)] = 0.4
    """Cohen's kappa with people's marks that the judge must be shown to reach before it may decide anything."""

    @model_validator(mode="after")
    def _one_rubric(self) -> Self:
        if bool(self.rubric.strip()) == bool(self.rubric_file):
            raise ValueError("exactly one of `rubric` and `rubric_file` is needed, to say what makes an answer good.")
        return self


YesNo = Literal["yes", "no"]


class TaskNeeds(Section):
    external_knowledge: YesNo | None = None
    """Whether answers need facts that stand neither in the input nor in a general model."""
    changing: YesNo | None = None
    """Whether those facts change within months."""
    must_cite: YesNo | None = None
    """Whether an answer must name its source."""
    own_style: YesNo | None = None
    """Whether answers must keep to a tone, a format or a vocabulary of your own."""
    hallucination: Literal["never", "seldom", "tolerated"] | None = None
    """How often an invented answer may be given."""
    keep_general_skills: YesNo | None = None
    """Whether the model does other work too, so that its general skills must survive."""
    new_language: YesNo | None = None
    """Whether the inputs are in a language or notation that the base model hardly knows."""
    checkable: YesNo | None = None
    """Whether a program can tell a right answer from a wrong one, so that it can reward them."""
    labels_clean: YesNo | None = None
    """Whether the examples are consistent and free of mistakes."""
    data_may_leave: YesNo | None = None
    """Whether the data may be sent to a model outside the house."""
    teacher: Literal["none", "local", "remote"] | None = None
    """The stronger model that may label inputs: none, one of your own, or one behind an API."""
    expertise: Literal["none", "some", "much"] | None = None
    """The team's experience in training models."""
    money_usd: Annotated[Number, Field(ge=0)] | None = None
    """Most that building one rung may cost, in US dollars."""
