"""Two answers of each rung that writes and trains nothing: what they say about the estimates of their base's rungs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean

from pydantic import TypeAdapter

from rung.lm.engine_kinds import can
from rung.machine import Machine
from rung.methods.base import Method, options
from rung.methods.estimate import batch_seconds
from rung.methods.facts import Facts
from rung.methods.multiprocess import TRAINS
from rung.methods.written import Seen, StopBehaviour
from rung.planning.corrections import speeds
from rung.predictor import Predictor
from rung.store import Store
from rung.types import digest

FILE = "samples.json"

SECONDS_WEIGHT = 0.5
"""Power of measured over expected seconds by which estimates are corrected: the seconds of one small batch are half chance."""
MOST_SLOWER = 4.0
"""Largest correction of the seconds in either direction; beyond it something else was measured."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What a rung answered to a few train rows. Their texts are stored as all answers are."""

    rung: str
    base: str
    """Digest of the Predictor that the rung starts from."""
    stop: int
    """Stop behaviour of the rung."""
    limit: int
    """Tokens after which an answer is cut."""
    read: tuple[int, ...]
    """Tokens of each row's prompt. Rows that the model was not asked are left out."""
    written: tuple[int, ...]
    """Tokens of each row's answer."""
    shared: float
    """Tokens in front of every row, as estimated."""
    seconds: float = 0.0
    """Wall clock of all rows in one batch; 0 if some were answered before."""
    machine: str = ""
    """Digest of the speeds of the machine that answered."""

    def seen(self, facts: Facts, machine: Machine) -> Seen:
        """What it says about other answers. Seconds count only on the machine that answered."""
        ended = tuple(one for one in self.written if one < self.limit)
        return Seen(ended, len(self.written) - len(ended), self._slower(facts, machine))

    def _slower(self, facts: Facts, machine: Machine) -> float:
        if not (self.seconds and self.written and self.machine == speeds(asdict(machine))):
            return 1.0
        own = [max(0.0, one - self.shared) for one in self.read]
        expected = batch_seconds(list(zip(own, self.written)), self.shared, facts.parameters, machine)
        return min(MOST_SLOWER, max(1 / MOST_SLOWER, (self.seconds / expected) ** SECONDS_WEIGHT))


def stored(store: Store) -> dict[str, Sample]:
    """The samples of a store by their keys."""
    return TypeAdapter(dict[str, Sample]).validate_python(store.read(FILE))


def key(start: Predictor, chain: Sequence[Method]) -> str:
    """Under which a sample is stored: what is asked and how. Other train rows hardly change how long answers are."""
    return digest([start.digest, [[method.name, options(method)] for method in chain]])


def asked_part(chain: Sequence[Method]) -> tuple[Method, ...] | None:
    """The methods at the beginning of a rung that two rows are asked with; None if its answers are those of trained weights."""
    if any(method.own_model or method.family in TRAINS for method in chain):
        return None
    first = next((place for place, method in enumerate(chain) if not method.quick), len(chain))
    return tuple(chain[:first])


def is_asked(start: Predictor) -> bool:
    """Whether two rows may be asked of a base: it writes, and nobody charges for it."""
    able = can(start.model)
    return able.local and able.writes and not start.labels


def with_samples(
    facts: Facts, start: Predictor, chain: Sequence[Method], samples: Mapping[str, Sample], machine: Machine
) -> Facts:
    """The facts with what was seen of the base; of rungs that stop alike a rung's own sample counts."""
    by_stop: dict[StopBehaviour, list[Sample]] = defaultdict(list)
    for one in samples.values():
        if one.base == start.digest:
            by_stop[StopBehaviour(one.stop)].append(one)
    if part := asked_part(chain):
        own = samples.get(key(start, part))
        by_stop |= {StopBehaviour(own.stop): [own]} if own else {}
    found = {stop: _joined([one.seen(facts, machine) for one in some]) for stop, some in by_stop.items()}
    return replace(facts, seen=found)


def _joined(some: Sequence[Seen]) -> Seen:
    ended = tuple(tokens for one in some for tokens in one.ended)
    slower = math.exp(fmean(math.log(one.slower) for one in some))
    return Seen(ended, sum(one.cut for one in some), slower)
