"""Refusals before any step is trained: rows from which nothing or the wrong thing would be learnt, ends that fail in use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rung.errors import DataError, ModelError
from rung.lm.load import Loaded
from rung.lm.tree import Row


def unlearnable(rows: Sequence[Row], loaded: Loaded) -> None:
    """DataError or ModelError for what looks healthy in training and fails in use."""
    if not rows:
        raise DataError("there is no row to train on.", remedy="Add examples to the training file.")
    _pad_that_ends(loaded)
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


def _pad_that_ends(loaded: Loaded) -> None:
    """The end of an answer used as padding, in a list of end tokens: served, every answer came out empty (transformers #48016).

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
