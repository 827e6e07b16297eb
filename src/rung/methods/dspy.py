"""DSPy's optimizers (https://dspy.ai, MIT, the extra `dspy`), with the same check on fresh rows as rung's own search.

They write instructions and collect demonstrations. The result is an ordinary Predictor. They return what scored best on the rows
they searched on, so it is only accepted if it also wins on fresh rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Literal

from rung.errors import ModelError
from rung.machine import Machine
from rung.methods.base import Family, Method, MetricUse, Run
from rung.methods.confirm import SearchBudget, conclude, confirmed, front, parts, within
from rung.methods.estimate import CostEstimate, with_calls
from rung.methods.facts import Facts
from rung.methods.option import Count
from rung.predictor import Predictor
from rung.sequential.interim import MIN_ROWS
from rung.sequential.race import in_order
from rung.types import Example, Need, TrainData

Optimizer = Literal["bootstrap", "mipro", "copro"]


@dataclass(frozen=True, kw_only=True)
class Dspy(Method):
    name: ClassVar[str] = "dspy"
    family: ClassVar[Family] = Family.PROMPTING
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXAMPLES})
    fit_version: ClassVar[int] = 1
    metric_use: ClassVar[MetricUse] = MetricUse.ALWAYS

    optimizer: Optimizer = "bootstrap"
    """bootstrap: demonstrations that the model itself gets right (BootstrapFewShotWithRandomSearch). mipro: those and written
    instructions, by Bayesian search (MIPROv2). copro: instructions alone. These two need a teacher that follows DSPy's format."""
    calls: Count = 1500
    """Most rows asked in all, proposals included."""
    shots: Count = 8
    """Most demonstrations in a prompt."""
    teacher: str = ""
    """A base that writes the instructions. Empty for the model itself."""

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        demos = self.shots * (facts.input_tokens + facts.output_tokens)
        # as if all calls were rows: the optimizer decides how many instructions a teacher writes
        one = replace(start, shared_tokens=start.shared_tokens + demos / 2)  # about half of what is tried shows them
        return replace(with_calls(start, self.calls, one, facts), shared_tokens=start.shared_tokens + demos)

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        budget = SearchBudget(run, self.calls, run.deadline)
        shown, rows, fresh = parts(in_order(data.examples, run.seed))
        fresh = front(fresh, self.calls // 6)  # asked of two Predictors: a third of the budget
        rows, shown = front(rows, self.calls // 12), front(shown, self.calls // 12)
        if min(len(rows), len(fresh)) < MIN_ROWS or not shown:
            return conclude(start, f"no gain: {len(data.examples)} rows are too few to search and to confirm on", [], budget)
        return within(start, budget, self.name, lambda: self._searched(start, shown, rows, fresh, budget))

    def _searched(
        self, start: Predictor, shown: list[Example], rows: list[Example], fresh: list[Example], budget: SearchBudget
    ) -> Predictor:
        try:
            from rung.methods import dspy_program
        except ImportError as error:
            raise ModelError("the rung dspy needs DSPy, which is not installed.", remedy="pip install 'rung[dspy]'.") from error
        run = budget.run
        writer = run.engines.open(run.engines.reference(self.teacher) if self.teacher else start.model)
        bare = replace(start, calibration=None)  # a calibration is valid for one prompt only
        task = dspy_program.Task(bare, shown, rows, budget)
        best = dspy_program.search(task, self.optimizer, self.shots, self.calls // 3 * 2, writer, run.seed)
        if best.predictor.digest == start.digest:
            return conclude(start, "no gain: nothing that DSPy tried did better than the start", task.summary(), budget)
        return confirmed(start, best, fresh, task.summary(), budget)
