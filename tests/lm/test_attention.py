"""Attention over blocks of a tree against one dense masked attention: same outputs, same gradients."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from rung.lm.trees import attention, tree

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=20), min_size=1, max_size=6)


def dense(q, k, v, allow: torch.Tensor) -> torch.Tensor:
    groups = q.shape[1] // k.shape[1]
    k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
    return scaled_dot_product_attention(q, k, v, attn_mask=allow, scale=0.3).transpose(1, 2)


@settings(deadline=None, max_examples=60)
@given(SEQUENCES, st.integers(1, 64), st.sampled_from([(1, 1), (4, 2), (6, 2)]), st.sampled_from([None, 1, 3]), st.data())
def test_blocks_of_any_size_give_the_dense_result(sequences, size: int, heads, window, data) -> None:
    merged = tree.trie(sequences)
    depth = tree.build([tree.Row((*s, 9), (False,) * (len(s) + 1)) for s in sequences]).depth
    n = len(merged.tokens)
    mask = np.zeros((n, n), bool)
    for node in range(n):
        at = node
        while at >= 0:
            mask[node, at] = True
            at = merged.parent[at]
    first = data.draw(st.integers(0, n - 1))  # the queries are the last ones, as where a kept forest grows
    found = attention.blocks(mask[first:], depth[first:], depth, size=size)
    torch.manual_seed(0)
    q = torch.randn(1, heads[0], n - first, 4, dtype=torch.float64, requires_grad=True)
    k, v = (torch.randn(1, heads[1], n, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    allow = torch.from_numpy(mask[first:])
    if window is not None:
        allow = allow & torch.from_numpy(depth[first:, None] - depth[None, :] < window)
    up = torch.randn(1, n - first, heads[0], 4, dtype=torch.float64)

    got, _ = attention.tree_attention(torch.nn.Module(), q, k, v, None, 0.3, 0.0, window, blocks=found)
    grads = torch.autograd.grad((got * up).sum(), (q, k, v))
    wanted = dense(q, k, v, allow)
    torch.testing.assert_close(got, wanted)
    for a, b in zip(grads, torch.autograd.grad((wanted * up).sum(), (q, k, v))):
        torch.testing.assert_close(a, b)


def test_a_block_gathers_only_what_its_queries_see() -> None:
    # 50 branches of 4 behind a prefix of 10: a dense mask holds 210 x 210, the blocks far less
    merged = tree.trie([[*range(10), 100 + i, 1, 2, 3] for i in range(50)])
    n = len(merged.tokens)
    mask = np.zeros((n, n), bool)
    for node in range(n):
        parent = merged.parent[node]
        mask[node] = mask[parent] if parent >= 0 else False
        mask[node, node] = True
    found = attention.blocks(mask, np.zeros(n, int), np.zeros(n, int), size=8)
    assert sum(group.allow.numel() for group in found.groups) < mask.size / 5


def test_a_short_path_is_not_padded_to_the_longest() -> None:
    n = 640
    found = attention.blocks(np.tri(n, dtype=bool), np.arange(n), np.arange(n), size=64)
    needed = sum(64 * end for end in range(64, n + 1, 64))
    assert needed <= sum(group.allow.numel() for group in found.groups) < needed / attention.MIN_WIDTH_RATIO
