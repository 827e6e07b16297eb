"""What the methods that train weights share: open the model, make rows of the examples, train, keep what came out."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rung.methods.base import Facts, Quote, Run, answering
from rung.predictor import Predictor, folder_digest
from rung.types import Example, TrainData

if TYPE_CHECKING:
    from collections.abc import Callable

    from rung.lm.load import Loaded
    from rung.lm.train import Plan, Trained, Watch
    from rung.machine import Machine

HELD = 0.1
"""Share of train to choose the epoch by, where a method stops early."""


@dataclass(frozen=True, kw_only=True)
class Load:
    """What training takes of a machine, for the quote."""

    epochs: int
    batch: int
    tokens: int
    trained: float
    """Share of the parameters that are trained."""


def quote(start: Quote, facts: Facts, machine: Machine, load: Load) -> Quote:
    """The quote of training on the examples: shared tokens are computed once a step, optimizer states kept in float32."""
    own = start.prompt_tokens + facts.output_tokens
    tree = facts.train_rows * own + facts.shared_tokens * facts.train_rows / load.batch
    activations = load.tokens * 40 * 4 * round(facts.parameters**0.5)
    states = round(12 * load.trained * facts.parameters)  # gradient and two moments
    return replace(
        start,
        fit_seconds=start.fit_seconds + machine.training_seconds(facts.parameters, load.trained, round(tree), load.epochs),
        row_seconds=answering(start.prompt_tokens, facts, machine),
        memory_bytes=4 * facts.parameters + states + activations,
    )


def open_model(start: Predictor, run: Run) -> Loaded:
    """The weights that `start` answers with, what was fitted before merged in, ready to be trained."""
    from rung.lm.load import load

    return load(run.engines.find(start.model.name).folder, run.engines.machine, start.model.files)


def on_examples(loaded: Loaded, start: Predictor, data: TrainData, plan: Plan, run: Run) -> Trained:
    """Train on the examples as `start` would ask them; with `plan.patience` the best epoch on held-back rows is kept."""
    from rung.lm import train

    rows, held = train.hold_back(data.examples, share=HELD if plan.patience else 0.0, seed=run.seed)
    prompts = start.prompts(rows, run.engines)
    return train.run(
        loaded,
        [loaded.chat.row(prompt.messages, row.output) for prompt, row in zip(prompts, rows)],
        plan,
        run.folder / "work",
        held=_held(loaded, start, held, run) if held else None,
        watch=watch(run),
    )


def keep_adapter(loaded: Loaded, start: Predictor, history: Trained, run: Run) -> Predictor:
    """`start` answering with the adapter just trained, on top of what it answered with before."""
    from rung.lm import layers, train

    files = run.folder / "model"
    loaded.model.save_pretrained(files)
    layers.put_below(files, start.model.files)
    run.notes.update(train.notes(loaded.model, history))
    return _answering_with(start, files)


def keep_weights(loaded: Loaded, start: Predictor, history: Trained, run: Run) -> Predictor:
    """`start` answering with the whole weights just trained; nothing below them is needed any more."""
    from rung.lm import train

    files = run.folder / "model"
    loaded.model.save_pretrained(files)
    loaded.chat.tokenizer.save_pretrained(files)
    run.notes.update(train.notes(loaded.model, history))
    return _answering_with(start, files)


def watch(run: Run) -> Watch:
    """Progress with the time left, the deadline, and the team's trackers."""
    from rung.lm.train import Watch

    started = time.monotonic()

    def tell(done: int, total: int, loss: float) -> None:
        left = (time.monotonic() - started) / done * (total - done)
        run.progress(f"step {done} of {total}, loss {loss:.3f}, {left:.0f} s left", done / total)

    def say(text: str) -> None:
        run.notes.setdefault("said", []).append(text)
        run.progress(text, 0.0)

    return Watch(tell, run.deadline, say, run.trackers)


def _held(loaded: Loaded, start: Predictor, rows: list[Example], run: Run) -> Callable[[], float]:
    """The task's metric on held-back rows, answered by the model in training."""
    from rung.lm.causal import CausalEngine

    engine, prompts = CausalEngine(loaded), start.prompts(rows, run.engines)

    def score() -> float:
        engine.forget()  # the weights have moved since the last time
        answers = start.answers(engine, prompts)
        return sum(run.reward(answer, row) for answer, row in zip(answers, rows)) / len(rows)

    return score


def _answering_with(start: Predictor, files: Path) -> Predictor:
    return replace(start, model=replace(start.model, files=str(files), files_digest=folder_digest(files)))
