"""Pre-training: a tokenizer and a Llama-shaped model trained from scratch on the team's text. https://arxiv.org/abs/2203.15556"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from rung import files
from rung.data import corpus
from rung.machine import Machine
from rung.methods import raw, tuning
from rung.methods.base import Family, Run
from rung.methods.estimate import CostEstimate, answer_seconds
from rung.methods.facts import Facts
from rung.methods.option import Count, Rate, Share, Weight
from rung.methods.shared_options import RawTextOptions
from rung.metrics.resample import bootstrap_interval
from rung.predictor import Predictor
from rung.types import Need, Texts, TrainData, digest

if TYPE_CHECKING:
    from rung.lm.models.load import Loaded

OPTIMAL = 20
"""Tokens per parameter at which a given amount of compute gives the lowest loss (https://arxiv.org/abs/2203.15556, table 3)."""

REPEATS = 4
"""Times that text can be repeated with nearly the gain of new text (https://arxiv.org/abs/2305.16264)."""

FLOP_AN_HOUR = 6 * 70e9 * 2e12 / 1_720_320
"""Floating-point operations of an A100 in an hour, as Llama 2 70B was trained: 6 per parameter and token,
2 trillion tokens, 1,720,320 hours (https://arxiv.org/abs/2307.09288, table 2)."""


@dataclass(frozen=True, kw_only=True)
class Pretrain(RawTextOptions):
    name: ClassVar[str] = "pretrain"
    family: ClassVar[Family] = Family.PRETRAINING
    needs: ClassVar[frozenset[Need]] = frozenset({Need.CORPUS, Need.OPEN_WEIGHTS})
    own_model: ClassVar[bool] = True
    fit_version: ClassVar[int] = 2

    parameters: Count = 10_000_000
    """Size of the model, embeddings included; width, layers and heads follow from it."""
    vocabulary: Count = 4096
    """Most tokens in the tokenizer's vocabulary."""
    context: Count = 512
    """Tokens of a window, and most tokens of a prompt with its answer."""
    batch: Count = 16
    """Windows a step."""
    steps: Count = 500
    """Updates."""
    learning_rate: Rate = 1e-3
    """Highest step size; larger models need less."""
    warmup: Share = 0.05
    """Share of the steps over which it rises; then it falls to a tenth along a cosine."""
    weight_decay: Weight = 0.1
    """AdamW's weight decay, of matrices only."""
    tokens: Count = 8192
    """Most tokens computed at once; less needs less memory."""
    measured: Count = 50_000
    """Most held-out tokens to measure on."""

    def estimate(self, start: CostEstimate, facts: Facts, machine: Machine) -> CostEstimate:
        size = replace(facts, parameters=self.parameters, call_seconds=0.0, tariff=None)
        return replace(
            start,
            fit_seconds=start.fit_seconds
            + machine.training_seconds(self.parameters, 1.0, self._seen)
            + machine.prefill_seconds(self.parameters, self.measured * (1 + (tuning.CHECKS if self.patience else 0))),
            row_seconds=answer_seconds(start.prompt_tokens, facts.shared_tokens, size, machine),
            memory_bytes=tuning.memory(self.parameters, 1.0, self.tokens, machine),
            parameters=self.parameters,
        )

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        from rung.lm.raw_text.perplexity import bits, measure
        from rung.lm.training import raw_text_steps, train

        work, watch = run.folder / "work", tuning.watch(run)
        tokenizer = _tokenizer(
            data.corpus, raw.cuts(data.corpus, self.held, self.patience)[1], self.vocabulary, work / "tokenizer"
        )
        text = raw.shards(data.corpus, self.held, tokenizer, work / "text", run, self.patience)
        loaded = self._fresh(tokenizer, run)
        advice = self.advice(sum(p.numel() for p in loaded.model.parameters()), len(text.learnt.tokens), run.engines.machine)
        watch.say(advice)
        steps = raw_text_steps.RandomWindows(text.learnt.tokens, self.context, self.batch, self.steps, run.seed)
        plan = train.TrainConfig(
            learning_rate=self.learning_rate,
            epochs=1,
            batch=1,
            tokens=self.tokens,
            warmup=self.warmup,
            floor=0.1,
            betas=(0.9, 0.95),
            weight_decay=self.weight_decay,
            mixed=run.engines.machine.dtype == "bfloat16",
            patience=self.patience,
            evaluations=tuning.CHECKS,
            seed=run.seed,
        )
        history = train.run(
            loaded,
            range(self.steps),
            plan,
            work / "steps",
            loss=raw_text_steps.dense_loss,
            items=raw_text_steps.items_of(steps),
            validate=raw.score(loaded, text.choosing, self.context, self.measured) if text.choosing else None,
            watch=watch,
        )
        if text.held:
            found = measure(loaded, text.held, self.context, self.measured)
            run.notes["bits_per_byte"] = str(bootstrap_interval(found, statistic=bits))
        fitted = tuning.keep_weights(loaded, start, history, run)
        shutil.rmtree(work)
        return fitted

    def advice(self, parameters: int, text: int, machine: Machine) -> str:
        """How this training compares with a compute-optimal one, and what either takes. `text`: tokens in the training text."""
        seen, best = self._seen, OPTIMAL * parameters
        times = seen / text
        lines = [
            f"{parameters:,} parameters will read {seen:,} tokens, {seen / parameters:.2g} a parameter, each {times:.2g} times: "
            f"about {_hours(machine.training_seconds(parameters, 1.0, seen))} here, {gpu_hours(parameters, seen):.2g} GPU hours "
            "at the speed of Llama 2 70B, which took 1,720,320.",
            f"Compute-optimal would be about {best:,} tokens, {OPTIMAL} a parameter: "
            f"{_hours(machine.training_seconds(parameters, 1.0, best))} here, {gpu_hours(parameters, best):.2g} GPU hours.",
        ]
        if times > REPEATS:
            lines.append(f"Text read more than {REPEATS} times teaches less and less: use a smaller model or more text.")
        return " ".join(lines)

    @property
    def _seen(self) -> int:
        return self.steps * self.batch * self.context

    def _fresh(self, tokenizer: Any, run: Run) -> Loaded:
        """The untrained model, initialised from the seed."""
        from rung.lm.models import onednn_linear
        from rung.lm.models.chat import Chat
        from rung.lm.models.llama_shape import fresh
        from rung.lm.models.load import Loaded

        run.engines.close()  # earlier rungs' models and servers have the memory
        model = fresh(self.parameters, self.context, tokenizer, run.seed)
        onednn_linear.use_onednn(model, run.engines.machine)
        return Loaded(model.to(run.engines.machine.device), Chat(tokenizer), trees=False, context=self.context)


def gpu_hours(parameters: int, tokens: int) -> float:
    """Hours of one A100 that training takes at the speed of Llama 2 70B."""
    return 6 * parameters * tokens / FLOP_AN_HOUR


def _tokenizer(found: Texts, low: float, size: int, folder: Path) -> Any:
    """The tokenizer of the training text, made once even if the fit is killed."""
    from rung.lm.models.chat import tokenizer
    from rung.lm.raw_text import bpe

    of, note = digest([found.digest, low, size]), folder / "of.json"
    if not note.exists() or json.loads(note.read_text(encoding="utf-8")) != of:
        made = bpe.train(corpus.between(found, low, 1.0), size)
        with files.whole_folder(folder) as part:
            made.save_pretrained(part)
            files.write_json(part / note.name, of)
    return tokenizer(folder)


def _hours(seconds: float) -> str:
    return f"{seconds / 60:.2g} minutes" if seconds < 5400 else f"{seconds / 3600:,.3g} hours"
