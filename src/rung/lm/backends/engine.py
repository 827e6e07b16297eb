"""An engine whose free text a backend writes. Labels are chosen and answers scored by rung's own engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from rung.errors import DataError
from rung.lm.backends.base import Asked, Backend
from rung.lm.backends.batch import BackendBatch
from rung.lm.base import Choice, Completion, Decoding, Progress, Prompt, Writing

if TYPE_CHECKING:
    from rung.lm.inference.causal import CausalEngine
    from rung.lm.models.chat import Chat

SEEDS = 2**32 - 1
"""Seeds that backends take."""


class BackendEngine:
    """Prompts, templates and tokens are rung's own, so a backend goes on from the same tokens as rung's engine would.

    `own` opens rung's engine of the same model. It does what no backend does as rung does: choose labels, score, follow a
    JSON schema, give log-probabilities, and write answers for which the backend's context is too short.
    """

    guided = False
    """Whether the backend follows grammars (`Asked.grammar`)."""

    def __init__(self, backend: Backend, chat: Chat, context: int, own: Callable[[], CausalEngine]):
        self.backend, self.chat, self._context, self._open = backend, chat, context, own

    @cached_property
    def own(self) -> CausalEngine:
        """Rung's own engine, opened when it is first needed."""
        return self._open()

    @property
    def context(self) -> int:
        return self._context

    def count(self, prompt: Prompt) -> int:
        return len(self._ids(prompt))

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
        return self.own.score(prompts, answers)

    def choose(
        self, prompts: Sequence[Prompt], labels: Sequence[str], progress: Progress | None = None, bias: Sequence[float] = ()
    ) -> list[Choice]:
        return self.own.choose(prompts, labels, progress, bias)

    def weigh(self, prompts: Sequence[Prompt], labels: Sequence[str]) -> list[list[float]]:
        return self.own.weigh(prompts, labels)

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, progress: Progress | None = None) -> list[Completion]:
        out: dict[int, Completion] = {}
        failed: list[Exception] = []

        def joined(number: int, prompt: Prompt) -> None:
            def done(found: Completion) -> None:
                out[number] = found
                if progress:
                    progress(1)

            batch.join(Writing(prompt, decoding, done, failed.append))

        batch = self.new_batch()
        for number, prompt in enumerate(prompts):
            joined(number, prompt)
        while len(batch):
            batch.step()
        if failed:
            raise failed[0]
        return [out[number] for number in range(len(prompts))]

    def running(self) -> BackendBatch:
        """Its one running batch."""
        return self._running

    @cached_property
    def _running(self) -> BackendBatch:
        return self.new_batch()

    def new_batch(self) -> BackendBatch:
        """A batch beside the running one."""
        return BackendBatch(self.backend, self._asked, lambda: self.own.running())

    def _asked(self, writing: Writing) -> Asked | None:
        """What the backend is asked; None for what it leaves to rung's own engine. DataError where the prompt is too long."""
        ids, decoding = self._ids(writing.prompt), writing.decoding
        if len(ids) + 1 > self._context:
            raise DataError(
                f"a prompt of {len(ids)} tokens leaves no room for an answer in the model's context of {self._context}.",
                remedy="Shorten the input.",
            )
        limit = min(decoding.max_new_tokens, self._context - len(ids))
        unguided = decoding.schema and not self.guided
        if unguided or writing.logprobs is not None or len(ids) + limit > self.backend.context:
            return None
        seed = (decoding.seed + writing.prompt.draw) % SEEDS
        return Asked(ids, decoding, limit, seed, writing.scope, self.chat.grammar(decoding))

    def _ids(self, prompt: Prompt) -> tuple[int, ...]:
        return self.chat.prompt(prompt.messages, prompt.begun)
