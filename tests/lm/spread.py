"""The trainings of tests/lm/test_processes.py, done by one process or by several that torchrun starts."""

from __future__ import annotations

import copy
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor

from rung.data import corpus
from rung.errors import BudgetError, DataError, RungError
from rung.lm import processes
from rung.lm.models import adapters
from rung.lm.models.load import Loaded, load
from rung.lm.training import losses, preferences, train
from rung.lm.training.raw_text_steps import items_of, mixed_steps
from rung.lm.trees.tree import Row
from rung.machine import Machine
from rung.methods import multiprocess, raw
from rung.methods.base import Run
from rung.types import Message

PLAN = train.TrainConfig(learning_rate=1e-2, epochs=3, batch=5, tokens=150, seed=5)
EARLY = replace(PLAN, epochs=9, steady=True, stop_below=3.0)


def rows(loaded: Loaded, count: int = 11) -> list[Row]:
    """Rows of unlike lengths; the last step of an epoch has one, so that of two processes one has nothing to do."""
    asked = [("the parcel " * (i % 4) + str(i * 7), "late " * (i % 3 + 1)) for i in range(count)]
    return [loaded.chat.row((Message("system", "sort these"), Message("user", text)), answer) for text, answer in asked]


def lora(loaded: Loaded) -> Loaded:
    """Adapters that begin elsewhere in each process, where they are not made the same."""
    return replace(loaded, model=adapters.lora(loaded.model, 2, 4, 0.0, processes.rank_and_world_size()[0]))


def sft(loaded: Loaded, folder: Path) -> train.History:
    return train.run(loaded, rows(loaded), PLAN, folder)


def dpo(loaded: Loaded, folder: Path) -> train.History:
    given = rows(loaded)
    pairs = [preferences.Pair(a, b, (-3.0 - i, -4.0)) for i, (a, b) in enumerate(pairwise(given))]
    loss, items = preferences.dpo(0.1)
    return train.run(loaded, pairs, PLAN, folder, loss=loss, items=items)


def kto(loaded: Loaded, folder: Path) -> train.History:
    votes = preferences.votes([(row, i % 2 > 0) for i, row in enumerate(rows(loaded))], loaded.max_length)
    votes = [replace(vote, reference=(-30.0, -35.0)) for vote in votes]
    loss, items = preferences.kto(0.1, 1.0, 1.0, loaded)
    return train.run(loaded, votes, PLAN, folder, loss=loss, items=items)


def chosen(loaded: Loaded, folder: Path) -> train.History:
    """The second epoch is the best; the scores of a process that does not lead say otherwise and are not to count."""
    scores = iter([0.5, 0.9, 0.4] if processes.is_main_process() else [0.9, 0.8, 0.7])
    return train.run(loaded, rows(loaded), replace(PLAN, patience=2), folder, validate=lambda: next(scores))


def resumed(loaded: Loaded, folder: Path) -> train.History:
    """Stopped in the second epoch by the leading process's clock alone, and gone on with; only its folder holds anything.

    It ends early, by the loss of the whole steps.
    """
    late = {"now": float("inf")}

    class Clock(train.Watch):
        deadline = property(lambda self: late["now"])  # type: ignore[assignment]

    def step(done: int, total: int, loss: float) -> None:
        if done == 5 and processes.is_main_process():
            late["now"] = time.monotonic() - 1

    watch = Clock.__new__(Clock)
    object.__setattr__(watch, "step", step)
    first = replace(loaded, model=copy.deepcopy(loaded.model))
    try:
        train.run(first, rows(first), EARLY, folder, watch=watch)
        raise AssertionError("the clock did not stop it")
    except BudgetError:
        assert folder.exists() == processes.is_main_process()
    return train.run(loaded, rows(loaded), EARLY, folder)


def hungry(loaded: Loaded, folder: Path) -> train.History:
    """Out of memory once, in one of the processes, in the middle of its share of a step."""
    calls: list[int] = []

    def loss(model: Any, part: Any, trees: bool) -> torch.Tensor:
        calls.append(len(part))
        if len(calls) == 2 and processes.is_main_process():
            raise MemoryError
        return losses.sft(model, part, trees)

    plan = replace(PLAN, batch=60, tokens=300)
    return train.run(loaded, rows(loaded, 60), plan, folder, loss=loss)


