"""Decoder shapes as GGUF describes them: the keys of the head, the names and values of tensors, the order of rotated channels.

Names and orders are those of llama.cpp's convert_hf_to_gguf.py (https://github.com/ggml-org/llama.cpp, MIT).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from rung.errors import ModelError

ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma3_text": "gemma3"}
"""`model_type` of transformers to the name of the architecture in GGUF."""
GEMMA = "gemma3"
LOCAL_ROPE = 10_000.0
"""Base of the rotation in a Gemma's windowed layers; llama.cpp has no key for it."""
ROTATED = ("q_proj.weight", "q_proj.bias", "k_proj.weight", "k_proj.bias")


def architecture(config: Any) -> str:
    """The architecture's name in GGUF. ModelError for a shape that is not written here."""
    kind = config.model_type
    if kind not in ARCHITECTURES:
        raise ModelError(
            f"a {kind!r} is not written as GGUF here; {', '.join(ARCHITECTURES)} are.",
            where="rung export --to gguf",
            remedy="Export it --to hf and convert that folder with llama.cpp's convert_hf_to_gguf.py.",
        )
    if (rope := _rope(config).get("rope_type", "default")) != "default":
        raise ModelError(
            f"positions scaled by the rule {rope!r} are not written as GGUF here.",
            where="rung export --to gguf",
            remedy="Export it --to hf and convert that folder with llama.cpp's convert_hf_to_gguf.py.",
        )
    found = ARCHITECTURES[kind]
    if found == GEMMA:
        _check_gemma(config)
    elif getattr(config, "sliding_window", None) and getattr(config, "use_sliding_window", kind == "mistral"):
        raise ModelError("attention in a sliding window is not written as GGUF here.", remedy="Export it --to hf.")
    return found


def _check_gemma(config: Any) -> None:
    """ModelError for what llama.cpp computes otherwise than this Gemma."""
    local = config.rope_parameters["sliding_attention"]
    scale = config.query_pre_attn_scalar == config.head_dim
    if _window_period(config) is None or not scale or float(local["rope_theta"]) != LOCAL_ROPE:
        raise ModelError(
            "this Gemma's windows, attention scale or local rotation are not those that GGUF has keys for.",
            where="rung export --to gguf",
            remedy="Export it --to hf.",
        )


def _window_period(config: Any) -> int | None:
    """Of so many layers the last one sees everything, the others a window; None for any other order."""
    kinds = [kind == "full_attention" for kind in config.layer_types]
    period = kinds.index(True) + 1 if any(kinds) else len(kinds) + 1
    return period if kinds == [(place + 1) % period == 0 for place in range(len(kinds))] else None


def describe(writer: Any, config: Any) -> None:
    """Write the keys that say how large the model is and how it computes."""
    heads, width = config.num_attention_heads, config.hidden_size
    head = getattr(config, "head_dim", None) or width // heads
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(width)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(float(_rope(config).get("rope_theta", 10_000.0)))
    writer.add_rope_dimension_count(head)
    writer.add_key_length(head)
    writer.add_value_length(head)
    if config.model_type == "gemma3_text":
        writer.add_sliding_window(config.sliding_window)
        writer.add_sliding_window_pattern(_window_period(config))
        if config.final_logit_softcapping:
            writer.add_final_logit_softcapping(config.final_logit_softcapping)


def tensors(model: Any, kind: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor by its name in GGUF, float32. ModelError where one has no name there."""
    config = model.config
    named = names(config, kind)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        yield named(name), ordered(name, tensor.detach().float(), config, kind)


def names(config: Any, kind: str) -> Callable[[str], str]:
    """From the name of a tensor in transformers to that in GGUF. ModelError where it has none there."""
    from gguf import MODEL_ARCH, get_tensor_name_map

    known = get_tensor_name_map(MODEL_ARCH[kind.upper()], config.num_hidden_layers)

    def found(name: str) -> str:
        if (other := known.get_name(name, try_suffixes=(".weight", ".bias"))) is None:
            raise ModelError(f"GGUF has no name for the tensor {name!r} of a {kind!r}.", remedy="Export it --to hf.")
        return other

    return found


def ordered(name: str, value: torch.Tensor, config: Any, kind: str) -> torch.Tensor:
    """A tensor as GGUF has it: rows of queries and keys of a Llama are permuted, and a Gemma's norms include their 1."""
    if kind == GEMMA and name.endswith("norm.weight"):
        return value + 1
    if not (kind == "llama" and name.endswith(ROTATED)):
        return value
    return permuted(value, config.num_attention_heads if ".q_proj." in name else config.num_key_value_heads)


def permuted(value: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of queries or keys in the order of the original Llama: rotated pairs side by side, not half a head apart."""
    return value.reshape(heads, 2, value.shape[0] // heads // 2, *value.shape[1:]).swapaxes(1, 2).reshape(value.shape)


def _rope(config: Any) -> dict[str, Any]:
    """How layers that see everything rotate."""
    found = dict(getattr(config, "rope_parameters", None) or {})
    return dict(found.get("full_attention", found))
