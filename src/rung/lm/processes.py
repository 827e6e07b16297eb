"""Distributed training, one process per GPU: rank, broadcast, gradient all-reduce, full state dicts of sharded models.

`accelerate launch` or `torchrun` starts the processes and sets each one's rank in the environment. This module imports
torch only when there are several processes.
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

STEP_TIMEOUT = timedelta(minutes=30)
"""Timeout within a training, while another process computes its share or evaluates."""

READING_TIMEOUT = timedelta(days=30)
"""Timeout within a training, while another process reads its share of a corpus: one compressed file is one share."""

IDLE_TIMEOUT = timedelta(days=365)
"""Timeout between trainings, while the main process answers rows and scores."""

FAILURE_TIMEOUT = timedelta(minutes=10)
"""How long a failed process waits for the others to report whether they failed too."""

BUCKET_NUMEL = 2**26
"""Elements in one all-reduce."""

_training_jointly = False


def is_distributed() -> bool:
    """Whether this process is one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "LOCAL_RANK" in os.environ


def rank_and_world_size() -> tuple[int, int]:
    """This process's rank, from 0, and the number of processes."""
    return (int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])) if is_distributed() else (0, 1)


def is_main_process() -> bool:
    """Whether this process writes, prints and decides: rank 0, or the only process."""
    return rank_and_world_size()[0] == 0


def uses_fsdp() -> bool:
    """Whether the launcher is configured to shard the weights over the processes (FSDP)."""
    return is_distributed() and os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true"


def initialize() -> None:
    """Set up the process group, one GPU per process if there are GPUs. Every process calls this once.

    RungError for sharding strategies that are not supported.
    """
    _check_strategy()
    # each process reads the weights itself: whether a model supports prefix trees is tested on it
    os.environ["FSDP_CPU_RAM_EFFICIENT_LOADING"] = "false"
    import torch
    import torch.distributed as dist

    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    if not dist.is_initialized():  # Ray Train has done it for its workers
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=STEP_TIMEOUT)
    _group(IDLE_TIMEOUT), _group(STEP_TIMEOUT), _group(READING_TIMEOUT)


def shut_down() -> None:
    """Leave the process group."""
    import torch.distributed as dist

    dist.destroy_process_group()


@contextmanager
def joint_training() -> Iterator[None]:
    """Context in which all processes run the same training. Outside of it only the main process works, and it may not train."""
    global _training_jointly
    _training_jointly = True
    try:
        yield
    finally:
        _training_jointly = False


def check_joint() -> bool:
    """Whether several processes are training together now. RungError if several were started but only this one would train."""
    if is_distributed() and not _training_jointly:
        raise RungError(
            "several processes were started, but this training runs in one process.",
            remedy="Run it as a plain command; only fits that can be distributed run as: accelerate launch -m rung.cli fit …",
        )
    return is_distributed()


def broadcast(value: Value) -> Value:
    """The main process's value, in every process, during a joint training."""
    return _broadcast(value, STEP_TIMEOUT) if _training_jointly and is_distributed() else value


def broadcast_job(value: Value) -> Value:
    """The same between trainings, with no practical limit on the wait."""
    return _broadcast(value, IDLE_TIMEOUT)


def barrier(timeout: timedelta | None = None) -> None:
    """Continue when all processes have reached this point, at most STEP_TIMEOUT apart, or `timeout`."""
    if _training_jointly and is_distributed():
        import torch.distributed as dist

        dist.barrier(group=_group(timeout or STEP_TIMEOUT))


def gather_errors(error: str) -> list[str]:
    """Each process's error from its training, or an empty string, in every process.

    If one process fails while the others still train, it exits after FAILURE_TIMEOUT, and so do the others.
    """
    import torch.distributed as dist

    errors: list[Any] = [""] * rank_and_world_size()[1]
    try:
        dist.monitored_barrier(group=_group(IDLE_TIMEOUT), timeout=FAILURE_TIMEOUT if error else IDLE_TIMEOUT)
        dist.all_gather_object(errors, error, group=_group(IDLE_TIMEOUT))
    except RuntimeError:
        raise _peer_lost(f" This one: {error}" if error else "") from None
    return errors


def all_reduce(tensors: Sequence[Any]) -> None:
    """Sum tensors over the processes, in place."""
    import torch
    import torch.distributed as dist

    for bucket in _buckets(tensors):
        flat = torch.cat([tensor.flatten() for tensor in bucket])
        dist.all_reduce(flat)
        for tensor, summed in zip(bucket, flat.split([tensor.numel() for tensor in bucket])):
            tensor.copy_(summed.view_as(tensor))


def broadcast_tensors(tensors: Iterable[Any]) -> None:
    """Copy the main process's tensors to all processes, in place."""
    if _training_jointly and is_distributed():
        import torch.distributed as dist

        for tensor in tensors:
            dist.broadcast(tensor, 0)


def full_state_dict(model: Any) -> dict[str, Any] | None:
    """Full trained tensors of a sharded model, in the main process; None for a model that is not sharded.

    Every process must call it.
    """
    if not (_training_jointly and uses_fsdp()):
        return None
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    tensors = get_model_state_dict(model, options=options)
    named = {name for name, _ in (*model.named_parameters(), *model.named_buffers())}  # a tied weight under one name
    return {name: tensor for name, tensor in tensors.items() if name in named}


def _broadcast(value: Value, timeout: timedelta) -> Value:
    import torch.distributed as dist

    box: list[Any] = [value if is_main_process() else None]
    try:
        dist.broadcast_object_list(box, 0, group=_group(timeout))
    except RuntimeError:
        raise _peer_lost() from None
    return box[0]


@cache
def _group(timeout: timedelta) -> Any:
    """A process group for messages through main memory."""
    import torch.distributed as dist

    return dist.new_group(backend="gloo", timeout=timeout)


def _peer_lost(more: str = "") -> SystemExit:
    """SystemExit, not an error of one rung: without the lost process nothing can be distributed any more."""
    return SystemExit(f"error: one of the processes has exited or hangs, so all exit; its own message says why.{more}")


def _buckets(tensors: Sequence[Any]) -> Iterator[list[Any]]:
    """Runs of tensors of one dtype: large enough to be worth a message, small enough to copy."""
    bucket: list[Any] = []
    for tensor in tensors:
        if bucket and (tensor.dtype != bucket[0].dtype or sum(t.numel() for t in bucket) + tensor.numel() > BUCKET_NUMEL):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


def _check_strategy() -> None:
    """DeepSpeed and Megatron wrap the model in their own engine; FSDP 1 flattens weights that our layers read directly."""
    remedy = "Use no sharding, or FSDP with fsdp_version 2, in accelerate's configuration."
    for name in ("DEEPSPEED", "MEGATRON_LM", "PARALLELISM_CONFIG"):
        if os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() == "true":
            raise RungError(f"accelerate is configured to use {name}, which is not supported.", remedy=remedy)
    if uses_fsdp() and (version := os.environ.get("FSDP_VERSION", "1")) != "2":
        raise RungError(f"accelerate is configured to use FSDP version {version}, which is not supported.", remedy=remedy)