def packed(loaded: Loaded, folder: Path) -> train.History:
    """On raw text, of which each process has tokenised some of the ranges into one folder."""
    text = folder.parent / "text"
    if processes.is_main_process():
        text.mkdir()
        for name in "abc":
            content = "".join(json.dumps({"text": f"document {i} of {name}"}) + "\n" for i in range(7))
            (text / f"{name}.jsonl").write_text(content)
    processes.barrier()
    engines: Any = SimpleNamespace(machine=SimpleNamespace(cores=2))
    usual = processes.STEP_TIMEOUT

    def slow(said: str, share: float) -> None:
        """One process reads for longer than a step may take."""
        processes.STEP_TIMEOUT = timedelta(seconds=1)
        if not processes.is_main_process() and share == 1:
            time.sleep(2)

    run = Run(folder.parent / f"fit-{processes.rank_and_world_size()[0]}", engines, progress=slow)
    parts = raw.shards(corpus.find_texts(text, ["."]), 0.2, loaded.chat.tokenizer, run.folder / "shards", run)
    processes.STEP_TIMEOUT = usual
    steps = mixed_steps(parts.learnt, None, 0.0, 24, 64, 1, PLAN.seed)
    return train.run(loaded, range(len(steps)), replace(PLAN, epochs=1, batch=1), folder, items=items_of(steps))


def whole(loaded: Loaded) -> Loaded:
    return loaded


def padded(loaded: Loaded) -> Loaded:
    loaded.model.set_attn_implementation("sdpa")
    return replace(loaded, trees=False)


WORK: dict[str, tuple[str, Callable[[Loaded], Loaded], Callable[[Loaded, Path], train.History]]] = {
    "lora": ("llama", lora, sft),
    "full": ("llama", whole, sft),
    "padded": ("llama", padded, sft),
    "tied": ("gemma3", whole, sft),
    "dpo": ("llama", lora, dpo),
    "kto": ("llama", lora, kto),
    "chosen": ("llama", whole, chosen),
    "resumed": ("llama", whole, resumed),
    "hungry": ("llama", whole, hungry),
    "packed": ("llama", whole, packed),
}


def do(name: str, bases: dict[str, str], machine: Machine, to: Path) -> None:
    """One training; the leading process keeps its history and what was trained."""
    kind, adapted, work = WORK[name]
    loaded = adapted(load(Path(bases[kind]), machine))
    own = to / f"work-{processes.rank_and_world_size()[0]}"
    history = work(loaded, own)
    spread = any(isinstance(p, DTensor) for p in loaded.model.parameters())
    state = processes.full_state_dict(loaded.model)
    if processes.is_main_process():
        found = state or {key: p.detach() for key, p in loaded.model.named_parameters() if p.requires_grad}
        save_file({key: tensor.contiguous().clone() for key, tensor in found.items()}, to / f"{name}.safetensors")
        (to / f"{name}.json").write_text(json.dumps(asdict(history) | {"left": own.exists(), "spread": spread}))


def shard() -> None:
    """From here on weights are spread. accelerate spreads none over processors: it is told that they are GPUs."""
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    os.environ |= {
        "ACCELERATE_USE_FSDP": "true",
        "FSDP_VERSION": "2",
        "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
        "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
        "ACCELERATE_TORCH_DEVICE": "cpu",
    }
    PartialState._prepare_backend = lambda self, *_: ("gloo", DistributedType.MULTI_GPU)  # type: ignore[method-assign]


def main() -> None:
    given = json.loads(sys.argv[1])
    machine, to = Machine(**given["machine"]), Path(given["to"])
    processes.initialize()
    for name in given["plain"]:
        with processes.joint_training():
            do(name, given["bases"], machine, to)
    try:
        processes.check_joint()
    except RungError as error:
        (to / f"alone-{processes.rank_and_world_size()[0]}").write_text(str(error))
    shard()
    (to / "fsdp").mkdir(exist_ok=True)
    for name in given["spread"]:
        with processes.joint_training():
            do(name, given["bases"], machine, to / "fsdp")
    (to / f"ends-{processes.rank_and_world_size()[0]}.json").write_text(json.dumps(ends()))


def ends() -> list[str]:
    """What comes of a fit that fails in both processes, that fails in one, and of a process that is gone."""

    def fails(where: tuple[int, ...]) -> Any:
        if processes.rank_and_world_size()[0] in where:
            raise DataError(f"no row in {processes.rank_and_world_size()[0]}")
        return "fitted"

    found = []
    for where in ((0, 1), (1,), (0,)):
        try:
            found.append(multiprocess._joined(lambda where=where: fails(where)))  # type: ignore[misc]
        except Exception as error:
            found.append(f"{type(error).__name__}: {error}")
    if not processes.is_main_process():
        os._exit(0)
    try:
        processes.broadcast_job("work")
        processes.broadcast_job("more")  # a message may be on its way when its reader dies
    except SystemExit as error:
        found.append(str(error))
    return found


if __name__ == "__main__":
    main()
