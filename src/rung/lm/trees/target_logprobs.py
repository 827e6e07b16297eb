"""Log-probabilities of single tokens from logits, without a second array the size of the logits.

With a vocabulary of 49,152, the logits of one position take 200 KB, and softmax and its gradient over a thousand positions
are several passes over memory. Here they run over a few positions at a time, so that intermediate values stay in the cache.
"""

from __future__ import annotations

from typing import Any

import torch

CHUNK_LOGITS = 2**20
"""Logits per chunk: 4 MiB."""


def target_logprobs(logits: torch.Tensor, place: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
    """Log-probability of `token[i]` under row `place[i]` of the logits (P, vocabulary), in float32; (T,)."""
    return _TargetLogprobs.apply(logits, place, token)


class _TargetLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, place: torch.Tensor, token: torch.Tensor) -> torch.Tensor:
        normalizer = (
            torch.cat([rows.float().logsumexp(-1) for rows in _chunks(logits)]) if len(logits) else logits.new_zeros(0).float()
        )
        ctx.save_for_backward(logits, place, token, normalizer)
        return logits[place, token].float() - normalizer[place]

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor):
        logits, place, token, normalizer = ctx.saved_tensors
        weight = torch.zeros_like(normalizer).index_add_(0, place, grad)
        out = torch.empty_like(logits)
        size = _rows_per_chunk(logits)
        for rows, to, log, by in zip(_chunks(logits), out.split(size), normalizer.split(size), weight.split(size)):
            to.copy_((rows.float() - log[:, None]).exp_().mul_(-by[:, None]))
        return out.index_put_((place, token), grad.to(out.dtype), accumulate=True), None, None


def _chunks(logits: torch.Tensor) -> tuple[torch.Tensor, ...]:
    return logits.split(_rows_per_chunk(logits))


def _rows_per_chunk(logits: torch.Tensor) -> int:
    return max(1, CHUNK_LOGITS // logits.shape[1])
