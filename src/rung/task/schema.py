"""The schema of rung.yaml: a frozen Task; every error names line, value and remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    Strict,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from rung.errors import TaskError
from rung.task import base_names, limits
from rung.task.bounds import shorten
from rung.task.faults import all_faults
from rung.task.labels import NONE_OF_THESE, OTHER, in_order
from rung.task.labels import labels as as_labels
from rung.task.reading import line_of, read_yaml
from rung.types import Kind, digest

FILE_NAME = "rung.yaml"
DEFAULT_METRIC: dict[Kind, str] = {"classify": "accuracy", "extract": "field_f1", "answer": "token_f1", "generate": "rouge_l"}
AUTO = ("auto",)
"""`bases` that are still to be chosen, by `rung.climbing.auto_bases`."""
MULTILABEL_METRIC = "micro_f1"
"""The default metric where a row may have several labels."""
TOOLS_METRIC = "tool_calls"
"""The default metric where answers are calls of tools."""

Text = Annotated[str, Field(min_length=1)]
Whole = Annotated[int, Strict()]  # not lax: `volume: true` would be read as 1
Number = Annotated[float, Strict(), Field(allow_inf_nan=False)]
Path_ = Annotated[Text, Field(max_length=4096), AfterValidator(limits.path)]
Paths = Annotated[
    tuple[Path_, ...], Field(max_length=1000), BeforeValidator(lambda value: (value,) if isinstance(value, str) else value)
]
Model = Annotated[Text, Field(max_length=4096), AfterValidator(limits.model)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Fractions(_Section):
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


class Data(_Section):
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


class Goal(_Section):
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


class Budget(_Section):
    minutes: Annotated[Number, Field(gt=0)] | None = None
    """Longest time that one climb may take, in minutes."""
    usd: Annotated[Number, Field(ge=0)] | None = None
    """Most that calls to models behind an API may cost on this task, all climbs together, in US dollars."""
    calls: Annotated[Whole, Field(ge=0)] | None = None
    """Most calls to models behind an API on this task, failed ones included."""
    tokens: Annotated[Whole, Field(ge=0)] | None = None
    """Most tokens that models behind an API may read and write on this task."""


class Api(_Section):
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


class TokenPrice(_Section):
    input: Annotated[Number, Field(ge=0)]
    """US dollars per million tokens read."""
    output: Annotated[Number, Field(ge=0)]
    """US dollars per million tokens written."""
    cached: Annotated[Number, Field(ge=0)] | None = None
    """US dollars per million tokens read that the seller finds in its prompt cache; by default as `input`."""


class Judge(_Section):
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


class TaskNeeds(_Section):
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


class Task(_Section):
    """A task: the job, its rows, its goal and its limits. Frozen; created by `load_task`."""

    task: Text
    """The instruction, as you would give it to a person."""
    kind: Kind
    """classify (one of some labels), extract (fields as JSON), answer (a short text) or generate (a longer text)."""
    data: Data
    """Where the rows are."""
    other: bool = False
    """For classify: whether an input may be unlike all of train; it is answered `other`. `encoder` chooses on train when."""
    labels: Annotated[dict[str, str] | None, BeforeValidator(as_labels)] = None
    """For classify: the labels, as a list or as label: description. By default those seen in the data."""
    multilabel: bool = False
    """For classify: whether a row may have several labels or none, as a list or as text separated by |, ; or , in its cell."""
    tools: Path_ | None = None
    """For extract: a JSON file of tools in OpenAI's form; outputs are calls of them, checked and decoded by their parameters."""
    base: Model = "smollm2-135m-instruct"
    """The language model to adapt; behind an API as openai:MODEL, or http://host:8000/v1#MODEL for any OpenAI-compatible one."""
    bases: Annotated[tuple[Model, ...], Field(max_length=100), AfterValidator(base_names.distinct)] = ()
    """Several base models instead of `base`, the usual one first: every rung is tried on each that can serve it; or `auto`."""
    encoder: Model = "all-minilm-l6-v2"
    """The embedding model for the rungs that compare or classify by embeddings."""
    goal: Goal
    """What is good enough."""
    judge: Judge | None = None
    """The model that scores answers where goal.metric is judge."""
    volume: Annotated[Whole, Field(ge=1)] = 1000
    """Calls a month; it joins the cost of training with that of running."""
    budget: Budget = Budget()
    """What may be spent on finding out."""
    api: Api = Api()
    """How a model behind an API is asked."""
    prices: dict[str, TokenPrice] = {}
    """Your own prices for models behind an API, as model: {input: …, output: …}; the table knows a few."""
    needs: TaskNeeds = TaskNeeds()
    """What the flowchart of `rung plan` asks; what is left out is read off the data or assumed."""
    rungs: Annotated[tuple[Text, ...], Field(min_length=1, max_length=1000)] | None = None
    """Names of the rungs to try, instead of all that fit; RUNG@BASE means that base alone, A>B a cascade of two rungs."""
    race: bool = False
    """Whether a climb asks the dev rows in looks and stops early where a rung clearly meets the goal or cannot."""
    methods: dict[str, dict[str, Any]] = {}
    """Options per method, as method: {option: value}."""
    machine_usd_per_hour: Annotated[Number, Field(ge=0)] | None = None
    """Your own price for an hour of this machine, in US dollars."""
    seed: Whole = 0
    """Same seed, same splits and same fits."""
    trackers: Annotated[tuple[Text, ...], Field(max_length=20)] = ()
    """Experiment trackers that training reports to, by transformers' names: tensorboard, wandb, mlflow, trackio, …"""

    _folder: Path = PrivateAttr(default=Path())

    @model_validator(mode="before")
    @classmethod
    def _usual_base(cls, given: Any) -> Any:
        bases = given.get("bases") if isinstance(given, dict) else None
        if bases == AUTO[0]:
            bases = AUTO
            given = {**given, "bases": AUTO}
        if not isinstance(bases, list | tuple) or not bases:
            return given
        if len(bases) > 1 and AUTO[0] in bases:
            raise ValueError("auto stands alone. Write `bases: auto`, or name all bases.")
        if "base" in given:
            raise ValueError("`base` and `bases` cannot be combined. Name all under `bases`, the default first.")
        return given if tuple(bases) == AUTO else {**given, "base": bases[0]}

    @model_serializer(mode="wrap")
    def _as_given(self, plainly: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """With `base` or `bases`, never both, so that the result can be loaded again."""
        content = plainly(self)
        content.pop("base" if self.bases else "bases", None)
        return content

    @field_validator("labels", mode="after")
    @classmethod
    def _with_other(cls, labels: dict[str, str] | None, info: ValidationInfo) -> dict[str, str] | None:
        return {**labels, OTHER: labels.get(OTHER) or NONE_OF_THESE} if labels and info.data.get("other") else labels

    @field_validator("goal", mode="after")
    @classmethod
    def _default_metric(cls, goal: Goal, info: ValidationInfo) -> Goal:
        if goal.metric == "quadratic_kappa" and (order := tuple(info.data.get("labels") or ())):
            return goal.model_copy(update={"metric": in_order(order)})
        if goal.metric or "kind" not in info.data:
            return goal
        usual = DEFAULT_METRIC[info.data["kind"]]
        if info.data.get("multilabel"):
            usual = MULTILABEL_METRIC
        elif info.data.get("tools"):
            usual = TOOLS_METRIC
        return goal.model_copy(update={"metric": usual})

    @model_validator(mode="after")
    def _labels_fit_kind(self) -> Self:
        if self.labels is not None and self.kind != "classify":
            raise ValueError(f"`labels` need kind: classify, but kind is {self.kind}. Remove them, or set kind: classify.")
        if self.data.alternatives and self.kind == "classify":
            raise ValueError("kind is classify, where a row has its labels and no alternatives. Remove data.alternatives.")
        if self.multilabel and self.kind != "classify":
            raise ValueError(f"`multilabel` needs kind: classify, but kind is {self.kind}. Remove it, or set kind: classify.")
        if self.data.turns == "every" and self.kind not in ("answer", "generate"):
            raise ValueError(f"data.turns: every needs kind: answer or generate, but kind is {self.kind}. Remove it.")
        if self.other and (self.kind != "classify" or self.multilabel):
            raise ValueError("`other` needs kind: classify with one label a row. Remove it.")
        if self.tools and self.kind != "extract":
            raise ValueError(f"`tools` need kind: extract, but kind is {self.kind}. Remove them, or set kind: extract.")
        return self

    @model_validator(mode="after")
    def _judge_fits_goal(self) -> Self:
        if (self.goal.metric == "judge") != bool(self.judge):
            there = "given" if self.judge else "missing"
            raise ValueError(f"goal.metric is {self.goal.metric}, but `judge` is {there}. Use both or neither.")
        if self.judge and self.kind == "classify":
            raise ValueError("kind is classify, where a judge is not needed. Use accuracy or macro_f1.")
        return self

    @model_validator(mode="after")
    def _races_answer_all(self) -> Self:
        if self.race and self.goal.coverage is not None:
            raise ValueError("`race` cannot be combined with goal.coverage: its early looks are at one score. Drop one of them.")
        return self

    @property
    def folder(self) -> Path:
        """The folder of rung.yaml; its paths are relative to it."""
        return self._folder

    def place(self, model: str) -> str:
        """A model's name; relative paths are resolved against the folder of rung.yaml."""
        path = self.folder / model
        return str(path) if path.exists() else model

    def only(self, *rungs: str) -> Task:
        """The same task with these rungs alone; one that names no base is tried on the usual one."""
        named = (f"{rung}@{self.base}" if self.bases not in ((), AUTO) and "@" not in rung else rung for rung in rungs)
        return self.model_copy(update={"rungs": tuple(named)})

    @property
    def digest(self) -> str:
        """Digest of the task with defaults. The folder is not part of it, so a task can be moved."""
        return digest(self.model_dump(mode="json"))


def load_task(folder: Path) -> Task:
    """Load the task in `folder` (or a YAML file). All errors are reported in one TaskError."""
    path = Path(folder)
    path = path / FILE_NAME if path.is_dir() else path
    tree, raw = read_yaml(path)
    try:
        task = Task.model_validate(raw)
    except ValidationError as error:
        raise all_faults(error, tree, path.name, Task) from None
    task._folder = path.parent.resolve()
    for loc, names in _files(task):
        for name, what in limits.plain_files(task._folder, names):
            where = f"{path.name} line {line_of(tree, loc)}"
            raise TaskError(
                f"'{'.'.join(loc)}': {shorten(name)!r} {what}.", where=where, remedy="Name a regular file or a folder."
            )
    return task


def _files(task: Task) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Keys that name files, with the names."""
    for key in Data.model_fields:
        value = getattr(task.data, key)
        if isinstance(value, tuple):
            yield ("data", key), value
    if task.tools:
        yield ("tools",), (task.tools,)
    if task.judge:
        yield ("judge", "marked"), task.judge.marked
        yield ("judge", "rubric_file"), tuple(filter(None, [task.judge.rubric_file]))
