"""Virtual tokens: trained embeddings, or trained keys and values, in front of every row; over trees and as peft computes them.

All rows share them, so they stand before the roots of a prefix tree: their keys and values are computed once a part, with
gradients, and every node sees them. Positions count them, as in peft.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import Cache, DynamicLayer

from rung.lm.trees import attention

KeysValues = list[tuple[torch.Tensor, torch.Tensor]]
"""For each layer keys and values, (1, heads, tokens, width)."""


def size(model: Any) -> int:
    """How many virtual tokens stand in front of every row; 0 for a model without them."""
    config = getattr(model, "active_peft_config", None)
    return config.num_virtual_tokens if config is not None and config.is_prompt_learning else 0


def base(model: Any) -> Any:
    """The model that computes real tokens, once it is given what stands before them."""
    return model.get_base_model() if size(model) else model


def past(model: Any) -> KeysValues:
    """Keys and values of the virtual tokens; gradients flow to what is trained. Empty for a model without them."""
    if not size(model):
        return []
    given = model.get_prompt(1)
    if isinstance(given, torch.Tensor):  # embeddings, to be read like words
        inner = base(model)
        return read(inner, given.to(inner.get_input_embeddings().weight.dtype))
    return [(layer.keys, layer.values) for layer in given.layers]


def cache(found: KeysValues) -> Cache | None:
    """What a forward pass continues, from keys and values; None where there are none."""
    if not found:
        return None
    layers: list[Any] = []
    for keys, values in found:
        layer = DynamicLayer()  # a sliding window counts depth, which the attention does from its mask: all is kept
        layer.update(keys, values)
        layers.append(layer)
    return Cache(layers=layers)


def read(model: Any, embeddings: torch.Tensor) -> KeysValues:
    """Keys and values of a sequence of embeddings (1, n, width) under a model that attends over trees."""
    n = embeddings.shape[1]
    depth = np.arange(n)
    made: list[Any] = [DynamicLayer() for _ in range(model.config.get_text_config().num_hidden_layers)]
    model(
        inputs_embeds=embeddings,
        position_ids=torch.arange(n, device=embeddings.device)[None],
        past_key_values=Cache(layers=made),
        blocks=attention.blocks(np.tri(n, dtype=bool), depth, depth, embeddings.device),
        logits_to_keep=torch.zeros(1, dtype=torch.long, device=embeddings.device),
        use_cache=True,
    )
    return [(layer.keys, layer.values) for layer in made]


def words(chat: Any, text: str, count: int) -> list[int]:
    """Tokens to start virtual ones from: those of a text, cut or said again until there are `count`.

    Starting from words the task is about beats starting from noise (https://arxiv.org/abs/2104.08691, section 3.2;
    https://arxiv.org/abs/2101.00190, section 7.4).
    """
    ids: Sequence[int] = chat.tokenizer(text, add_special_tokens=False).input_ids or [chat.end]
    return [ids[i % len(ids)] for i in range(count)]
