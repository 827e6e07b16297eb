"""Small trained parts other than LoRA: factors, norms, biases, bottlenecks, and virtual tokens before every row.

IA3: https://arxiv.org/abs/2205.05638. Layer-norm tuning: https://arxiv.org/abs/2312.11420. BitFit: https://arxiv.org/abs/2106.10199.
Bottleneck adapters: https://arxiv.org/abs/1902.00751. Prompt tuning: https://arxiv.org/abs/2104.08691. Prefix tuning:
https://arxiv.org/abs/2101.00190.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from rung.errors import TaskError
from rung.machine import Machine
from rung.methods import tuning
from rung.methods.base import Family, MetricUse, Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.methods.option import Count, Natural, Rate
from rung.methods.shared_options import AnswerOptions
from rung.predictor import Predictor
from rung.types import Need, TrainData

if TYPE_CHECKING:
    from rung.lm.models.load import Loaded

Kind = Literal["ia3", "layernorm", "bitfit", "bottleneck", "prompt", "prefix"]
KINDS: dict[Kind, float] = {
    "ia3": 4e-4,
    "layernorm": 3e-4,
    "bitfit": 1e-3,
    "bottleneck": 2e-2,
    "prompt": 1e-4,
    "prefix": 2e-3,
}
"""By kind, about what share of the parameters it trains, for the estimate."""


OWN = ("layernorm", "bitfit", "bottleneck")
"""Kinds that train in the base's own data type: bfloat16 would round their small steps away, so the base is made float32."""


@dataclass(frozen=True, kw_only=True)
class Peft(AnswerOptions):
    name: ClassVar[str] = "peft"
    family: ClassVar[Family] = Family.ADAPTERS
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXAMPLES, Need.OPEN_WEIGHTS})
    fit_version: ClassVar[int] = 4
    metric_use: ClassVar[MetricUse] = MetricUse.EARLY_STOPPING

    kind: Kind = "ia3"
    """What is trained: ia3, layernorm, bitfit, bottleneck, prompt or prefix."""
    size: Natural = 0
    """Width of a bottleneck, or number of virtual tokens of a prompt or prefix; the other kinds ignore it."""
    learning_rate: Rate = 1e-3
    """Highest step size. It changes the result more than the kind does."""
    epochs: Count = 8
    """Times that each row is seen at most."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind in ("bottleneck", "prompt", "prefix") and self.size < 1:
            raise TaskError(
                f"size must be at least 1 for the kind {self.kind}, got {self.size}.",
                where=f"{self.name}.size",
                remedy="The default is 64 for a bottleneck, and 20 for a prompt or prefix.",
            )

    @property
    def freezes(self) -> bool:
        return True

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        load = self.load(KINDS[self.kind], wide=self.kind in OWN)
        return tuning.training_estimate(start, facts, machine, load)

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:

        # a model that is trained on the labels need not be shown them
        start = replace(start, show_labels=False)
        loaded = tuning.open_model(start, run, freezes=self.freezes)
        mixed = self.kind in OWN and tuning.widened(loaded, run)
        loaded = replace(loaded, model=self._adapted(loaded, start, run.seed))
        plan = self.plan(run, self.learning_rate, mixed=mixed)
        history = tuning.on_examples(loaded, start, data, plan, run)
        return tuning.keep_adapter(loaded, start, history, run)

    def _adapted(self, loaded: Loaded, start: Predictor, seed: int) -> Any:
        from rung.lm.models import adapters, own_adapters
        from rung.lm.trees import virtual

        def words() -> list[int]:
            return virtual.initial_tokens(loaded.chat, "\n".join([start.instruction, *start.labels]), self.size)

        made: dict[Kind, Callable[[], Any]] = {
            "ia3": lambda: adapters.ia3(loaded.model),
            "layernorm": lambda: adapters.norms(loaded.model),
            "bitfit": lambda: own_adapters.biases(loaded.model),
            "bottleneck": lambda: own_adapters.bottleneck(loaded.model, self.size, seed),
            "prompt": lambda: adapters.prompt(loaded.model, words()),
            "prefix": lambda: adapters.prefix(loaded.model, words()),
        }
        return made[self.kind]()
