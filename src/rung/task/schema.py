"""The schema of rung.yaml: a frozen Task; every error names line, value and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PrivateAttr,
    SerializerFunctionWrapHandler,
    ValidationInfo,
    field_validator,
    model_serializer,
    model_validator,
)

from rung.task import base_names
from rung.task.labels import NONE_OF_THESE, OTHER, in_order
from rung.task.labels import labels as as_labels
from rung.task.sections import Api, Budget, Data, Goal, Judge, TaskNeeds, TokenPrice
from rung.task.values import Model, Number, Path_, Section, Text, Whole
from rung.types import Kind, digest

DEFAULT_METRIC: dict[Kind, str] = {"classify": "accuracy", "extract": "field_f1", "answer": "token_f1", "generate": "rouge_l"}
AUTO = ("auto",)
"""`bases` that are still to be chosen, by `rung.climbing.auto_bases`."""
MULTILABEL_METRIC = "micro_f1"
"""The default metric where a row may have several labels."""
TOOLS_METRIC = "tool_calls"
"""The default metric where answers are calls of tools."""


class Task(Section):
    """A task: the job, its rows, its goal and its limits. Frozen; created by `load_task`."""

    task: Text
    """The instruction, as you would give it to a person."""
    kind: Kind
    """classify (one of some labels), extract (fields as JSON), answer (a short text) or generate (a longer text)."""
    data: Data
    """Where the rows are."""
    other: bool = False
    """For classify: whether an input may be unlike all of train; it is answered `other`. Rungs with an encoder learn when."""
    labels: Annotated[dict[str, str] | None, BeforeValidator(as_labels)] = None
    """For classify: the labels, as a list or as label: description. By default those seen in the data."""
    multilabel: bool = False
    """For classify: whether a row may have several labels or none, as a list or as text separated by |, ; or , in its cell."""
    tools: Path_ | None = None
    """For extract: a JSON file of tools in OpenAI's form; outputs are calls of them, checked and decoded by their parameters."""
    base: Model = "smollm2-135m-instruct"
    """The language model to adapt; behind an API as openai:MODEL, or http://host:8000/v1#MODEL for any OpenAI-compatible one; in
    a vLLM server as vllm:MODEL, or vllm:http://host:8000#MODEL."""
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
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of frozen weights on a CPU: auto is bfloat16 beside adapters where faster, bfloat16 also in an untrained base."""
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
        server, model = base_names.split_server(model)
        path = self.folder / model
        return server + (str(path) if path.exists() else model)

    def only(self, *rungs: str) -> Task:
        """The same task with these rungs alone; one that names no base is tried on the usual one."""
        named = (f"{rung}@{self.base}" if self.bases not in ((), AUTO) and "@" not in rung else rung for rung in rungs)
        return self.model_copy(update={"rungs": tuple(named)})

    @property
    def digest(self) -> str:
        """Digest of the task with defaults. The folder is not part of it, so a task can be moved."""
        content = self.model_dump(mode="json")
        if content["precision"] == "auto":  # added later: older digests stay
            content.pop("precision")
        return digest(content)
