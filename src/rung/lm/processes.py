"""Several processes at one training, one to a GPU: who leads, what all are told, gradients added up, shards put together.

They are started by `accelerate launch` or `torchrun`, which give each its number in the environment. Nothing here imports
torch before it is known that there are several.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

from rung.errors import RungError

Value = TypeVar("Value")

STEP = timedelta(minutes=30)
"""Longest wait within a training, while another process computes its share or measures."""

IDLE = timedelta(days=365)
"""Longest wait for the next training, while the leading process answers rows and scores."""

PATIENCE = timedelta(minutes=10)
"""How long a process that failed waits to hear whether the others failed with it."""

BUCKET = 2**26
"""Numbers added up at once over the processes."""

_joined = False


def several() -> bool:
    """Whether this process was started as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "LOCAL_RANK" in os.environ


def place() -> tuple[int, int]:
    """This process's number, from 0, and how many there are."""
    return (int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])) if several() else (0, 1)


def leads() -> bool:
    """Whether this process writes, prints and decides: the first, or the only one."""
    return place()[0] == 0


def shards() -> bool:
    """Whether the weights are to be spread over the processes (FSDP), by what the launcher was told."""
    return several() and os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def begin() -> None:
    """Meet the other processes, each on its own GPU where there are any. To be called once by all of them.

    RungError for ways of spreading a model that are not supported.
    """
    _refuse_unknown()
    # each process reads the weights itself: whether a model takes trees is found out by trying it
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    import torch
    import torch.distributed as dist

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=STEP)
    _group(IDLE), _group(STEP)


def end() -> None:
    """Leave the other processes."""
    import torch.distributed as dist

    dist.destroy_process_group()


@contextmanager
def joint() -> Iterator[None]:
    """While all processes do the same training. Outside of it the leading one is at work alone and may train nothing."""
    global _joined
    _joined = True
    try:
        yield
    finally:
        _joined = False


def at_it() -> bool:
    """Whether several processes are at one training now. RungError where several were started and this one is alone."""
    if several() and not _joined:
        raise RungError(
            "several processes were started, and this training is done by one.",
            remedy="Start it as a plain command; or, for what can be shared out, as: accelerate launch -m rung.cli fit …",
        )
    return several()


def broadcast(value: Value) -> Value:
    """The leading process's value, in all of them, while they are at one training."""
    return _broadcast(value, STEP) if _joined and several() else value


def broadcast_job(value: Value) -> Value:
    """The same between trainings, however long it takes to come."""
    return _broadcast(value, IDLE)


def wait() -> None:
    """Go on when all processes have come here."""
    if _joined and several():
        import torch.distributed as dist

        dist.barrier(group=_group(STEP))


def outcomes(error: str) -> list[str]:
    """What each process's training ended with, an error or nothing, in all of them.

    Where one failed and the others go on, they wait for it in vain: it ends, and with it all.
    """
    import torch.distributed as dist

    found: list[Any] = [""] * place()[1]
    try:
        dist.monitored_barrier(group=_group(IDLE), timeout=PATIENCE if error else IDLE)
        dist.all_gather_object(found, error, group=_group(IDLE))
    except RuntimeError:
        raise _alone(f" This one: {error}" if error else "") from None
    return found


def all_reduce(tensors: Sequence[Any]) -> None:
    """Add tensors up over the processes, in place."""
    import torch
    import torch.distributed as dist

    for some in _buckets(tensors):
        flat = torch.cat([tensor.flatten() for tensor in some])
        dist.all_reduce(flat)
        for tensor, summed in zip(some, flat.split([tensor.numel() for tensor in some])):
            tensor.copy_(summed.view_as(tensor))


def make_same(tensors: Iterable[Any]) -> None:
    """Give all processes the leading one's tensors, in place."""
    if _joined and several():
        import torch.distributed as dist

        for tensor in tensors:
            dist.broadcast(tensor, 0)


def state(model: Any) -> dict[str, Any] | None:
    """Trained tensors of a model whose weights are spread, whole, in the leading process; None for any other model.

    All processes must call it.
    """
    if not (_joined and shards()):
        return None
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    found = get_model_state_dict(model, options=options)
    named = {name for name, _ in (*model.named_parameters(), *model.named_buffers())}  # a tied weight under one name
    return {name: tensor for name, tensor in found.items() if name in named}


def _broadcast(value: Value, longest: timedelta) -> Value:
    import torch.distributed as dist

    box: list[Any] = [value if leads() else None]
    try:
        dist.broadcast_object_list(box, 0, group=_group(longest))
    except RuntimeError:
        raise _alone() from None
    return box[0]


@cache
def _group(longest: timedelta) -> Any:
    """The processes, to talk to over the main memory."""
    import torch.distributed as dist

    return dist.new_group(backend="gloo", timeout=longest)


def _alone(more: str = "") -> SystemExit:
    """Not an error that a rung could be said to have failed with: nothing can be shared out any more."""
    return SystemExit(f"error: of the processes at work together one has ended or hangs, so all end; its message says why.{more}")


def _buckets(tensors: Sequence[Any]) -> Iterator[list[Any]]:
    """Neighbours of one type, so many that they are worth a message and few enough to be copied."""
    some: list[Any] = []
    for tensor in tensors:
        if some and (tensor.dtype != some[0].dtype or sum(t.numel() for t in some) + tensor.numel() > BUCKET):
            yield some
            some = []
        some.append(tensor)
    if some:
        yield some


def _refuse_unknown() -> None:
    """DeepSpeed and Megatron wrap the model in an engine of their own; FSDP 1 breaks up what our layers read directly."""
    remedy = "Choose no sharding, or FSDP with fsdp_version 2, in the configuration of accelerate."
    for name in ("DEEPSPEED", "MEGATRON_LM", "PARALLELISM_CONFIG"):
        if os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() == "true":
            raise RungError(f"accelerate was told to use {name}, which is not supported.", remedy=remedy)
    if shards() and (version := os.environ.get("FSDP_VERSION", "1")) != "2":
        raise RungError(f"accelerate was told to use FSDP version {version}, which is not supported.", remedy=remedy)
