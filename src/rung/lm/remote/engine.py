"""The engine of a model behind an API: concurrent requests, each paid for once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from functools import cached_property
from typing import Any

from rung import calls
from rung.errors import ModelError, RungError
from rung.lm.base import Choice, Completion, Decoding, Progress, Prompt
from rung.lm.remote import request_forms, tokens
from rung.lm.remote.answers import Failure, choice, completion
from rung.lm.remote.call_errors import CallError, Refused
from rung.lm.remote.client import Client, from_cached
from rung.lm.remote.ledger import Ledger
from rung.lm.remote.request import LABEL_OVERHEAD, REASONING_TOKENS, Question, Request, as_turns, bounds, max_tokens
from rung.lm.remote.settings import Endpoint, Settings
from rung.lm.remote.wire import Reply
from rung.types import digest

CONTEXT = 128_000
"""Context length in tokens if the endpoint reports none; it refuses prompts that are too long for it."""
CONTEXT_KEYS = ("max_model_len", "context_length", "context_window", "max_context_length", "n_ctx_train")
"""Names of the context length in /models of vLLM, LiteLLM, OpenRouter, LM Studio and llama.cpp."""

NOTICES = {
    "response_format": "refuses response_format: labels are requested in the prompt and matched in its answers.",
    calls.TOOLS: "refuses tools: they are listed in the prompt, and calls are written as a JSON list.",
    request_forms.ROLES: "refuses a system message: its text opens the first user message.",
    request_forms.REASONS: f"reasons before it answers: {REASONING_TOKENS} more tokens are requested.",
}
"""Messages to the user about a request form, shown once."""

MAX_CLAMPS = 3
"""Times that an answer's token limit is lowered after a refusal that states the context length."""


