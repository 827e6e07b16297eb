"""What the methods that train on raw text share: tokens on disk, and perplexity with its interval."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.data import corpus, crew
from rung.errors import BudgetError
from rung.methods import tuning
from rung.methods.base import Run
from rung.metrics.resample import bootstrap_interval
from rung.types import Texts, digest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rung.lm.models.load import Loaded
    from rung.lm.raw_text.shards import Shard

    Rows = NDArray[np.float64]


@dataclass(frozen=True)
class Parts:
    """Raw text as tokens on disk."""

    learnt: Shard
    held: Shard | None
    """Never trained on, to measure on."""
    choosing: Shard | None
    """Never trained on, to choose the checkpoint by."""


def cuts(found: Texts, share: float, patience: int) -> list[float]:
    """Hash bounds: a document below the first is held out to measure on, below the second to choose a checkpoint by."""
    return corpus.cuts(found, share, tuning.HELD * (1 - share) if patience else 0.0)


def shards(found: Texts, share: float, tokenizer: Any, folder: Path, run: Run, patience: int = 0) -> Parts:
    """The text, tokenised once even if the fit is killed: a `share` held out, and with `patience` some more to choose by.

    Of several processes that fit together each tokenises some of the ranges, into the first one's folder.
    """
    from rung.lm import processes
    from rung.lm.raw_text.pack import Workers, pack

    held, chosen = cuts(found, share, patience)
    name = digest([found.digest, share, tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else tokenizer.name_or_path])
    rank, machines = processes.rank_and_world_size()
    on_this_machine = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) if machines > 1 else 1

    def done(made: int, of: int) -> None:
        run.progress(f"tokenized {made} of {of} parts of the text", made / of if of else 1.0)
        if time.monotonic() > run.deadline and machines == 1:  # several stop together, at the first step
            raise BudgetError(
                f"tokenizing was stopped after {made} of {of} parts of the text: the time budget is used up.",
                remedy="Raise budget.minutes in rung.yaml; tokenizing resumes with the parts that are missing.",
            )

    here = crew.useful(run.engines.machine.cores // on_this_machine, found.size)
    workers = Workers(here, rank, machines, lambda: processes.barrier(processes.READING_TIMEOUT), done)
    parts = pack(found, (held, chosen), tokenizer, processes.broadcast(folder), f"{name} {held} {chosen}", workers)
    return Parts(parts["train"], parts.get("held"), parts.get("choosing"))


def score(loaded: Loaded, shard: Shard, length: int, most: int) -> Callable[[], float]:
    """How well the model in training predicts at most `most` tokens of a text: minus nats per token."""
    from rung.lm.raw_text.perplexity import measure

    def found() -> float:
        nats, tokens, _ = measure(loaded, shard, length, most, whole=False).sum(0)
        return float(-nats / tokens)

    return found


def perplexities(before: Rows, after: Rows) -> dict[str, Any]:
    """Perplexity of held-out text before and after, and their quotient, with intervals from resampling documents."""
    import numpy as np

    from rung.lm.raw_text.perplexity import perplexity

    both = np.concatenate([before, after], axis=1)
    return {
        "before": str(bootstrap_interval(before, statistic=perplexity)),
        "after": str(bootstrap_interval(after, statistic=perplexity)),
        "quotient": str(bootstrap_interval(both, statistic=lambda sums: perplexity(sums[..., 3:]) / perplexity(sums[..., :3]))),
        "documents": len(before),
        "tokens": int(before[:, 1].sum()),
    }
