"""Checks before the first step: rows that cannot be trained on, unusable end tokens, sharding, partial checkpoints."""

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


def check_rows(rows: Sequence[Row], loaded: Loaded) -> None:
    """DataError for rows whose training loss looks fine but whose model fails in use."""
    if not rows:
        raise DataError("there are no rows to train on.", remedy="Add examples to the training file.")
    tokenizer = loaded.chat.tokenizer
    begin = tokenizer.bos_token_id
    for i, row in enumerate(rows):
        where = f"training row {i + 1}"
        if not any(row.targets):
            raise DataError("no token of this row is a target, so it teaches nothing.", where=where)
        if not (row.targets[-1] and row.tokens[-1] == loaded.chat.end):
            raise DataError(
                "the row must end with the end token as a target, or the model never learns to stop.",
                where=where,
                remedy="Shorten the row so that its answer is not truncated.",
            )
        if len(row.tokens) > loaded.max_length:
            raise DataError(
                f"a row has at most {loaded.max_length} tokens, got {len(row.tokens)}; truncation would cut its answer.",
                where=where,
                remedy="Shorten its input, use fewer demonstrations, or choose a base with a longer context.",
            )
        if begin is not None and row.tokens[:2] == (begin, begin):
            raise DataError(
                f"the row begins with the begin token {tokenizer.decode([begin])!r} twice; the model was trained with one.",
                where=where,
                remedy="Remove the begin token from the chat template or from the text.",
            )


def check_pad_token(loaded: Loaded) -> None:
    """ModelError if the padding token is the answer's end token and one of several end tokens: such a model, when served,
    gave only empty answers (transformers #48016).

    A single end token that also pads is common and harmless here, where nothing is padded with it. So is a padding token
    that ends texts but not answers (Qwen2.5, Phi-3); fully saved weights have none.
    """
    generation: Any = getattr(loaded.model, "generation_config", None)
    ends = getattr(generation, "eos_token_id", None)
    pad = getattr(generation, "pad_token_id", None)
    if isinstance(ends, list) and len(ends) > 1 and pad == loaded.chat.end and pad in ends:
        raise ModelError(
            f"the padding token {loaded.chat.tokenizer.decode([pad])!r} also ends answers, and is one of the end tokens {ends}: "
            "when served, the model would stop at once.",
            where="generation_config.json",
            remedy="Set another pad_token_id there, or remove it from eos_token_id.",
        )


def check_sharding(loaded: Loaded) -> None:
    """RungError if FSDP would shard weights that it cannot shard."""
    if (
        processes.check_joint()
        and processes.uses_fsdp()
        and (virtual.size(loaded.model) or getattr(loaded.model, "is_quantized", False))
    ):
        raise RungError(
            "FSDP does not support a model with virtual tokens or 4-bit weights.",
            remedy="Use no sharding in accelerate's configuration: each process then holds the full weights.",
        )


def delete_partial_checkpoints(folder: Path) -> None:
    """Delete incomplete checkpoints of a killed run: Trainer would resume from the last one and fail, every time."""
    for found in folder.glob("checkpoint-*"):
        if not _is_complete(found):
            shutil.rmtree(found)


def _is_complete(checkpoint: Path) -> bool:
    """Whether a checkpoint was written completely.

    Trainer writes in place: weights, optimizer, scheduler, random states, and last its own state; then it deletes the
    previous checkpoint. So one is complete whenever the process is killed.
    """
    parts = [[*checkpoint.glob(name)] for name in ("*model*", "optimizer*", "scheduler.pt", "rng_state*")]
    if not all(parts) or len(parts[-1]) < processes.rank_and_world_size()[1]:  # random states: one per process
        return False
    try:
        json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        for weights in checkpoint.glob("*.safetensors"):
            with safe_open(weights, "pt"):  # checks the header and the file's length
                pass
    except (OSError, ValueError, SafetensorError):
        return False
    return all(zipfile.is_zipfile(path) for end in ("pt", "pth", "bin") for path in checkpoint.glob(f"*.{end}"))
