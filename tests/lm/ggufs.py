"""Tiny GGUF files, written here."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_gguf(
    path: Path, layers: int = 1, blocks: int = 1, pre: str = "", fields: dict[str, str] | None = None, split: int = 0
) -> None:
    """A llama with random weights, whose pad token is its end token, as in SmolLM2's file.

    `layers`: those whose tensors are in the file; `blocks`: those that its head tells of. `pre`: how it says that text is
    cut. `fields`: further texts in its head. `split`: tensors a part, named after `path`; 0 writes one file.
    """
    from gguf import GGUFWriter

    width, heads, hidden = 16, 2, 32
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *"abcdefgh", "\u0120", "ab", "cd"]
    writer = GGUFWriter(path, "llama", split_max_tensors=split)
    writer.add_context_length(64)
    writer.add_embedding_length(width)
    writer.add_block_count(blocks)
    writer.add_feed_forward_length(hidden)
    writer.add_head_count(heads)
    writer.add_head_count_kv(heads)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    if pre:
        writer.add_tokenizer_pre(pre)
    for name, text in (fields or {}).items():
        writer.add_string(name, text)
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges(["a b", "c d"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_chat_template("{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}")
    shapes = {
        "attn_q": (width, width),
        "attn_k": (width, width),
        "attn_v": (width, width),
        "attn_output": (width, width),
    }
    shapes |= {"ffn_gate": (hidden, width), "ffn_up": (hidden, width), "ffn_down": (width, hidden)}
    shapes |= {"attn_norm": (width,), "ffn_norm": (width,)}
    random = np.random.default_rng(0)
    named = {f"blk.{n}.{name}.weight": shape for n in range(layers) for name, shape in shapes.items()}
    named |= {"token_embd.weight": (len(tokens), width), "output_norm.weight": (width,)}
    for name, shape in named.items():
        writer.add_tensor(name, random.standard_normal(shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
