"""What the methods that train on raw text share: tokens on disk, perplexity with its interval."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung.data import corpus
from rung.metrics.resample import bootstrap_interval
from rung.types import Texts, digest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rung.lm.shards import Shard

    Rows = NDArray[np.float64]


def shards(found: Texts, share: float, tokenizer: Any, folder: Path) -> tuple[Shard, Shard | None]:
    """The text as tokens: what to train on, and what is held out; tokenised once, whatever kills the fit."""
    from rung.lm import shards

    below = corpus.held_below(found, share)
    name = digest([found.digest, share, tokenizer.backend_tokenizer.to_str() if tokenizer.is_fast else tokenizer.name_or_path])
    kept = [
        shards.write(folder / part, corpus.part(found, below, held=part == "held"), tokenizer, f"{name} {part}")
        for part in (("train", "held") if below else ("train",))
    ]
    return kept[0], kept[1] if below else None


def perplexities(before: Rows, after: Rows) -> dict[str, Any]:
    """Perplexity of held-out text before and after, and the quotient, with intervals from drawing documents again."""
    import numpy as np

    from rung.lm.perplexity import perplexity

    both = np.concatenate([before, after], axis=1)
    return {
        "before": str(bootstrap_interval(before, statistic=perplexity)),
        "after": str(bootstrap_interval(after, statistic=perplexity)),
        "quotient": str(bootstrap_interval(both, statistic=lambda sums: perplexity(sums[..., 3:]) / perplexity(sums[..., :3]))),
        "documents": len(before),
        "tokens": int(before[:, 1].sum()),
    }
