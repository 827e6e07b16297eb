"""A Predictor as a DSPy program, and an engine as a DSPy language model: the one file that imports DSPy.

The program's one step answers through the Predictor, so the search optimises the prompt that will be served, with labels
scored exactly and shared prefixes computed once. DSPy's own templates are not used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest.mock import patch

import dspy
import tqdm
from dspy.lm15 import Message as Answered
from dspy.lm15 import Request, Response, Usage, response_to_events
from dspy.teleprompt import bootstrap, copro_optimizer, mipro_optimizer_v2, random_search
from dspy.utils.exceptions import AdapterParseError

from rung.errors import ModelError
from rung.lm.base import Decoding, Engine, Prompt
from rung.methods.confirm import SearchBudget
from rung.methods.proposing import Tried
from rung.metrics import interval
from rung.predictor import Predictor
from rung.types import Example, Message

RIGHT = 0.5
"""Least score of an answer that may become a demonstration."""
MOST_CANDIDATES = 16
"""DSPy's own default."""


@dataclass
class Task:
    """What a search works on, and the answers so far."""

    start: Predictor
    shown: Sequence[Example]
    """Where demonstrations come from."""
    rows: Sequence[Example]
    """What candidates are scored on."""
    budget: SearchBudget
    had: dict[str, tuple[Tried, dict[str, str | None]]] = field(default_factory=dict)
    """By a Predictor's digest: the candidate, and its answers to all `rows`, by input."""

    begun: str = ""
    """The start's instruction as DSPy stores it, with whitespace trimmed."""

    def __deepcopy__(self, memo: object) -> Task:
        return self  # DSPy copies the program for every candidate; all copies share this

    def row(self, asked: str) -> Example:
        """The row with this input: DSPy sees no earlier turns and no other columns, but the Predictor and the metric do."""
        return next(row for row in (*self.rows, *self.shown) if row.input == asked)

    def tried(self, step: Any) -> Tried:
        """The Predictor that a step of a program stands for."""
        demos = tuple(replace(self.row(demo["input"]), output=demo["output"]) for demo in step.demos)
        fixed = demos or self.start.demos.fixed
        words = self.start.instruction if step.signature.instructions == self.begun else step.signature.instructions
        found = replace(self.start, instruction=words, demos=replace(self.start.demos, fixed=fixed))
        summary = [f"instruction {words!r}"] if words != self.start.instruction else []
        return Tried(", ".join([*summary, f"{len(demos)} examples"]), found)

    def answer(self, step: Any, asked: str) -> str:
        """One row's answer. The first of `rows` to be asked brings all in a batch, since DSPy asks for the others next."""
        tried, row = self.tried(step), self.row(asked)
        name = tried.predictor.digest
        if name not in self.had and row in self.rows:
            found = self.budget.answers(tried.predictor, self.rows)
            self.had[name] = tried, {row.input: answer for row, answer in zip(self.rows, found)}
        known = self.had[name][1] if name in self.had else {}
        answer = known[asked] if asked in known else self.budget.answers(tried.predictor, [row])[0]
        return answer or ""

    def worth(self, example: Any, found: Any, trace: object = None) -> float:
        """DSPy's metric: the task's own."""
        return self.budget.worth(found.output, self.row(example.input))

    def summary(self) -> list[dict[str, Any]]:
        """The candidates that were scored on all rows, for the record."""
        out = []
        for tried, answers in self.had.values():
            values = [self.budget.worth(answers[row.input], row) for row in self.rows]
            out.append({"what": tried.what, "rows": len(values), "score": str(interval(values))})
        return out


class Step(dspy.Predict):
    """The program: one step, whose instruction and demonstrations the optimizers set."""

    def __init__(self, task: Task):
        fields = {"input": (str, dspy.InputField()), "output": (str, dspy.OutputField())}
        super().__init__(dspy.Signature(fields, task.start.instruction))
        self.task = task
        task.begun = self.signature.instructions

    def forward(self, **given: Any) -> dspy.Prediction:
        found = dspy.Prediction(output=self.task.answer(self, given["input"]))
        if dspy.settings.trace is not None:
            dspy.settings.trace.append((self, {"input": given["input"]}, found))
        return found


