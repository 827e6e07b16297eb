"""Drawing tokens: greedy or sampled with a seed, one step of a whole batch at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch

from rung.lm.base import Decoding
from rung.lm.models.json_guide import Guide
from rung.lm.trees import cascade
from rung.lm.trees.forest import Forks


class Drawer:
    """Draws one row's tokens. Its generator is seeded by the prompt, so that a row's answer never hangs on its batch.

    `most`: tokens that the row may have: what the decoding allows, or what its prompt leaves of the context.
    """

    def __init__(self, decoding: Decoding, prompt: Sequence[int], guide: Guide | None = None, most: int = 0):
        self.decoding, self.guide, self.most = decoding, guide, most or decoding.max_new_tokens
        name = hashlib.sha256(repr((decoding.seed, tuple(prompt))).encode()).digest()
        self.generator = torch.Generator().manual_seed(int.from_bytes(name[:7], "big"))

    def __call__(self, logits: torch.Tensor) -> int:
        """A token from logits (vocabulary,), one that the guide allows where there is one."""
        if self.guide is None:
            return self._drawn(logits)
        token = self._drawn(self.guide.held(logits))
        self.guide.take(token)
        return token

    def _drawn(self, logits: torch.Tensor) -> int:
        if self.decoding.temperature <= 0:
            return int(logits.argmax())
        odds = (logits.cpu().double() / self.decoding.temperature).softmax(-1)
        sorted_odds, order = odds.sort(descending=True)
        keep = sorted_odds.cumsum(-1) - sorted_odds < self.decoding.top_p  # the first token is always kept
        return int(order[torch.multinomial(sorted_odds * keep, 1, generator=self.generator)])


@torch.no_grad()
def write(model: Any, forks: Forks, logits: torch.Tensor, drawers: Sequence[Drawer], stops: frozenset[int]) -> list[list[int]]:
    """Go on with each fork. Returns each row's new tokens, stop tokens included.

    `logits` (rows, vocabulary) are those after each prompt. A row that has stopped, or has all that it may, leaves the batch.
    """
    written: list[list[int]] = [[] for _ in drawers]
    alive = list(range(len(drawers)))
    implementation = model.config._attn_implementation
    model.set_attn_implementation(cascade.NAME)
    try:
        position = forks.front[0][0].shape[-2] + forks.real.sum(1)
        while alive:
            for k, row in enumerate(alive):
                written[row].append(drawers[row](logits[k]))
            still = [k for k, row in enumerate(alive) if written[row][-1] not in stops and len(written[row]) < drawers[row].most]
            if not still:
                break
            if len(still) < len(alive):
                keep = torch.tensor(still, device=position.device)
                forks, position, alive = forks.keep(keep), position[keep], [alive[k] for k in still]
            forks = forks.longer()
            last = torch.tensor([[written[row][-1]] for row in alive], device=position.device)
            logits = (
                model(
                    input_ids=last,
                    position_ids=position[:, None],
                    past_key_values=forks.cache,
                    cascade=cascade.Cascade(forks.front, forks.real),
                    use_cache=True,
                )
                .logits[:, -1]
                .float()
            )
            position = position + 1
    finally:
        model.set_attn_implementation(implementation)
    return written
