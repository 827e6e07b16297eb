"""Refusals before any step is trained: rows that would teach the wrong thing, ends that fail in use, half a checkpoint."""

from __future__ import annotations

import json
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from rung.errors import DataError, ModelError, RungError
from rung.lm import processes
from rung.lm.models.load import Loaded
from rung.lm.trees import virtual
from rung.lm.trees.tree import Row


def unlearnable(rows: Sequence[Row], loaded: Loaded) -> None:
    """DataError for what looks healthy in training and fails in use."""
    if not rows:
        raise DataError("there is no row to train on.", remedy="Add examples to the training file.")
    tokenizer = loaded.chat.tokenizer
    begin = tokenizer.bos_token_id
    for i, row in enumerate(rows):
        where = f"training row {i + 1}"
        if not any(row.targets):
            raise DataError("no token of this row is a target, so nothing would be learnt.", where=where)
        if not (row.targets[-1] and row.tokens[-1] == loaded.chat.end):
            raise DataError(
                "the row does not end with the end token as a target, so the model would never learn to stop.",
                where=where,
                remedy="Shorten the row so that its answer is not cut.",
            )
        if len(row.tokens) > loaded.room:
            raise DataError(
                f"the row has {len(row.tokens)} tokens and the model takes {loaded.room}: cut, it would lose its answer.",
                where=where,
                remedy="Shorten its input, use fewer demonstrations, or name a base with a longer context.",
            )
        if begin is not None and row.tokens[:2] == (begin, begin):
            raise DataError(
                f"the row begins with the begin token {tokenizer.decode([begin])!r} twice; the model was trained on one.",
                where=where,
                remedy="Take the begin token out of the chat template or out of the text.",
            )


def pad_that_ends(loaded: Loaded) -> None:
    """ModelError where the end of an answer is used as padding, in a list of end tokens: served, every answer came out empty
    (transformers #48016).

    A sole end token that also pads is usual and harmless here, where nothing is padded with it. So is a padding token that
    ends texts but no answers (Qwen2.5, Phi-3); weights saved whole name none.
    """
    generation: Any = getattr(loaded.model, "generation_config", None)
    ends = getattr(generation, "eos_token_id", None)
    pad = getattr(generation, "pad_token_id", None)
    if isinstance(ends, list) and len(ends) > 1 and pad == loaded.chat.end and pad in ends:
        raise ModelError(
            f"{loaded.chat.tokenizer.decode([pad])!r} ends an answer, and is the padding token too, among the end tokens {ends}: "
            "served, the model would stop at once.",
            where="generation_config.json",
            remedy="Set another pad_token_id there, or take it out of eos_token_id.",
        )


def spread(loaded: Loaded) -> None:
    """RungError where the processes are to share out weights that cannot be shared out."""
    if processes.at_it() and processes.shards() and (virtual.size(loaded.model) or getattr(loaded.model, "is_quantized", False)):
        raise RungError(
            "FSDP spreads plain weights, and this model has virtual tokens in front or 4-bit weights.",
            remedy="Choose no sharding in the configuration of accelerate: each process then keeps the weights whole.",
        )


def cut_short(folder: Path) -> None:
    """Delete checkpoints that a kill cut short: Trainer would take up the last one, fail, and fail again the next time."""
    for found in folder.glob("checkpoint-*"):
        if not _whole(found):
            shutil.rmtree(found)


def _whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end.

    Trainer writes in place: weights, optimizer, schedule, random states, last its own state; then it deletes the one before.
    So whenever the kill comes, one is whole.
    """
    parts = [[*checkpoint.glob(name)] for name in ("*model*", "optimizer*", "scheduler.pt", "rng_state*")]
    if not all(parts) or len(parts[-1]) < processes.place()[1]:  # random states: one a process
        return False
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        for weights in checkpoint.glob("*.safetensors"):
            with safe_open(weights, "pt"):  # reads the head, and holds the size of the file to it
                pass
    except (OSError, ValueError, SafetensorError):
        return False
    return all(zipfile.is_zipfile(path) for end in ("pt", "pth", "bin") for path in checkpoint.glob(f"*.{end}"))
