"""Which machine of a cluster runs a job next: pure functions of what the machines have and what is on them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster."""

    id: str
    name: str
    cpus: float
    memory: int
    """Bytes that jobs may request."""
    gpus: float = 0.0


@dataclass(frozen=True, slots=True)
class Demand:
    """What one job takes on a machine."""

    cpus: float
    memory: int
    gpus: float = 0.0
    share: float = 1.0
    """Of the machine's threads."""


def slots(nodes: Sequence[Node], parallel: int) -> int:
    """Jobs on one machine at once, where so many run on all."""
    return math.ceil(parallel / max(1, len(nodes)))


def place(
    nodes: Sequence[Node],
    busy: Mapping[str, Sequence[Demand]],
    parallel: int,
    memory: int,
    gpus: float = 0.0,
    avoid: Collection[str] = (),
) -> tuple[Node, Demand] | None:
    """The machine for a job and what to request there; None where none has room now.

    `busy`: what runs on each machine. `memory`: estimated bytes; a job larger than every machine gets a whole one. `avoid`:
    machines that the job was lost on, taken only where there is no other.
    """
    fit = [node for node in nodes if node.gpus >= gpus]
    open_to = [node for node in fit if node.id not in avoid] or fit
    each = slots(fit, parallel)
    largest = max((node.memory for node in open_to), default=0)
    asked = min(memory, largest)
    for node in sorted(open_to, key=lambda one: (len(busy.get(one.id, ())), -one.memory)):
        there = busy.get(node.id, ())
        room = node.memory - sum(one.memory for one in there)
        if len(there) < each and asked <= room and gpus <= node.gpus - sum(one.gpus for one in there):
            cpus = node.cpus / each
            return node, Demand(math.floor(cpus) if cpus >= 1 else cpus, asked, gpus, 1 / each)
    return None
