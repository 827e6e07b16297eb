"""Text generation: prompts prefilled as prefix trees, their answers decoded many at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

from rung.lm import out_of_memory
from rung.lm.base import Decoding
from rung.lm.inference import sample
from rung.lm.inference.prefix_cache import End, Ids, PrefixCache
from rung.lm.models.load import Loaded
from rung.lm.trees.forest import Forest, Forks, concatenate

DECODE_BATCH, DECODE_TOKENS = 64, 16_384
"""Answers decoded at the same time, and positions of their prompts after the shared prefix, padding included: a step reads
all weights and, for every row, the keys and values of its own part."""


@dataclass(frozen=True, slots=True)
class _Prefilled:
    """Prompts that are prefilled and wait to be decoded."""

    rows: list[int]
    limits: list[int]
    """Most tokens of each answer."""
    forks: Forks
    logits: torch.Tensor


@dataclass(frozen=True)
class Decoder:
    """Generates tokens with one model and its prefix cache."""

    loaded: Loaded
    cache: PrefixCache

    def answers(
        self,
        ids: Sequence[Ids],
        decoding: Decoding,
        draws: Sequence[int],
        samples: int = 1,
        watch: sample.Watch = lambda row, tokens: True,
    ) -> Iterator[tuple[list[int], list[list[int]]]]:
        """Batches of finished answers. Sample k of prompt i is row i * samples + k, seeded by draw `draws[i]` + k.

        `watch` is called after each token of each row and may end the row.
        """
        seeds = [(*tokens, *[-k] * bool(k)) for tokens, draw in zip(ids, draws) for k in range(draw, draw + samples)]

        def work(remaining: list[int]) -> Iterator[tuple[list[int], list[list[int]]]]:
            if self.loaded.trees:
                yield from self._batches(ids, remaining, seeds, decoding, samples, watch)
            else:
                for row in remaining:
                    tokens: list[int] = []
                    for token in self.tokens(ids[row // samples], decoding, seeds[row]):
                        tokens.append(token)
                        if token not in self.loaded.chat.stops and not watch(row, tokens):
                            break
                    yield [row], [tokens]

        return out_of_memory.retry_until_done(range(len(seeds)), self.cache.budget, work, self.cache.clear)

    def tokens(self, ids: Ids, decoding: Decoding, seed: Ids = ()) -> Iterator[int]:
        """Tokens of one answer as they are generated, its end token included. `seed` defaults to the prompt."""
        sampler = sample.Sampler(decoding, seed or ids, self.loaded.chat.guide(decoding))
        if not self.loaded.trees:
            yield from self._tokens_uncached(ids, sampler, decoding)
            return
        forest, logits = self.cache.one(ids)
        try:
            for _ in range(self.loaded.max_new_tokens(ids, decoding)):
                token = sampler(logits)
                yield token
                if token in self.loaded.chat.stops:
                    return
                logits = forest.grow([token], [len(forest) - 1], [0])[0]
        finally:
            forest.crop(len(ids))

    def _tokens_uncached(self, ids: Ids, sampler: sample.Sampler, decoding: Decoding) -> Iterator[int]:
        """The same, with the whole sequence computed again for each token; for models that do not support trees."""
        so_far = list(ids)
        for _ in range(self.loaded.max_new_tokens(ids, decoding)):
            with torch.no_grad():
                logits = self.loaded.model(torch.tensor([so_far], device=self.loaded.device)).logits[0, -1].float()
            so_far.append(sampler(logits))
            yield so_far[-1]
            if so_far[-1] in self.loaded.chat.stops:
                return

    def _batches(
        self,
        ids: Sequence[Ids],
        remaining: list[int],
        seeds: Sequence[Ids],
        decoding: Decoding,
        samples: int,
        watch: sample.Watch,
    ) -> Iterator[tuple[list[int], list[list[int]]]]:
        """Decode the rows `remaining` in batches: a decoding step reads all weights, whether for one row or for many."""
        batch, own = self.cache.budget.scaled(DECODE_BATCH), self.cache.budget.scaled(DECODE_TOKENS)
        rows_of: dict[int, list[int]] = defaultdict(list)
        for row in remaining:
            rows_of[row // samples].append(row)
        prompts, waiting = list(rows_of), list[_Prefilled]()
        for part, forest, ends in self.cache.parts([ids[i] for i in prompts], reserve=0):
            prefix = len(self.cache)
            size = max(1, min(batch, own // max(1, *(len(ids[prompts[k]]) - prefix for k in part))))
            rows = [(row, end) for k, end in zip(part, ends) for row in rows_of[prompts[k]]]
            for k in range(0, len(rows), size):
                limits = [self.loaded.max_new_tokens(ids[row // samples], decoding) for row, _ in rows[k : k + size]]
                new = _prefilled(rows[k : k + size], limits, forest, prefix)
                count = len(new.rows) + sum(len(one.rows) for one in waiting)
                if waiting and (count > batch or count * max(one.forks.real.shape[1] for one in (*waiting, new)) > own):
                    yield self._decoded(waiting, forest, seeds, decoding, watch)
                    waiting = []
                waiting.append(new)
        if waiting:
            yield self._decoded(waiting, forest, seeds, decoding, watch)

    def _decoded(
        self, waiting: list[_Prefilled], forest: Forest, seeds: Sequence[Ids], decoding: Decoding, watch: sample.Watch
    ) -> tuple[list[int], list[list[int]]]:
        """Answers of prefilled prompts, decoded as one batch."""
        chat = self.loaded.chat
        rows = [row for one in waiting for row in one.rows]
        limits = [limit for one in waiting for limit in one.limits]
        forks, logits = concatenate([one.forks for one in waiting]), torch.cat([one.logits for one in waiting])
        samplers = [sample.Sampler(decoding, seeds[row], chat.guide(decoding), k) for row, k in zip(rows, limits)]
        found = sample.decode(forest.model, forks, logits, samplers, chat.stops, lambda k, tokens: watch(rows[k], tokens))
        return rows, found


def _prefilled(rows: Sequence[tuple[int, End]], limits: list[int], forest: Forest, prefix: int) -> _Prefilled:
    nodes, logits = zip(*(end for _, end in rows))
    return _Prefilled([row for row, _ in rows], limits, forest.fork(nodes, prefix), torch.stack(logits))
