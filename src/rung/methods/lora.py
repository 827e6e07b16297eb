"""LoRA: train low-rank adapters on the examples while the base weights stay frozen. https://arxiv.org/abs/2106.09685"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import ClassVar

from rung.machine import Machine
from rung.methods.base import Facts, Quote, Run, answering
from rung.predictor import Predictor, folder_digest
from rung.types import Need, TrainData


@dataclass(frozen=True, kw_only=True)
class Lora:
    name: ClassVar[str] = "lora"
    needs: ClassVar[frozenset[Need]] = frozenset({Need.EXAMPLES, Need.OPEN_WEIGHTS})
    fit_version: ClassVar[int] = 1

    rank: int = 16
    """Width of the adapters. More fits more, and overfits sooner."""
    alpha: int = 32
    """Scale of the adapters' output, as alpha / rank."""
    dropout: float = 0.0
    """Share of the adapters' inputs dropped in training."""
    learning_rate: float = 1e-3
    """Highest step size. About ten times that of full fine-tuning."""
    epochs: int = 8
    """Times that each row is seen at most."""
    patience: int = 0
    """Stop after so many epochs without a better score on held-back rows; 0 trains all epochs on all rows."""
    batch: int = 16
    """Rows a step."""
    tokens: int = 2048
    """Most tokens computed at once, shared ones counted once; less needs less memory."""

    def estimate(self, start: Quote, facts: Facts, machine: Machine) -> Quote:
        own = start.prompt_tokens + facts.output_tokens
        tree = facts.train_rows * own + facts.shared_tokens * facts.train_rows / self.batch
        training = machine.training_seconds(facts.parameters, 0.03, round(tree), self.epochs)
        activations = self.tokens * 40 * 4 * round(facts.parameters**0.5)
        return replace(
            start,
            fit_seconds=start.fit_seconds + training,
            row_seconds=answering(start.prompt_tokens, facts, machine),
            memory_bytes=4 * facts.parameters + activations,
        )

    def fit(self, start: Predictor, data: TrainData, run: Run) -> Predictor:
        from rung.lm import adapters, train
        from rung.lm.load import load

        # a model that is trained on the labels need not read them each time
        start = replace(start, show_labels=False)
        rows, held = train.hold_back(data.examples, share=0.1 if self.patience else 0.0, seed=run.seed)
        loaded = load(run.engines.find(start.model.name).folder, run.engines.machine)
        loaded = replace(loaded, model=adapters.lora(loaded.model, self.rank, self.alpha, self.dropout, run.seed))
        prompts = start.prompts(rows, run.engines)
        plan = train.Plan(
            learning_rate=self.learning_rate,
            epochs=self.epochs,
            batch=self.batch,
            tokens=self.tokens,
            patience=self.patience,
            seed=run.seed,
        )
        history = train.run(
            loaded,
            [loaded.chat.row(prompt.messages, row.output) for prompt, row in zip(prompts, rows)],
            plan,
            run.folder / "work",
            held=train.held_score(loaded, start.prompts(held, run.engines), [row.output for row in held], start.labels)
            if held
            else None,
            watch=train.Watch(_teller(run), run.deadline),
        )
        files = run.folder / "model"
        loaded.model.save_pretrained(files)
        run.notes.update(train.notes(loaded.model, history))
        return replace(start, model=replace(start.model, files=str(files), files_digest=folder_digest(files)))


def _teller(run: Run):
    """Progress with the time left."""
    started = time.monotonic()

    def tell(done: int, total: int, loss: float) -> None:
        left = (time.monotonic() - started) / done * (total - done)
        run.progress(f"step {done} of {total}, loss {loss:.3f}, {left:.0f} s left", done / total)

    return tell