class Writer:
    """One of our engines as a DSPy language model, to write instructions."""

    def __init__(self, engine: Engine, budget: SearchBudget, seed: int):
        self.engine, self.budget, self.seed = engine, budget, seed

    def complete(self, request: Request) -> Response:
        turns = [_turn("system", request.system)] if request.system else []
        turns += [_turn(turn.role, turn.text or "") for turn in request.messages]
        most = request.config.max_tokens or 512
        how = Decoding(max_new_tokens=most, temperature=request.config.temperature or 0.0, seed=self.seed)
        self.budget.spent += 1
        prompt = Prompt(tuple(turns), turns[-1].content, draw=self.budget.spent)
        [found] = self.engine.generate([prompt], how)
        usage = Usage(input_tokens=found.tokens_in, output_tokens=found.tokens_out)
        return Response(id=None, model="rung", message=Answered.assistant(found.text), finish_reason="stop", usage=usage)

    def stream(self, request: Request) -> Iterator[Any]:
        return iter(response_to_events(self.complete(request)))

    def close(self) -> None:
        """There is nothing to release."""


def _turn(role: Any, content: Any) -> Any:
    text = content if isinstance(content, str) else "".join(part.text for part in content)
    return Message(role, text)


def search(task: Task, optimizer: str, shots: int, calls: int, writer: Engine, seed: int) -> Tried:
    """The best candidate found in about `calls` calls. ModelError if the writer does not follow DSPy's format."""
    lm = dspy.LM("rung", engine=Writer(writer, task.budget, seed), cache=False, num_retries=0, temperature=0.7, max_tokens=512)
    try:
        with hushed(), dspy.context(lm=lm, num_threads=1):
            step = OPTIMIZERS[optimizer](task, shots, calls, lm, seed)
    except AdapterParseError as error:
        raise ModelError(
            f"the model that writes instructions for {optimizer} does not follow DSPy's format.",
            remedy="Name a stronger one as methods.dspy.teacher, or take optimizer: bootstrap.",
        ) from error
    return task.tried(step)


def _examples(rows: Sequence[Example]) -> list[Any]:
    return [dspy.Example(input=row.input, output=row.output).with_inputs("input") for row in rows]


def _bootstrap(task: Task, shots: int, calls: int, lm: Any, seed: int) -> Any:
    """Zero-shot, labelled demonstrations, and random sets of demonstrations that the model answered right."""
    one = len(task.rows) + len(task.shown)
    found = random_search.BootstrapFewShotWithRandomSearch(
        metric=task.worth,
        metric_threshold=RIGHT,
        max_bootstrapped_demos=max(1, shots // 2),
        max_labeled_demos=shots,
        num_candidate_programs=max(1, min(MOST_CANDIDATES, calls // one - 3)),  # three candidates come before the random ones
        num_threads=1,
    )
    return found.compile(Step(task), trainset=_examples(task.shown), valset=_examples(task.rows))


def _mipro(task: Task, shots: int, calls: int, lm: Any, seed: int) -> Any:
    """Written instructions and sets of demonstrations, tried together by Bayesian search."""
    candidates = max(2, min(6, calls // (4 * len(task.shown))))
    trials = max(2, min(MOST_CANDIDATES, (calls - candidates * len(task.shown)) // len(task.rows) - 2))
    found = mipro_optimizer_v2.MIPROv2(
        metric=task.worth,
        metric_threshold=RIGHT,
        prompt_model=lm,
        task_model=lm,
        max_bootstrapped_demos=max(1, shots // 2),
        max_labeled_demos=shots,
        auto=None,
        num_candidates=candidates,
        num_threads=1,
        seed=seed + 1,  # 0 counts as none given
    )
    return found.compile(
        Step(task), trainset=_examples(task.shown), valset=_examples(task.rows), num_trials=trials, minibatch=False
    )


def _copro(task: Task, shots: int, calls: int, lm: Any, seed: int) -> Any:
    """Instructions written in two rounds, the second from the scores of the first."""
    breadth = max(2, min(10, calls // (3 * len(task.rows))))
    found = copro_optimizer.COPRO(prompt_model=lm, metric=task.worth, breadth=breadth, depth=2)
    return found.compile(Step(task), trainset=_examples(task.rows), eval_kwargs={"num_threads": 1, "display_progress": False})


OPTIMIZERS: dict[str, Callable[[Task, int, int, Any, int], Any]] = {"bootstrap": _bootstrap, "mipro": _mipro, "copro": _copro}


@contextmanager
def hushed() -> Iterator[None]:
    """Silence DSPy's prints, progress bars and log messages: `Run.progress` reports instead."""
    log, bar = logging.getLogger("dspy"), tqdm.tqdm.__init__
    level = log.level

    def unseen(self: Any, *given: Any, **named: Any) -> None:
        bar(self, *given, **{**named, "disable": True})

    log.setLevel(logging.CRITICAL)
    try:
        with ExitStack() as stack:
            stack.enter_context(patch.object(tqdm.tqdm, "__init__", unseen))
            for module in (bootstrap, random_search, copro_optimizer, mipro_optimizer_v2):
                stack.enter_context(patch.object(module, "print", lambda *_, **__: None, create=True))
            yield
    finally:
        log.setLevel(level)
