"""Virtual tokens: trained embeddings, or trained keys and values, before every row (prompt and prefix tuning).

All rows share them, so they come before the roots of a prefix tree. Their keys and values are computed once per part of a
step, with gradients, and every node attends to them. Positions count them, as in peft.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from transformers.cache_utils import Cache, DynamicLayer

from rung.lm.trees import attention

KeysValues = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of each layer, (1, heads, tokens, width)."""


def size(model: Any) -> int:
    """Number of virtual tokens before every row; 0 for a model without them."""
    config = getattr(model, "active_peft_config", None)
    return config.num_virtual_tokens if config is not None and config.is_prompt_learning else 0


def base(model: Any) -> Any:
    """The model without its virtual tokens; they are passed to it as a KV cache."""
    return model.get_base_model() if size(model) else model


def keys_values(model: Any) -> KeysValues:
    """Keys and values of the virtual tokens, with gradients to the trained parameters. Empty for a model without them."""
    if not size(model):
        return []
    trained = model.get_prompt(1)
    if isinstance(trained, torch.Tensor):  # embeddings (prompt tuning)
        inner = base(model)
        return prefill(inner, trained.to(inner.get_input_embeddings().weight.dtype))
    return [(layer.keys, layer.values) for layer in trained.layers]


def cache(states: KeysValues) -> Cache | None:
    """A KV cache for a forward pass to continue; None if there are no keys and values."""
    if not states:
        return None
    layers: list[Any] = []
    for keys, values in states:
        layer = DynamicLayer()  # caches everything: the attention's own mask applies a sliding window
        layer.update(keys, values)
        layers.append(layer)
    return Cache(layers=layers)


def prefill(model: Any, embeddings: torch.Tensor) -> KeysValues:
    """Keys and values of a sequence of embeddings (1, n, width), under a model that uses tree attention."""
    n = embeddings.shape[1]
    depth = np.arange(n)
    layers: list[Any] = [DynamicLayer() for _ in range(model.config.get_text_config().num_hidden_layers)]
    model(
        inputs_embeds=embeddings,
        position_ids=torch.arange(n, device=embeddings.device)[None],
        past_key_values=Cache(layers=layers),
        blocks=attention.blocks(np.tri(n, dtype=bool), depth, depth, embeddings.device),
        logits_to_keep=torch.zeros(1, dtype=torch.long, device=embeddings.device),
        use_cache=True,
    )
    return [(layer.keys, layer.values) for layer in layers]


def initial_tokens(chat: Any, text: str, count: int) -> list[int]:
    """`count` tokens to initialize virtual tokens from: those of a text, truncated or repeated.

    Initializing from words of the task beats random initialization (https://arxiv.org/abs/2104.08691, section 3.2;
    https://arxiv.org/abs/2101.00190, section 7.4).
    """
    ids: Sequence[int] = chat.tokenizer(text, add_special_tokens=False).input_ids or [chat.end]
    return [ids[i % len(ids)] for i in range(count)]
