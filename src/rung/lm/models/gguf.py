"""Converts a GGUF file once to a folder of float32 safetensors with its tokenizer, ready for training."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rung.errors import ModelError
from rung.lm.models import gguf_tokenizer, opening
from rung.lm.quiet import quiet
from rung.visible import print_visible

PADS = ("<pad>", "<|pad|>", "[PAD]", "<|finetune_right_pad_id|>", "<|endoftext|>", "<unk>")
"""Padding tokens of common models, and tokens that never end a turn, in order of preference."""


def convert(gguf: Path, folder: Path, *, say: Callable[[str], object] = print_visible) -> None:
    """Write `gguf` as model, config, generation config and tokenizer into `folder`.

    The weights are dequantized to float32, so that they can be trained. Takes about 20 seconds
    for 135 M parameters. ModelError if transformers cannot read the architecture.
    """
    say(f"Converting {gguf.name} to safetensors (once)...")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    # the GGUF reader's progress bar ignores the switches in `quiet` and can only be caught on stderr
    with quiet(), contextlib.redirect_stderr(io.StringIO()):
        try:
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, trust_remote_code=False)
            options = {"gguf_file": gguf.name, "dtype": torch.float32}
            model = opening.load_strict(AutoModelForCausalLM, gguf.parent, where=str(gguf), **options)
        except (ValueError, KeyError, NotImplementedError) as error:
            raise ModelError(
                f"transformers cannot read this GGUF file: {error}",
                where=str(gguf),
                remedy="Use the model's safetensors folder instead.",
            ) from error
        gguf_tokenizer.restore(tokenizer, gguf, say)
        _clear_quantization(model)
        set_pad(tokenizer, model)
        model.save_pretrained(folder)  # written into: a cache entry under way
        tokenizer.save_pretrained(folder)  # written into: a cache entry under way
        model.generation_config.save_pretrained(folder)  # written into: a cache entry under way


def _clear_quantization(model: Any) -> None:
    """The weights are plain floats by now, but transformers does not save a model that is marked as quantized."""
    model.hf_quantizer = None
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config


def set_pad(tokenizer: Any, model: Any) -> None:
    """Give tokenizer, config and generation config a pad token that is not an end token.

    A pad token equal to the end token (SmolLM2's GGUF: both <|im_end|>) makes training masks drop the token that
    teaches the model to stop. No token is added, so the vocabulary does not grow.
    """
    ends = {tokenizer.eos_token_id} | _ids(model.config.eos_token_id) | _ids(model.generation_config.eos_token_id)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in ends:
        vocabulary = tokenizer.get_vocab()
        pads = [token for token in (*PADS, tokenizer.unk_token) if token in vocabulary]
        if free := [token for token in pads if vocabulary[token] not in ends]:
            tokenizer.pad_token = free[0]
    model.config.pad_token_id = tokenizer.pad_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id


def _ids(value: int | list[int] | None) -> set[int]:
    if value is None:
        return set()
    return set(value) if isinstance(value, list) else {value}
