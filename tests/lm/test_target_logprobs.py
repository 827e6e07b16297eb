"""Log-probabilities out of logits and their gradient, held to PyTorch's own cross-entropy."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import cross_entropy

from rung.lm.trees import target_logprobs
from rung.lm.trees.target_logprobs import target_logprobs as logs


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("at_once", [1, 100, 2**20])
def test_same_numbers_and_gradient_as_cross_entropy(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, at_once: int) -> None:
    monkeypatch.setattr(target_logprobs, "CHUNK_LOGITS", at_once)
    torch.manual_seed(0)
    logits = (5 * torch.randn(7, 50)).to(dtype).requires_grad_()
    place, token = torch.tensor([0, 0, 3, 6, 3, 1]), torch.tensor([4, 49, 7, 0, 7, 1])
    up = torch.randn(len(place))
    got = logs(logits, place, token)
    wanted = -cross_entropy(logits[place].float(), token, reduction="none")
    torch.testing.assert_close(got, wanted)
    for a, b in zip(torch.autograd.grad((got * up).sum(), logits), torch.autograd.grad((wanted * up).sum(), logits)):
        torch.testing.assert_close(a, b, **({} if dtype == torch.float32 else {"rtol": 0.02, "atol": 0.02}))


def test_no_target_is_no_number() -> None:
    nothing = torch.zeros(0, dtype=torch.long)
    assert logs(torch.randn(0, 5), nothing, nothing).shape == (0,)
