"""Answers of rungs to a few train rows, and what their lengths say about the estimates of their base's rungs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from rung.lm.engine_kinds import can
from rung.methods.base import Method, options
from rung.methods.facts import Facts
from rung.methods.multiprocess import TRAINS
from rung.methods.written import Seen, StopBehaviour
from rung.planning.bases import Base
from rung.predictor import Predictor
from rung.store import Store
from rung.types import Need, TrainData, digest

FILE = "samples.json"


@dataclass(frozen=True, slots=True)
class Sample:
    """Lengths of a rung's answers to a few train rows. Their texts are stored as all answers are."""

    rung: str
    task: str
    """What `task_digest` gives: samples of another task, base or kind of rows say nothing."""
    stop: StopBehaviour
    """Of the rung."""
    limit: int
    """Tokens after which an answer is cut."""
    lengths: tuple[int, ...] = ()
    """Tokens of each answer; empty as long as the rung is being asked, and forever if the process was killed then."""

    def seen(self) -> Seen:
        """What it says about other answers."""
        ended = tuple(one for one in self.lengths if one < self.limit)
        return Seen(ended, len(self.lengths) - len(ended))


def stored(store: Store, say: Callable[[str], object]) -> dict[str, Sample]:
    """The samples of a store by their keys. Those of another version's shape are left out, and that is said."""
    values = store.read(FILE)
    found = valid(values)
    if dropped := len(values) - len(found):
        say(f"{FILE}: {dropped} of {len(values)} samples have the shape of another version and are not used.")
    return found


def put(store: Store, name: str, one: Sample | None) -> None:
    """Store a sample under its key, or None to remove it. One with lengths, which another driver has stored, stays."""

    def changed(before: dict[str, Any]) -> dict[str, Any]:
        known = valid(before)
        if not (name in known and known[name].lengths):
            known = {**{other: value for other, value in known.items() if other != name}, **({name: one} if one else {})}
        return {other: asdict(value) for other, value in known.items()}

    store.change(FILE, changed)


def valid(values: Mapping[str, Any]) -> dict[str, Sample]:
    """Samples by their keys from their JSON, without those of another shape."""
    found, reader = dict[str, Sample](), TypeAdapter(Sample)
    for name, value in values.items():
        with suppress(ValidationError):
            found[name] = reader.validate_python(value)
    return found


def task_digest(base: Base) -> str:
    """The base with its instruction, and the mean lengths of prompts and answers in powers of two."""
    sizes = [round(math.log2(max(1.0, size))) for size in (base.facts.input_tokens, base.facts.output_tokens)]
    return digest([base.start.digest, sizes])


def key(base: Base, chain: Sequence[Method], data: TrainData) -> str:
    """Under which a sample is stored: what is asked and how. A few more train rows hardly change how long answers are."""
    reads = any(Need.DOCUMENTS in method.needs for method in chain)
    made = [[method.name, method.fit_version, options(method)] for method in chain]
    return digest([task_digest(base), made, data.documents.digest if reads else ""])


def sampled_part(chain: Sequence[Method]) -> tuple[Method, ...] | None:
    """The methods at the beginning of a rung that rows are asked with; None if its answers are those of trained weights."""
    if any(method.own_model or method.family in TRAINS for method in chain):
        return None
    first = next((place for place, method in enumerate(chain) if not method.quick), len(chain))
    return tuple(chain[:first])


def can_be_sampled(start: Predictor) -> bool:
    """Whether rows may be asked of a base: it writes, and nobody charges for it."""
    able = can(start.model)
    return able.local and able.writes and not start.labels


def with_samples(base: Base, chain: Sequence[Method], data: TrainData, samples: Mapping[str, Sample]) -> Facts:
    """The base's facts with the lengths of sampled answers; of rungs that stop alike a rung's own sample counts."""
    task = task_digest(base) if samples else ""
    given = {name: one for name, one in samples.items() if one.lengths and one.task == task}
    by_stop: dict[StopBehaviour, list[Sample]] = defaultdict(list)
    for one in given.values():
        by_stop[one.stop].append(one)
    part = sampled_part(chain) if given else None
    if part is not None and (own := given.get(key(base, part, data))):
        by_stop[own.stop] = [own]
    return replace(base.facts, seen={stop: _joined([one.seen() for one in some]) for stop, some in by_stop.items()})


def _joined(some: Sequence[Seen]) -> Seen:
    return Seen(tuple(tokens for one in some for tokens in one.ended), sum(one.cut for one in some))
