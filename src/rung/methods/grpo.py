"""GRPO: adapters trained on the model's own answers, each weighted by its reward relative to the others of its prompt. https://arxiv.org/abs/2402.03300"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np
from annotated_types import Ge

from rung import files
from rung.errors import DataError, TaskError
from rung.lm.inference.thinking import Thinking, split
from rung.machine import Machine
from rung.methods import tuning
from rung.methods.base import Family, MetricUse, Run
from rung.methods.estimate import CostEstimate
from rung.methods.facts import Facts
from rung.methods.option import Count, Natural, Rate, Weight
from rung.methods.shared_options import AdapterOptions, StepOptions
from rung.metrics import own
from rung.predictor import Predictor
from rung.types import Example, Need, TrainData

if TYPE_CHECKING:
    from rung.lm.models.load import Loaded

REWARD_MODEL = ("reward-model", "judge")
"""What `reward` is for the reward model; the second is its older name."""
Tokens = tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Grpo(StepOptions, AdapterOptions):
    name: ClassVar[str] = "grpo"
    family: ClassVar[Family] = Family.REWARD
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXAMPLES, Need.OPEN_WEIGHTS})
    fit_version: ClassVar[int] = 2
    metric_use: ClassVar[MetricUse] = MetricUse.ALWAYS

    reward: str = ""
    """What an answer is worth: by default the task's metric; or your own function, `rewards.py:score`; or `reward-model`, the
    model that the method reward fitted before."""
    samples: Annotated[int, Ge(2)] = 8
    """Answers sampled for each prompt."""
    batch: Count = 4
    """Prompts a step."""
    steps: Count = 100
    """Times that answers are sampled."""
    updates: Count = 1
    """Updates made on the same answers. `clip` applies with more than one."""
    clip: Rate = 0.2
    """Relative change of a token's probability since sampling beyond which it gets no gradient."""
    beta: Weight = 0.0
    """Weight of the KL divergence from the initial model; 0 saves a forward pass."""
    longest: Natural = 0
    """Tokens an answer may have; 0 takes the task's limit."""
    learning_rate: Rate = 1e-4
    """Highest step size."""

    @property
    def freezes(self) -> bool:
        return True

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        load = tuning.TrainingLoad(epochs=1, batch=self.batch, tokens=self.tokens, trained=0.03, freezes=self.freezes)
        thought = max(0.0, start.calls * start.output_tokens - facts.output_tokens)  # reasoning tokens
        length = thought + (self.longest or 2 * facts.output_tokens)  # sampled answers are longer than right ones
        group = start.prompt_tokens + self.samples * length
        found = tuning.training_estimate(start, replace(facts, train_rows=0), machine, load, group)
        prompts = self.batch * start.prompt_tokens + facts.shared_tokens
        answers = self.batch * self.samples
        writing = machine.decode_seconds(facts.parameters, round(length), batch=answers)
        reading = machine.prefill_seconds(facts.parameters, round((1 + bool(self.beta)) * (prompts + answers * length)))
        learning = machine.training_seconds(
            facts.parameters, load.trained, round(prompts + answers * length), self.updates, frozen=self.freezes
        )
        looking = (tuning.CHECKS if self.patience else 0) * tuning.HELD * facts.train_rows * found.row_seconds
        return replace(found, fit_seconds=found.fit_seconds + self.steps * (writing + reading + learning) + looking)

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        from rung.lm.models import adapters
        from rung.lm.training import grpo_groups, train

        loaded = tuning.open_model(start, run, freezes=self.freezes)
        max_length = (self.longest or start.decoding.max_new_tokens) + (start.thinking.tokens if start.thinking else 0)
        rows, held = tuning.held_back(start, data, self.patience, run)
        least = max_length if self.longest else 1  # without the option, answers get what their prompts leave
        asked = self._asked(loaded, start, rows, run, least)
        loaded = replace(loaded, model=adapters.lora(loaded.model, self.rank, self.alpha, 0.0, run.seed))
        work = run.folder / "work"
        how = grpo_groups.Sampling(
            count=self.samples,
            max_new_tokens=max_length,
            clip=self.clip,
            beta=self.beta,
            updates=self.updates,
            seed=run.seed,
            tokens=self.tokens,
        )
        watch, seen = tuning.watch(run), _Seen(work / "rewards.json")
        loss, items = grpo_groups.grpo(loaded, how, seen, watch.say)
        plan = train.TrainConfig(
            learning_rate=self.learning_rate,
            epochs=1,
            batch=self.batch,
            repeat=self.updates,
            tokens=self.tokens,
            patience=self.patience,
            evaluations=tuning.CHECKS,
            seed=run.seed,
        )
        better = tuning.score(loaded, start, held, run) if held else None
        history = train.run(loaded, asked, plan, work, loss=loss, items=items, validate=better, watch=watch)
        run.notes["rewards"] = [seen.by_step[step] for step in sorted(seen.by_step)]
        return tuning.keep_adapter(loaded, start, history, run)

    def _asked(self, loaded: Loaded, start: Predictor, rows: Sequence[Example], run: Run, least: int) -> list[Any]:
        """The prompts of all steps: the rows in random order, repeated as needed. `least`: tokens left for an answer."""
        from rung.lm.training import grpo_groups

        worth = self._worth(loaded, start, run)
        begun = start.thinking.opening if start.thinking else ""
        prompts = [loaded.chat.prompt(prompt.messages, begun) for prompt in start.prompts(rows, run.engines)]
        for prompt, row in zip(prompts, rows):
            if len(prompt) + least > loaded.max_length:
                raise DataError(
                    f"a prompt of {len(prompt)} tokens and answers of {least} do not fit the model's {loaded.max_length} tokens.",
                    where=row.where,
                    remedy="Shorten or delete the row, set grpo's option longest, or name a base with a longer context.",
                )
        made = [grpo_groups.RewardedPrompt(prompt, partial(worth, prompt, row)) for prompt, row in zip(prompts, rows)]
        rng, count = np.random.default_rng(run.seed), self.steps * self.batch
        order = [i for _ in range(-(-count // len(made))) for i in rng.permutation(len(made)).tolist()]
        return [made[i] for i in order[:count]]

    def _worth(self, loaded: Loaded, start: Predictor, run: Run) -> Callable[[Tokens, Example, Sequence[Tokens]], list[float]]:
        """A function from a prompt, its row and its answers to each answer's reward."""
        chat = loaded.chat
        if self.reward in REWARD_MODEL:
            from rung.lm.models import fits
            from rung.lm.training import rewards
            from rung.lm.trees.tree import Row

            layer = fits.reward_model(start.model.files)
            if layer is None:
                raise TaskError(
                    f"reward is {self.reward!r}, but no reward model was fitted before.",
                    where="rung.yaml methods.grpo.reward",
                    remedy="Put the method reward in front: reward+grpo.",
                )
            if start.thinking:
                raise TaskError(
                    f"reward is {self.reward!r}, but the reward model was trained on answers without reasoning.",
                    where="rung.yaml methods.grpo.reward",
                    remedy="Leave reasoning out of the rung, or reward by the metric or by your own function.",
                )
            reward_model = rewards.RewardModel(run.engines.find(start.model.name).folder, run.engines.machine, layer)

            def by_model(prompt: Tokens, row: Example, answers: Sequence[Tokens]) -> list[float]:
                found = [Row(prompt + answer, (False,) * len(prompt + answer)) for answer in answers]
                return reward_model(found, self.tokens)

            return by_model
        score = _function(self.reward, run.home) if self.reward else run.reward

        def scored(prompt: Tokens, row: Example, answers: Sequence[Tokens]) -> list[float]:
            ended = [answer[:-1] if answer[-1] in chat.stops else answer for answer in answers]
            return [score(_bare(chat.decode(answer).strip(), start.thinking), row) for answer in ended]

        return scored


def _bare(text: str, how: Thinking | None) -> str:
    """The part that is rewarded: with reasoning, the answer after the mark, or nothing if the mark was not reached."""
    return split(f"{how.opening} {text}".strip())[1] if how else text


class _Seen:
    """Mean and standard deviation of each step's rewards, saved beside the checkpoints so that a killed run loses none."""

    def __init__(self, path: Path):
        self.path = path
        known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.by_step: dict[int, list[float]] = {int(step): found for step, found in known.items()}

    def __call__(self, step: int, rewards: Sequence[float]) -> None:
        self.by_step[step] = [round(statistics.fmean(rewards), 4), round(statistics.pstdev(rewards), 4)]
        files.write_json(self.path, self.by_step)


def _function(name: str, home: Path) -> Callable[[str, Example], float]:
    """The team's own function, called and checked like a metric."""
    where = "rung.yaml methods.grpo.reward"
    if ":" not in name:
        remedy = "Write file.py:function or reward-model, or leave it out for the task's metric."
        raise TaskError(f"the reward is {name!r}.", where=where, remedy=remedy)
    try:
        score = own.load(name, home)
    except TaskError as error:
        raise TaskError(error.what, where=where, remedy=error.remedy) from error
    return lambda answer, row: max(score(answer, one, row) for one in row.accepted)
