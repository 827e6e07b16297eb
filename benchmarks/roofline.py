"""How much of the machine's fastest matrix products LoRA training reaches, counting useful work only.

Useful: the products with the frozen weights forward and backward (4 operations a weight and node), the adapters (6),
the output head at the positions that predict a target (4), and attention over the tokens that a node really sees.
Padding, tokens computed twice and everything that is no matrix product count nothing. Each product is compared with the
fastest one of its type: float32, and bfloat16 for the frozen layers where the machine measured it to be faster.
"""

from __future__ import annotations

import common
import numpy as np
import torch
from lora_step import BATCH, fresh, rows_of

from rung.lm.training.losses import sft, weight
from rung.lm.trees import tree


def useful_flop(model, built: tree.Tree) -> tuple[float, float]:
    """Operations with the weights of frozen layers, and all others."""
    config = model.config
    nodes, heads = len(built.tokens), len(np.unique(built.target_node))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    embedding = config.vocab_size * config.hidden_size
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad) - embedding
    width = config.num_attention_heads * config.head_dim
    seen = float((built.depth + 1).sum())
    attention = 3 * 4 * seen * width * config.num_hidden_layers  # scores and sums, forward and twice backward
    return nodes * 4.0 * frozen, nodes * 6 * trained + heads * 4 * embedding + attention


def main() -> None:
    args = common.arguments(__doc__)
    machine = common.machine(auto=True)
    loaded, model = fresh(machine, rounds=True)
    rows = rows_of(loaded.chat, BATCH * 2)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
    shares, types = [], ("float32", "bfloat16") if machine.frozen_bf16 else ("float32",)
    for k in range(6 if args.quick else 16):
        batch = rows[(k % 2) * BATCH : (k % 2) * BATCH + BATCH]
        peaks = [common.matmul_gflops(dtype=dtype) for dtype in types]

        def step(batch=batch) -> None:
            (sft(model, batch, True) / weight(batch)).backward()
            optimizer.step()
            optimizer.zero_grad()

        seconds = common.timed(step)
        works = useful_flop(model, tree.build(batch))
        shares.append(sum(flop / peak / 1e9 for flop, peak in zip(works, (peaks[-1], peaks[0]))) / seconds)
        speed, fastest = sum(works) / seconds / 1e9, " and ".join(f"{peak:.0f} in {name}" for name, peak in zip(types, peaks))
        print(f"step {k}: {seconds:.2f} s, {speed:.0f} GFLOP/s of {fastest}, {BATCH / seconds:.1f} examples a second")
    print(f"ratio={common.median(shares[1:]):.2f} useful speed over the fastest products of its types, {' and '.join(types)}")


if __name__ == "__main__":
    main()
