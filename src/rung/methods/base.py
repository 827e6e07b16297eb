"""What a method is: facts about it as class fields, options as dataclass fields, and two verbs, `estimate` and `fit`."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

from rung.lm.engines import Engines
from rung.machine import Machine
from rung.methods import option
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.predictor import Predictor
from rung.types import Example, Need, TrainData


class Family(enum.StrEnum):
    """What kind of change a method makes. The flowchart advises on families, lightest first; each method names its own."""

    BASELINE = "baselines"
    PROMPTING = "prompting"
    DEMONSTRATIONS = "demonstrations"
    RETRIEVAL = "retrieval"
    ENCODER = "small encoders"
    ADAPTERS = "adapters"
    HYBRID = "retrieval with adapters"
    """Of rungs that do both; no single method belongs to it."""
    DISTILLATION = "distillation"
    FULL = "full fine-tuning"
    PREFERENCE = "preference tuning"
    REWARD = "reward tuning"
    CONTINUED = "continued pre-training"
    PRETRAINING = "pre-training"


class MetricUse(enum.Enum):
    """When a fit depends on the task's metric: the stored fit of another metric is then not reused."""

    NEVER = enum.auto()
    EARLY_STOPPING = enum.auto()
    """Only if `patience` is set: the best epoch is chosen by it."""
    ALWAYS = enum.auto()


@dataclass(frozen=True)
class Run:
    """Where a fit works and whom it reports to. Only the seed and the reward change what is fitted."""

    folder: Path
    """The fit's own folder: files of the Predictor are written here; `work/` in it survives a killed process."""
    engines: Engines
    seed: int = 0
    progress: Callable[[str, float], None] = lambda text, share: None
    """Receives what is going on and the share that is done, 0 to 1."""
    deadline: float = float("inf")
    """`time.monotonic()` after which the fit must stop with a BudgetError."""
    shared: Path | None = None
    """A folder that all fits of the task share, such as for the document index. None: the fit's own."""
    reward: Callable[[str, Example], float] = lambda answer, example: float(
        answer.strip() in {one.strip() for one in example.accepted}
    )
    """From an answer and its row of train to the task's metric, 0 to 1: chooses epochs and rewards answers."""
    counts_labels_alike: bool = False
    """Whether the task's metric counts each label alike, however many rows it has: macro F1."""
    home: Path = Path()
    """The task's folder, which paths in options are relative to."""
    trackers: tuple[str, ...] = ()
    """Experiment trackers to report training to, by transformers' names (tensorboard, wandb, mlflow, trackio, …)."""
    notes: dict[str, Any] = field(default_factory=dict)
    """What the fit found and the record should store: curves, trained parameters, chosen settings."""


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A way of adapting a Predictor; a frozen dataclass that inherits from this.

    Options are the dataclass's fields; their docstrings are the user's help, and their bounds (`rung.methods.option`) are
    checked whenever a method is made.
    """

    name: ClassVar[str]
    """In messages and in the keys of stored fits."""
    family: ClassVar[Family | None] = None
    """None: the flowchart gives no advice on it."""
    needs: ClassVar[frozenset[Need]] = frozenset()
    """What the task must have; `fit` receives the data of these needs only."""
    fit_version: ClassVar[int] = 1
    """Raised when the same options and data would now give another Predictor."""
    own_model: ClassVar[bool] = False
    """Whether it answers with a model of its own and asks nothing of the base."""
    checkpoints: ClassVar[bool] = False
    """Whether a killed fit resumes from a checkpoint, although its family trains no language model. Its kills are counted."""
    costs_like: ClassVar[str] = ""
    """The method whose measured costs correct the estimate of this one's, as long as none of its own are known."""
    quick: ClassVar[bool] = False
    """Whether it trains nothing and is fitted in seconds, so that a climb may ask the rung a few rows before it is estimated."""
    metric_use: ClassVar[MetricUse] = MetricUse.NEVER
    """Whether what is fitted depends on the task's metric."""
    folds: ClassVar[int] = 2
    """Parts of train, each answered by a fit on the others, where its confidence in new rows is wanted; more are surer and cost
    as many fits. 0: a train row is answered like a new one, since its right answer is never learnt nor shown with it."""

    def __post_init__(self) -> None:
        """TaskError for an option of another type or outside its bounds. A subclass with its own calls this one first."""
        defaults = {one.name: one.default for one in fields(self)}
        given = {name: value for name in defaults if (value := getattr(self, name)) is not defaults[name]}
        for name, value in option.checked(type(self), given, self.name, defaults).items():
            object.__setattr__(self, name, value)

    @property
    def teacher(self) -> str:
        """A second model that it asks, local or behind an API; empty for none. Override it with an option."""
        return ""

    @property
    def freezes(self) -> bool:
        """Whether the base's linear layers stay as they are while it trains beside them, so that they may be bfloat16."""
        return False

    @property
    def patience(self) -> int:
        """Rounds without improvement after which training stops; 0 for never. Override it with an option."""
        return 0

    @property
    def reward(self) -> str:
        """The team's own reward function, `file.py:function`; empty for none. Override it with an option."""
        return ""

    def again(self, notes: Mapping[str, Any]) -> Method:
        """This method for a fit on other rows that is to be like one already made, whose `Run.notes` these are.

        Override it if a fit chooses settings that the scale of its confidences depends on.
        """
        return self

    @abstractmethod
    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        """The estimate with this method added; pure and instant."""

    @abstractmethod
    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        """A new Predictor; `start` stays as it is."""


def options(method: Method) -> dict[str, Any]:
    """A method's options by name."""
    return asdict(method)
