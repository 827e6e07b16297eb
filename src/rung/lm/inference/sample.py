"""Token sampling, greedy or seeded, and decoding of a batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import torch

from rung.lm.base import Decoding
from rung.lm.models.json_guide import Guide
from rung.lm.trees import cascade
from rung.lm.trees.forest import Forks

Watch = Callable[[int, Sequence[int]], bool]
"""Called after each token with a row's number and its tokens so far; False ends the row."""


Seen = tuple[int, float, list[tuple[int, float]]]
"""A token, its log-probability, and the likeliest tokens in its place with theirs."""


class Sampler:
    """Samples one row's tokens. Its generator is seeded by the prompt, so that an answer never depends on its batch.

    `limit`: most tokens of the row, from the decoding or from what its prompt leaves of the context. `logprobs`: likeliest tokens
    to note beside each one with its log-probability, in `seen`; None to note nothing.
    """

    def __init__(
        self,
        decoding: Decoding,
        prompt: Sequence[int],
        guide: Guide | None = None,
        limit: int = 0,
        logprobs: int | None = None,
    ):
        self.decoding, self.guide, self.limit = decoding, guide, limit or decoding.max_new_tokens
        name = hashlib.sha256(repr((decoding.seed, tuple(prompt))).encode()).digest()
        self.logprobs = logprobs
        self.seen: list[Seen] = []
        self.generator = torch.Generator().manual_seed(int.from_bytes(name[:7], "big"))

    def __call__(self, logits: torch.Tensor) -> int:
        """A token from logits (vocabulary,); one that the guide allows, if there is a guide."""
        token = self._sample(self.guide.mask(logits) if self.guide else logits)
        if self.guide:
            self.guide.accept(token)
        if self.logprobs is not None:
            self.seen.append(_noted(logits, token, self.logprobs))
        return token

    def _sample(self, logits: torch.Tensor) -> int:
        if self.decoding.temperature <= 0:
            return int(logits.argmax())
        probabilities = (logits.cpu().double() / self.decoding.temperature).softmax(-1)
        ranked, order = probabilities.sort(descending=True)
        keep = ranked.cumsum(-1) - ranked < self.decoding.top_p  # always keeps the first token
        return int(order[torch.multinomial(ranked * keep, 1, generator=self.generator)])


def _noted(logits: torch.Tensor, token: int, top: int) -> Seen:
    """As the model gives them: before temperature, top-p and a guide."""
    logs = logits.float().log_softmax(-1)
    best = logs.topk(top)
    return token, float(logs[token]), [*zip(best.indices.tolist(), best.values.tolist())]


@torch.no_grad()
def decode(
    model: Any,
    forks: Forks,
    logits: torch.Tensor,
    samplers: Sequence[Sampler],
    stops: frozenset[int],
    watch: Watch = lambda row, tokens: True,
) -> list[list[int]]:
    """Continue each fork. Returns each row's new tokens, stop tokens included.

    `logits` (rows, vocabulary): those after each prompt. A row that has stopped, reached its limit or was ended
    by `watch` leaves the batch.
    """
    tokens: list[list[int]] = [[] for _ in samplers]
    alive = list(range(len(samplers)))
    implementation = model.config._attn_implementation
    model.set_attn_implementation(cascade.NAME)
    try:
        position = forks.prefix[0][0].shape[-2] + forks.real.sum(1)
        while alive:
            for k, row in enumerate(alive):
                tokens[row].append(samplers[row](logits[k]))
            open_ = [k for k, row in enumerate(alive) if tokens[row][-1] not in stops and len(tokens[row]) < samplers[row].limit]
            still = [k for k in open_ if watch(alive[k], tokens[alive[k]])]
            if not still:
                break
            if len(still) < len(alive):
                keep = torch.tensor(still, device=position.device)
                forks, position, alive = forks.select(keep), position[keep], [alive[k] for k in still]
            forks = forks.extended()
            last = torch.tensor([[tokens[row][-1]] for row in alive], device=position.device)
            logits = (
                model(
                    input_ids=last,
                    position_ids=position[:, None],
                    past_key_values=forks.cache,
                    cascade=cascade.Cascade(forks.prefix, forks.real),
                    use_cache=True,
                )
                .logits[:, -1]
                .float()
            )
            position = position + 1
    finally:
        model.set_attn_implementation(implementation)
    return tokens
