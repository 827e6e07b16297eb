"""The engine of a causal model: generates, scores and chooses labels over prefix trees, each shared token computed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property, partial

import numpy as np
import torch
from numpy.typing import NDArray

from rung.errors import DataError
from rung.lm import out_of_memory
from rung.lm.base import Choice, Completion, Decoding, Heard, Progress, Prompt, Writing
from rung.lm.inference import choose as search
from rung.lm.inference import sample, texts
from rung.lm.inference.decode import Decoder
from rung.lm.inference.prefix_cache import Ids, PrefixCache, by_tokens
from rung.lm.inference.running import Running
from rung.lm.models.load import Loaded
from rung.lm.trees import tree
from rung.lm.trees.forward import row_logprobs
from rung.types import Message

NODES = 2048
"""Nodes of a pass beyond the shared prefix: enough to keep the matrix products busy, small enough for caches."""

PROMPTS_CACHED = 4096
"""Tokenized prompts in memory at most."""


class CausalEngine:
    """Answers with one loaded model. The prefix that all prompts of a call share is computed once and cached for the next.

    `say` reports when memory runs out; later passes are then smaller.
    """

    def __init__(self, loaded: Loaded, say: out_of_memory.Say = lambda text: None):
        self.loaded, self.chat = loaded, loaded.chat
        self.budget = out_of_memory.Budget(NODES, say)
        self.cache = PrefixCache(loaded.model, self.budget)
        self._decoder = Decoder(loaded, self.cache)
        self._tokenized: dict[tuple[tuple[Message, ...], str], Ids] = {}

    @property
    def context(self) -> int:
        return self.loaded.max_length

    def count(self, prompt: Prompt) -> int:
        return len(self._ids(prompt))

    def clear_cache(self) -> None:
        """Drop what is cached of earlier prompts; needed when the weights have changed."""
        self.cache.clear()
        if self._running is not None:
            self._running.clear()

    def running(self) -> Running | None:
        """Its running batch; None for a model whose attention does not follow prefix trees."""
        return self._running

    @cached_property
    def _running(self) -> Running | None:
        return self._new_batch() if self.loaded.trees else None

    def _new_batch(self) -> Running:
        return Running(self.loaded, self._checked, say=self.budget.say)

    def _checked(self, writing: Writing) -> Ids:
        ids = self._ids(writing.prompt)
        self._check_lengths([ids], 1)
        return ids

    def _ids(self, prompt: Prompt) -> Ids:
        """A prompt's tokens, cached between counting and answering."""
        key = (prompt.messages, prompt.begun)
        if key not in self._tokenized:
            if len(self._tokenized) > PROMPTS_CACHED:
                self._tokenized.clear()
            self._tokenized[key] = self.chat.prompt(*key)
        return self._tokenized[key]

    @torch.no_grad()
    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
        rows = [self.chat.row(prompt.messages, answer, begun=prompt.begun) for prompt, answer in zip(prompts, answers)]
        self._check_lengths([row.tokens for row in rows], 0)
        totals = np.zeros(len(rows))

        def score_part(part: list[int]) -> NDArray:
            logs, owner = row_logprobs(self.loaded.model, [rows[i] for i in part], self.loaded.trees)
            return np.bincount(owner.cpu().numpy(), logs.double().cpu().numpy(), minlength=len(part))

        split = partial(tree.split_rows, rows)
        for part, sums in out_of_memory.run_in_parts(by_tokens(rows), self.budget, split, score_part):
            totals[part] = sums
        return totals.tolist()

    def read(self, texts: Sequence[str], before: Sequence[str]) -> list[tuple[float, int]]:
        """Log-probability and number of tokens of each plain text, without a chat, after the text `before` it.

        The very first token is predicted only after a begin token. A text longer than the context is split into windows
        that do not attend to each other.
        """
        from rung.lm.raw_text.perplexity import text_logprobs  # late: it imports the trainer

        return text_logprobs(self.loaded, texts, before)

    def choose(
        self, prompts: Sequence[Prompt], labels: Sequence[str], progress: Progress | None = None, bias: Sequence[float] = ()
    ) -> list[Choice]:
        answers = self.chat.answers(labels)
        if not self.loaded.trees:
            return self._choose_by_scoring(prompts, labels, progress, bias)
        ids = [self._ids(prompt) for prompt in prompts]
        self._check_lengths(ids, max(len(answer) for answer in answers))
        labelled = search.label_tree(answers, bias)
        out: list[Choice | None] = [None] * len(ids)
        for part, searches in self._searched(ids, labelled):
            for i, found in zip(part, searches):
                score, label = found.done[0]
                log = -score - (bias[label] if bias else 0.0)
                out[i] = Choice(labels[label], log, found.confidence(), len(ids[i]), found.expanded)
            if progress:
                progress(len(part))
        return [choice for choice in out if choice is not None]

    def weigh(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[list[float]]:
        """Log-probability of every label after each prompt: the search runs until all are finished."""
        if not self.loaded.trees:
            return [self.score([prompt] * len(labels), labels) for prompt in prompts]
        answers = self.chat.answers(labels)
        ids = [self._ids(prompt) for prompt in prompts]
        self._check_lengths(ids, max(len(answer) for answer in answers))
        labelled = search.label_tree(answers)
        out: list[list[float]] = [[]] * len(ids)
        for part, searches in self._searched(ids, labelled, exhaustive=True):
            for i, found in zip(part, searches):
                out[i] = [-score for score, _ in sorted(found.done, key=lambda pair: pair[1])]
        return out

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, progress: Progress | None = None) -> list[Completion]:
        return self._completions(prompts, decoding, progress, lambda row, tokens: True)

    def stream_together(self, prompts: Sequence[Prompt], decoding: Decoding, heard: Heard) -> list[Completion]:
        """As `generate`; `heard` is called after each token of each answer and may end it.

        Where memory runs out, answers are written again from their beginning, and come out the same.
        """

        def watch(row: int, tokens: Sequence[int]) -> bool:
            return heard(row, lambda: texts.so_far(self.chat, tokens))

        return self._completions(prompts, decoding, None, watch)

    def _completions(
        self, prompts: Sequence[Prompt], decoding: Decoding, progress: Progress | None, watch: sample.Watch
    ) -> list[Completion]:
        ids = [self._ids(prompt) for prompt in prompts]
        self._check_lengths(ids, 1)
        out: list[Completion | None] = [None] * len(ids)
        draws = [prompt.draw for prompt in prompts]
        for part, answers in self._decoder.answers(ids, decoding, draws, watch=watch):
            for i, tokens in zip(part, answers):
                out[i] = texts.completion(self.chat, ids[i], tokens, decoding)
            if progress:
                progress(len(part))
        return [completion for completion in out if completion is not None]

    def samples(self, ids: Sequence[Ids], count: int, decoding: Decoding) -> list[list[Ids]]:
        """`count` answers to each prompt as tokens, the end token included; each prompt is computed once."""
        self._check_lengths(ids, 1)
        batches = self._decoder.answers(ids, decoding, [0] * len(ids), count)
        out = {row: tuple(tokens) for part, answers in batches for row, tokens in zip(part, answers)}
        return [[out[i * count + k] for k in range(count)] for i in range(len(ids))]

    def stream(self, prompt: Prompt, decoding: Decoding) -> Iterator[str]:
        """One answer, piece by piece as it is generated. The pieces joined are the whole answer."""
        ids = self._ids(prompt)
        self._check_lengths([ids], 1)
        tokens: list[int] = []
        sent = ""
        for token in self._decoder.tokens(ids, decoding):
            if token in self.chat.stops:
                break
            tokens.append(token)
            text = self.chat.decode(tokens).strip()  # trailing blanks wait: they may be the end of the answer
            if not text.endswith("\ufffd"):  # half a character: wait for the rest of its bytes
                yield text[len(sent) :]
                sent = text
        yield self.chat.decode(tokens).strip()[len(sent) :]

    def _searched(
        self, ids: Sequence[Ids], labelled: search.LabelTree, exhaustive: bool = False
    ) -> Iterator[tuple[list[int], list[search.Search]]]:
        """Parts of the prompts with a label search for each; `exhaustive` scores all labels."""

        def work(remaining: list[int]) -> Iterator[tuple[list[int], list[search.Search]]]:
            reserve = len(labelled.tokens) if exhaustive else 4
            for part, forest, ends in self.cache.parts([ids[i] for i in remaining], reserve):
                yield [remaining[k] for k in part], search.on_forest(forest, ends, labelled, exhaustive)

        return out_of_memory.retry_until_done(range(len(ids)), self.budget, work, self.cache.clear)

    def _choose_by_scoring(
        self, prompts: Sequence[Prompt], labels: Sequence[str], progress: Progress | None, bias: Sequence[float]
    ) -> list[Choice]:
        """Score every label of every prompt; for models that do not support trees."""
        out = []
        for prompt in prompts:
            logs = np.array(self.score([prompt] * len(labels), labels))
            scores = logs + np.array(bias or 0.0)
            best = int(scores.argmax())
            share = float(1 / np.exp(scores - scores[best]).sum())
            out.append(Choice(labels[best], float(logs[best]), share, self.count(prompt), len(labels)))
            if progress:
                progress(1)
        return out

    def _check_lengths(self, ids: Sequence[Ids], answer: int) -> None:
        for tokens in ids:
            if len(tokens) + answer > self.loaded.max_length:
                raise DataError(
                    f"a prompt of {len(tokens)} tokens and an answer of up to {answer} do not fit the model's context of "
                    f"{self.loaded.max_length}.",
                    remedy="Shorten the inputs, use fewer demonstrations, or choose a base with a longer context.",
                )
