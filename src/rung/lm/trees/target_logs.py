"""Log-probabilities of single tokens out of logits, without a second array as large as the logits.

A vocabulary of 49,152 makes 200 KB of a position; softmax and its gradient over a thousand of them are several passes over
memory. Here they go a few positions at a time, so that the steps between stay in the cache.
"""

from __future__ import annotations

from typing import Any

import torch

AT_ONCE = 2**20
"""Logits that are worked on together: 4 MiB."""


def target_logs(logits: torch.Tensor, place: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
    """Log-probability of `token[i]` by line `place[i]` of the logits (P, vocabulary), in float32; (T,)."""
    return _TargetLogs.apply(logits, place, token)


class _TargetLogs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, place: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        whole = torch.cat([lines.float().logsumexp(-1) for lines in _cut(logits)]) if len(logits) else logits.new_zeros(0).float()
        ctx.save_for_backward(logits, place, token, whole)
        return logits[place, token].float() - whole[place]

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor):
        logits, place, token, whole = ctx.saved_tensors
        weight = torch.zeros_like(whole).index_add_(0, place, grad)
        out = torch.empty_like(logits)
        size = _lines(logits)
        for lines, to, log, by in zip(_cut(logits), out.split(size), whole.split(size), weight.split(size)):
            to.copy_((lines.float() - log[:, None]).exp_().mul_(-by[:, None]))
        return out.index_put_((place, token), grad.to(out.dtype), accumulate=True), None, None


def _cut(logits: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return logits.split(_lines(logits))


def _lines(logits: torch.Tensor) -> int:
    return max(1, AT_ONCE // logits.shape[1])
