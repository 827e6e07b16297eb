"""The answers that waiting requests want, in groups that one call of a model can give."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rung.lm.base import Decoding
from rung.serve.answering.job import Job


@dataclass(frozen=True, slots=True)
class Ask:
    """One answer that is wanted."""

    job: Job
    index: int
    """Which of the request's answers."""
    decoding: Decoding


def grouped(jobs: Sequence[Job]) -> list[list[Ask]]:
    """The answers that are wanted, in groups that one call can give, in the order that they came in.

    Draws depend on the seed and the prompt alone. With a seed, answer k is drawn with seed + k. Without one, a group draws
    its own, and a prompt that is asked again stands in another group: sampled twice, it may be answered otherwise.
    """
    out: dict[object, list[Ask]] = {}
    seen: Counter[object] = Counter()
    fresh: dict[object, int] = {}
    for job in jobs:
        for index in range(job.chat.n):
            decoding = job.served.decoded(job.chat)
            key: tuple[object, ...] = (job.served.name, job.allow, decoding)
            if job.chat.seed is not None:
                decoding = replace(decoding, seed=job.chat.seed + index)
            elif decoding.temperature > 0:
                again = (*key, job.chat.messages)
                drawn = (*key, seen[again])
                seen[again] += 1
                decoding = replace(decoding, seed=fresh.setdefault(drawn, secrets.randbits(48)))
            out.setdefault((job.served.name, job.allow, decoding), []).append(Ask(job, index, decoding))
    return list(out.values())
