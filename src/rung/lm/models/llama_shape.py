"""The shape of a Llama from its number of parameters alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rung.errors import ModelError

ASPECT = (1.0, 3.0)
"""Width over layers, as a multiple of the width's square root: about 9 layers at 320, 32 at 4096. Within wide limits the loss
hardly depends on it (https://arxiv.org/abs/2001.08361, section 3.1)."""

INNER = (2.25, 3.25)
"""Feed-forward width over the model width: about the 8/3 of https://arxiv.org/abs/2002.05202."""

STEP = 16


@dataclass(frozen=True, order=True)
class Shape:
    """Sizes of a Llama with tied embeddings."""

    parameters: int
    layers: int
    width: int
    inner: int
    heads: int


def shape(parameters: int, vocabulary: int) -> Shape:
    """The largest well-proportioned shape of at most `parameters`, embeddings included.

    ModelError if even the smallest is larger, or all that fit are far smaller: the vocabulary is too large.
    """
    best = max((one for one in _shapes(parameters, vocabulary) if one.parameters <= parameters), default=None)
    if best is None or best.parameters < 0.95 * parameters:
        raise ModelError(
            f"no well-proportioned model has {parameters:,} parameters with a vocabulary of {vocabulary:,}.",
            remedy="Set more parameters or a smaller vocabulary.",
        )
    return best


def _shapes(parameters: int, vocabulary: int) -> Iterator[Shape]:
    """For each width and number of layers, the shape with the largest feed-forward width that stays within `parameters`."""
    width, smallest = 0, 0
    while smallest <= parameters:
        width += _head(width)
        fewest, most = (width / (ratio * math.sqrt(width)) for ratio in ASPECT[::-1])
        low, high = (int(ratio * width) // STEP * STEP for ratio in INNER)
        smallest = parameters + 1
        for layers in range(math.ceil(fewest), math.floor(most) + 1):
            rest = vocabulary * width + width + layers * (4 * width**2 + 2 * width)
            inner = min(max((parameters - rest) // (3 * width * layers) // STEP * STEP, low), high)
            shapes = Shape(rest + 3 * width * layers * inner, layers, width, inner, width // _head(width))
            smallest = min(smallest, shapes.parameters)
            yield shapes


def _head(width: int) -> int:
    """Width of an attention head; widths are multiples of it. Small models get small heads, so that they have several."""
    return 32 if width < 512 else 64 if width < 2048 else 128


def fresh(parameters: int, context: int, tokenizer: Any, seed: int) -> Any:
    """An untrained Llama of at most `parameters` for the tokenizer, with random weights from the seed."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    size = shape(parameters, len(tokenizer))
    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=size.width,
            intermediate_size=size.inner,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            num_key_value_heads=size.heads,
            max_position_embeddings=context,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