class RemoteEngine:
    """Calls one endpoint with bounded concurrency. Answers are cached in the ledger and reused at no cost."""

    _tried = False
    """Whether a request has succeeded, so that the server's form is known."""

    def __init__(self, endpoint: Endpoint, settings: Settings, ledger: Ledger, say: Callable[[str], object] = lambda text: None):
        """`say` reports once what the server refuses and how requests are changed."""
        self.endpoint, self.settings, self.ledger, self.say = endpoint, settings, ledger, say
        self.client = Client(endpoint, settings, ledger)
        self._refused: frozenset[str] = frozenset()
        """Parts that were refused, and dropped or rewritten in a request that succeeded in this process."""
        self._taken: frozenset[str] = frozenset()
        """Parts that a server might refuse and accepted."""
        self._futile: frozenset[str] = frozenset()
        """Parts that were dropped as a guess, without success."""
        self._most = 0
        """The context length in tokens, from a refusal; 0 if unknown."""
        self._longest = 0
        """The limit of an answer's tokens, likewise."""

    @cached_property
    def context(self) -> int:
        """From /models, else a large default."""
        mine = [model for model in self.client.wire.models() if model.get("id") == self.endpoint.model]
        found = [(model | (model.get("meta") or {})).get(key) for model in mine for key in CONTEXT_KEYS]
        return next((size for size in found if isinstance(size, int) and size > 0), CONTEXT)

    def count(self, prompt: Prompt) -> int:
        """An estimate: one token per four bytes of text and four per message. Answers have the server's own count."""
        return tokens.estimate(as_turns(prompt))

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
        raise ModelError(
            f"{self.endpoint.model!r} cannot score a given answer: the chat API returns no log-probabilities of a prompt.",
            where=self.endpoint.url,
            remedy="Use a method that only needs answers, or a model with open weights.",
        )

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, progress: Progress | None = None) -> list[Completion]:
        asked = [Question(as_turns(prompt), replace(decoding, seed=decoding.seed + prompt.draw)) for prompt in prompts]
        return [completion(found) for found in self._answers(asked, progress)]

    def choose(self, prompts: Sequence[Prompt], labels: Sequence[str], progress: Progress | None = None) -> list[Choice]:
        """An answer that names no label counts as wrong. The server is constrained to them if possible."""
        limit = max(len(label.encode()) for label in labels) + LABEL_OVERHEAD
        asked = [Question(as_turns(prompt), Decoding(max_new_tokens=limit), tuple(labels)) for prompt in prompts]
        return [choice(found, labels) for found in self._answers(asked, progress)]

    def stream(self, prompt: Prompt, decoding: Decoding) -> Iterator[str]:
        """One answer, piece by piece as it is generated; a cached one comes in one piece."""
        question = Question(prompt, decoding)
        if found := self._kept(self._key(question)):
            yield self._text_of(found)
            return
        keep, asking = self._key(question) if self.settings.cache else "", self._asking(question)
        while True:
            body = {**asking.body(self.endpoint.model), "stream": True, "stream_options": {"include_usage": True}}
            if "stream_options" in asking.form:
                del body["stream_options"]
            try:
                reply = yield from self.client.stream(body, *bounds(asking), keep)
            except Refused as error:
                asking = self._otherwise(asking, body, error)
                continue
            if asking.needs_more(reply):
                asking = asking.with_form(frozenset({request_forms.REASONS}))
                continue
            self._learn(asking, body)
            self._text_of(reply)
            return

    # --- asking -----------------------------------------------------------------------------------------------

    def _answers(self, asked: Sequence[Question], progress: Progress | None) -> list[Reply | Failure]:
        """A reply or an error for each question; equal questions are sent once."""
        keys = [self._key(question) for question in asked]
        found: dict[str, Reply | Failure] = {key: old for key in set(keys) if (old := self._kept(key))}
        missing = {key: question for key, question in zip(keys, asked) if key not in found}
        if progress and len(missing) < len(keys):
            progress(sum(key in found for key in keys))
        for key, reply in self._concurrent(missing):
            found[key] = reply
            if progress:
                progress(keys.count(key))
        return [found[key] for key in keys]

    def _concurrent(self, missing: dict[str, Question]) -> Iterator[tuple[str, Reply | Failure]]:
        """Answers as they arrive. A fatal error (a wrong key, the budget) stops at once; answers in flight are still cached."""
        stop = threading.Event()
        with ThreadPoolExecutor(self.settings.concurrency, thread_name_prefix="api") as pool:
            try:
                # one request finds out what the server refuses, before many are sent at once
                first = dict(list(missing.items())[: 0 if self._tried else 1])
                for key, question in first.items():
                    yield key, pool.submit(self._asked, key, question, stop).result()
                futures = {pool.submit(self._asked, key, missing[key], stop): key for key in missing if key not in first}
                for future in as_completed(futures):
                    yield futures[future], future.result()
            except BaseException:
                stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _asked(self, key: str, question: Question, stop: threading.Event) -> Reply | Failure:
        """The reply, after retries without the parts that the server refuses; or why there is none."""
        asking, keep = self._asking(question), key if self.settings.cache else ""
        while True:
            body = asking.body(self.endpoint.model)
            unsure = bool(request_forms.unconfirmed(body) - self._taken - self._futile) and not asking.last
            try:
                reply = self.client.ask(body, *bounds(asking), keep, stop, unsure)
                if asking.needs_more(reply):
                    asking = asking.with_form(frozenset({request_forms.REASONS}))
                    continue
                self._learn(asking, body)
                return reply
            except Refused as error:
                try:
                    asking = self._otherwise(asking, body, error)
                except Refused:
                    return Failure(str(error), final=True)
            except CallError as error:
                return Failure(str(error), final=False)
            except RungError:  # a wrong key, the budget: the other threads stop sending
                stop.set()
                raise

    def _asking(self, question: Question) -> Request:
        limit = max_tokens(question, self._refused)
        return Request(question, self._refused, min(limit, self._longest or limit), self._most)

    def _otherwise(self, asking: Request, body: dict[str, Any], refusal: Refused) -> Request:
        """The request changed after a refusal: fewer tokens, without the parts it names, or else without guessed parts.

        Raises Refused if nothing is left to try. Parts that the server has accepted before are kept.
        """
        words, prompt = str(refusal), tokens.estimate(asking.question.prompt)
        left = request_forms.allowed_tokens(words, asking.limit, prompt)
        if left is not None and left >= 1 and asking.clamps < MAX_CLAMPS:
            self._most = (context := request_forms.context_of(words)) or self._most
            self._longest = self._longest if context else left
            return replace(asking, limit=left, clamps=asking.clamps + 1)
        if left is not None:
            raise refusal
        if named := request_forms.named_by_refusal(body, words) - asking.form:
            return replace(asking.with_form(named), guesses=None)
        doubts = request_forms.unconfirmed(body) - self._taken - self._futile
        guesses = request_forms.guesses(doubts) if asking.guesses is None else asking.guesses
        if asking.last or (not guesses and asking.guesses is None):
            raise refusal
        if not guesses:  # no guess helped: back to the first form, whose refusal is final
            self._futile |= asking.form - asking.before
            return replace(asking, form=asking.before, guesses=[], last=True)
        before = asking.form if asking.guesses is None else asking.before
        return replace(asking, form=before | guesses[0], before=before, guesses=guesses[1:])

    def _learn(self, asking: Request, body: dict[str, Any]) -> None:
        """Remember the form in which a request succeeded, and report once what is new in it."""
        new = asking.form - self._refused
        self._refused, self._tried = self._refused | asking.form, True
        self._taken |= request_forms.unconfirmed(body)
        for what, notice in NOTICES.items():
            if what in new:
                self.say(f"{self.endpoint.model} at {self.endpoint.host} {notice}")

    def _key(self, question: Question) -> str:
        """The digest of a question: endpoint, model, messages, decoding and labels."""
        turns = [m.named for m in question.prompt.messages]
        d = question.decoding
        drawn = [d.max_new_tokens, d.temperature, d.top_p, d.seed, *([d.schema] if d.schema else [])]
        return digest([self.endpoint.url, self.endpoint.model, turns, drawn, question.labels])

    def _kept(self, key: str) -> Reply | None:
        content = self.ledger.cached(key) if self.settings.cache else None
        return from_cached(content) if content else None

    def _text_of(self, found: Reply) -> str:
        """A reply's text; ModelError if it contains no answer."""
        if found.unanswered:
            raise ModelError(found.unanswered, where=self.endpoint.url)
        return found.text
