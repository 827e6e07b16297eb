"""What the methods that train weights share: open the model, make training rows, train, and save the result."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from rung.data.split import question
from rung.errors import RungError
from rung.lm.engine_kinds import can
from rung.machine import BYTES, frozen_bytes
from rung.methods.base import Run
from rung.methods.conversations import taught_rows
from rung.methods.estimate import OPENED_LABELS, CostEstimate, StopBehaviour, activation_bytes, answer_seconds, process_bytes
from rung.methods.facts import Facts
from rung.predictor import Predictor, folder_digest
from rung.types import Example, TrainData

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from rung.lm.base import Precision
    from rung.lm.models.load import Loaded
    from rung.lm.training.train import History, TrainConfig, Watch
    from rung.machine import Machine

HELD = 0.1
"""Share of train to choose the checkpoint by, if a method stops early."""

START_SECONDS = 4.0
"""On a CPU, to import what trains, open the model and begin, about: 2.4 to 5 s for LoRA and 3 to 7 s for all weights, measured
alone; most of a fit on few rows."""

CHECKS = 10
"""Times that a method without epochs checks whether it has improved, if it stops early."""


@dataclass(frozen=True, kw_only=True)
class TrainingLoad:
    """What training takes of a machine, for the estimate."""

    epochs: int
    batch: int
    tokens: int
    trained: float
    """Share of the parameters that are trained."""
    wide: bool = False
    """Whether frozen weights are float32 on a GPU."""
    freezes: bool = False
    """Whether they may be bfloat16 on a CPU."""
    patience: int = 0
    """If above 0, held-back rows are scored after each epoch."""

    def at_once(self, item: float, shared: float) -> int:
        """Most tokens computed at once: a whole step, unless it is divided. `item`: mean tokens of an item of a step.

        Half of the mean is taken as the standard deviation, and steps as large as two of them above their mean.
        """
        return min(self.tokens, round(shared + (self.batch + self.batch**0.5) * item))

    def weight(self, machine: Machine, facts: Facts) -> float:
        """Bytes per weight."""
        if self.freezes and machine.frozen_bf16:
            return frozen_bytes(facts.parameters, facts.vocabulary_parameters)
        return 4 if self.trained >= 1 or self.wide else BYTES[machine.dtype]

    @property
    def checks(self) -> int:
        """Times that held-back rows are scored."""
        return self.epochs if self.patience else 0


def training_estimate(start: CostEstimate, facts: Facts, machine: Machine, load: TrainingLoad, item: float = 0.0) -> CostEstimate:
    """The estimate with training on the examples added: shared tokens are computed once a step, optimizer states are float32.

    `item`: tokens of an item of a step without shared ones, if it is not one example.
    """
    from rung.lm.training.order import most_alike

    own = start.prompt_tokens + facts.output_tokens
    saved = start.shared_passages.saved(most_alike(load.batch)) if start.shared_passages else 0.0
    at_once = load.at_once(item or own, facts.shared_tokens)
    tree = facts.train_rows * (own - saved) + facts.shared_tokens * facts.train_rows / load.batch
    # a frozen embedding is looked up, and the output head computed at targets alone
    computed = facts.parameters - (facts.vocabulary_parameters if load.freezes else 0)
    answering = machine.rounded() if load.freezes and machine.frozen_bf16 else machine
    steps = load.epochs * facts.train_rows / load.batch
    # fewer steps than labels, and most labels were in none: the model is as unsure as its base
    labels = facts.labels if 0 < steps < facts.labels else OPENED_LABELS
    row = answer_seconds(start.prompt_tokens, facts.shared_tokens, facts, answering, labels)
    return replace(
        start,
        fit_seconds=start.fit_seconds
        + (START_SECONDS if machine.device == "cpu" else 0.0)
        + machine.training_seconds(computed, load.trained, round(tree), load.epochs, frozen=load.freezes)
        + load.checks * HELD * facts.train_rows * row,
        row_seconds=row,
        stop_behaviour=StopBehaviour.TRAINED,
        memory_bytes=max(
            start.memory_bytes,
            memory(facts.parameters, load.trained, at_once, machine, load.weight(machine, facts)),
        ),
    )


def memory(parameters: int, trained: float, tokens: int, machine: Machine, weight: float = 4) -> int:
    """Bytes that training takes: weights, activations of `tokens` tokens, and for trained weights gradients and two moments.

    `weight`: bytes per weight; 4 if all are trained, which is done in float32. Weights that are rounded on a CPU may be read in
    float32 before.
    """
    states = round(weight * parameters + 12 * trained * parameters) + activation_bytes(parameters, tokens)
    return process_bytes(machine) + max(states, 4 * parameters if machine.frozen_bf16 else 0)


def open_model(start: Predictor, run: Run, *, whole: bool = False, four_bit: bool = False, freezes: bool = False) -> Loaded:
    """The weights that `start` answers with, earlier adapters merged in, ready to be trained.

    `whole`: all weights will be saved, so no adapter may remain beside them. `four_bit`: as in `rung.lm.models.load.load`.
    `freezes`: the weights of linear layers are not trained, so they are bfloat16 where the machine is asked for it.
    RungError if an earlier fit cannot be merged.
    """
    from rung.lm.models import fits
    from rung.lm.models import load as loading
    from rung.lm.trees import virtual

    base = run.engines.find(start.model.name).folder
    _, fitted = fits.split(base, start.model.files)
    run.engines.close()
    machine = run.engines.machine
    frozen: Literal["", "base"] = "base" if freezes and machine.frozen_bf16 else ""
    loaded = loading.load(base, machine, start.model.files, four_bit=four_bit, frozen=frozen)
    below = fitted and (four_bit or fits.is_four_bit(fitted[-1]))
    if below or virtual.size(loaded.model) or (whole and not loading.saves_completely(loaded.model)):
        raise RungError(
            "the method before this one cannot be merged into the weights, so nothing can be trained on top of it.",
            remedy="Put that method last in the rung, or leave it out.",
        )
    return loaded


def widened(loaded: Loaded, run: Run) -> bool:
    """Make the weights float32 if the machine would train in bfloat16, which rounds small steps away. Returns whether it did.

    The computing is still done in bfloat16 (`train.TrainConfig.mixed`).
    """
    if mixed := run.engines.machine.dtype == "bfloat16":
        loaded.model.float()
    return mixed


def on_examples(loaded: Loaded, start: Predictor, data: TrainData, plan: TrainConfig, run: Run) -> History:
    """Train on the examples with the prompts of `start`; with `plan.patience` the best epoch on held-back rows is used."""
    from rung.lm.training import order, train

    rows, held = held_back(start, data, plan.patience, run)
    lessons, shorter = taught_rows(loaded.chat, start, rows, run.engines, data.every_answer)
    if shorter:
        watch(run).say(f"{shorter} answers are trained on without the earliest turns before them: the context has no room")
    return train.run(
        loaded,
        lessons,
        plan,
        run.folder / "work",
        items=train.Items(groups=order.groups),
        validate=score(loaded, start, held, run) if held else None,
        watch=watch(run),
    )


def held_back(start: Predictor, data: TrainData, patience: int, run: Run) -> tuple[list[Example], list[Example]]:
    """Rows to train on and, with `patience`, rows to choose the epoch by. Reports if there are none."""
    if not patience:
        return list(data.examples), []
    rows, held = hold_back(data.examples, HELD, run.seed, start.taught)
    if not held:
        watch(run).say("patience has no effect: too few rows, or groups of rows, to hold any back to choose the epoch by")
    return rows, held


def hold_back(
    examples: Sequence[Example], share: float, seed: int, taught: Collection[Example] = ()
) -> tuple[list[Example], list[Example]]:
    """Rows to train on, at least one, and about a `share` to choose the epoch by, at least one if possible.

    Rows of one group or one question stay together, as in the splits. Rows that a teacher labelled (`taught`) are never held
    back: an epoch that repeats the teacher's mistakes would look good.
    """
    groups: dict[tuple[bool, str], list[int]] = defaultdict(list)
    for i, row in enumerate(examples):
        groups[bool(row.group), row.group or question(row)].append(i)
    theirs = set(taught)
    own = [group for group in groups.values() if not any(examples[i] in theirs for i in group)]
    rows = sum(map(len, own))
    most = min(max(1, round(share * rows)), rows - 1)
    held: set[int] = set()
    for k in np.random.default_rng(seed).permutation(len(own)).tolist():
        if len(held) + len(own[k]) <= most:
            held.update(own[k])
    if not held and len(own) > 1:  # each is larger than the share
        smallest = min(own, key=len)
        held.update(smallest)
    return [e for i, e in enumerate(examples) if i not in held], [e for i, e in enumerate(examples) if i in held]


def keep_adapter(loaded: Loaded, start: Predictor, history: History, run: Run) -> Predictor:
    """`start` with the adapter just trained, on top of its earlier weights."""
    from rung.lm.models import adapters, fits, frozen_linear
    from rung.lm.training import train

    files, rounded = run.folder / "model", frozen_linear.is_frozen(loaded.model)
    adapters.save(loaded.model, files)
    if adapters.is_four_bit(loaded.model):
        (files / fits.FOUR_BIT).touch()
    else:
        run.notes["precision"] = "bfloat16" if rounded else str(loaded.model.dtype).removeprefix("torch.")
    fits.link_previous(files, start.model.files)
    run.notes.update(train.notes(loaded.model, history))
    return answering_with(start, files, run, "bfloat16" if rounded else "")


def keep_weights(loaded: Loaded, start: Predictor, history: History, run: Run) -> Predictor:
    """`start` with the whole weights just trained; the earlier ones are no longer needed."""
    from rung.lm import processes
    from rung.lm.models.chat import name_ends
    from rung.lm.quiet import quiet
    from rung.lm.training import train

    files = run.folder / "model"
    name_ends(loaded.model, loaded.chat)
    state = processes.full_state_dict(loaded.model)
    with quiet():
        if processes.is_main_process():
            loaded.model.save_pretrained(files, state_dict=state)  # written into: a fit's workplace
        loaded.chat.tokenizer.save_pretrained(files)  # written into: a fit's workplace
    run.notes.update(train.notes(loaded.model, history))
    return answering_with(start, files, run)


def watch(run: Run) -> Watch:
    """Progress with the time left, the deadline, and the team's trackers.

    Files of trackers outlive the checkpoints: they are in `trackers/` of the task's `.rung`, under the fit's key.
    """
    from rung.lm.training.train import Watch

    started = time.monotonic()

    def tell(done: int, total: int, loss: float) -> None:
        left = (time.monotonic() - started) / done * (total - done)
        run.progress(f"step {done} of {total}, loss {loss:.3f}, {left:.0f} s left", done / total)

    def say(text: str) -> None:
        run.notes.setdefault("said", []).append(text)
        run.progress(text, 0.0)

    place = (run.shared or run.folder) / "trackers" / run.folder.name if run.trackers else None
    return Watch(tell, run.deadline, say, run.trackers, place)


def score(loaded: Loaded, start: Predictor, rows: list[Example], run: Run) -> Callable[[], float]:
    """A function that scores the model in training on held-back rows by the task's metric."""
    from rung.lm.inference.causal import CausalEngine

    engine, prompts = CausalEngine(loaded, watch(run).say), start.prompts(rows, run.engines)

    def found() -> float:
        engine.clear_cache()  # the weights have changed since the last time
        answers = start.answers(engine, prompts)
        return sum(run.reward(answer, row) for answer, row in zip(answers, rows)) / len(rows)

    return found


def answering_with(start: Predictor, files: Path, run: Run, precision: Precision = "") -> Predictor:
    """`start` with what was just fitted, answered by an engine that can load it.

    `precision`: of the frozen weights that it answers with, as in `ModelRef`, where the engine can.
    """
    fitted = replace(start.model, files=str(files), files_digest=folder_digest(files), precision="")
    model = run.engines.fitted(fitted)
    return replace(start, model=replace(model, precision=precision) if can(model).precisions else model)
