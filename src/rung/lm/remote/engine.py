"""The engine of a model behind an API: many questions at once, each paid for once."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from rung.errors import ModelError, RungError
from rung.lm.base import Choice, Completion, Decoding, Progress, Prompt
from rung.lm.remote import forms, tokens
from rung.lm.remote import labels as reading
from rung.lm.remote.client import Client, from_kept
from rung.lm.remote.ledger import Ledger, Usage
from rung.lm.remote.settings import Endpoint, Settings
from rung.lm.remote.wire import CallError, Refused, Reply
from rung.types import Message, digest

CONTEXT = 128_000
"""Tokens that a prompt and its answer may have where the endpoint does not say; it refuses what is too long for it."""
CONTEXT_KEYS = ("max_model_len", "context_length", "context_window", "max_context_length", "n_ctx_train")
"""What vLLM, LiteLLM, OpenRouter, LM Studio and llama.cpp call it in /models."""

ANSWER_ROOM = 32
"""Tokens around a label: JSON, quotes, an end."""
REASONING_ROOM = 4096
"""Tokens that a reasoning model may think before it answers. Such models are known by refusing `max_tokens`."""

GO_ON = "Go on from there. Do not repeat what is already said."

TOLD = {
    "response_format": "refuses response_format: labels are asked for in words, and read from its answers.",
    forms.ROLES: "refuses a system message: what it says opens the first message of the user.",
    forms.THINKS: f"thinks before it answers: {REASONING_ROOM} more tokens are asked for.",
}
"""What is said of a form, once."""

CLAMPS = 3
"""Times that an answer's room is made smaller by what a server says of its context."""


class RemoteEngine:
    """Asks one endpoint with bounded concurrency. What was once answered is given again from the ledger, at no cost."""

    _tried = False
    """Whether a request has gone through, so that what the server refuses is known."""

    def __init__(self, endpoint: Endpoint, settings: Settings, ledger: Ledger, say: Callable[[str], object] = lambda text: None):
        """`say` is told, once, what the server refuses and how it is asked instead."""
        self.endpoint, self.settings, self.ledger, self.say = endpoint, settings, ledger, say
        self.client = Client(endpoint, settings, ledger)
        self._refused: frozenset[str] = frozenset()
        """What of a request was refused, and left out or put otherwise in one of this process that went through."""
        self._taken: frozenset[str] = frozenset()
        """What a server might refuse and took."""
        self._futile: frozenset[str] = frozenset()
        """What was left out for a guess, and did not help."""
        self._most = 0
        """Tokens of a prompt and its answer, as a refusal said; 0 where none did."""
        self._longest = 0
        """Tokens of an answer alone, likewise."""

    @cached_property
    def context(self) -> int:
        """As /models says, else a large default."""
        mine = [model for model in self.client.wire.models() if model.get("id") == self.endpoint.model]
        found = [(model | (model.get("meta") or {})).get(key) for model in mine for key in CONTEXT_KEYS]
        return next((size for size in found if isinstance(size, int) and size > 0), CONTEXT)

    def count(self, prompt: Prompt) -> int:
        """An estimate: a token for four bytes of text and four a message. Answers carry the server's own count."""
        return tokens.estimate(_spoken(prompt))

    def score(self, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
        raise ModelError(
            f"{self.endpoint.model!r} cannot score a given answer: the chat interface tells no log-probabilities of a prompt.",
            where=self.endpoint.url,
            remedy="Use a method that only asks for answers, or a model with open weights.",
        )

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, progress: Progress | None = None) -> list[Completion]:
        asked = [_Question(_spoken(prompt), replace(decoding, seed=decoding.seed + prompt.draw)) for prompt in prompts]
        return [self._completion(found) for found in self._answers(asked, progress)]

    def choose(self, prompts: Sequence[Prompt], labels: Sequence[str], progress: Progress | None = None) -> list[Choice]:
        """An answer that names no label is kept as it is, and scores wrong. Where the server can be held to the labels it is."""
        room = max(len(label.encode()) for label in labels) + ANSWER_ROOM
        asked = [_Question(_spoken(prompt), Decoding(max_new_tokens=room), tuple(labels)) for prompt in prompts]
        return [self._choice(found, labels) for found in self._answers(asked, progress)]

    def stream(self, prompt: Prompt, decoding: Decoding) -> Iterator[str]:
        """One answer, piece by piece as it is written; one that is kept already comes in one piece."""
        question = _Question(prompt, decoding)
        if found := self._kept(self._key(question)):
            yield self._heard(found)
            return
        keep, asking = self._key(question) if self.settings.cache else "", self._asking(question)
        while True:
            body = {**self._body(asking), "stream": True, "stream_options": {"include_usage": True}}
            if "stream_options" in asking.form:
                del body["stream_options"]
            try:
                reply = yield from self.client.stream(body, *_bounds(asking), keep)
            except Refused as error:
                asking = self._otherwise(asking, body, error)
                continue
            if asking.needs_more(reply):
                asking = asking.with_form(frozenset({forms.THINKS}))
                continue
            self._learn(asking, body)
            self._heard(reply)
            return

    # --- asking -----------------------------------------------------------------------------------------------

    def _answers(self, asked: Sequence[_Question], progress: Progress | None) -> list[Reply | _Failure]:
        """A reply to each question, or the error that it ended with; equal questions are asked once."""
        keys = [self._key(question) for question in asked]
        found: dict[str, Reply | _Failure] = {key: old for key in set(keys) if (old := self._kept(key))}
        missing = {key: question for key, question in zip(keys, asked) if key not in found}
        if progress and len(missing) < len(keys):
            progress(sum(key in found for key in keys))
        for key, reply in self._side_by_side(missing):
            found[key] = reply
            if progress:
                progress(keys.count(key))
        return [found[key] for key in keys]

    def _side_by_side(self, missing: dict[str, _Question]) -> Iterator[tuple[str, Reply | _Failure]]:
        """Answers as they come. What ends the work (a wrong key, the budget) ends it at once; answers under way are kept."""
        stop = threading.Event()
        with ThreadPoolExecutor(self.settings.concurrency, thread_name_prefix="api") as pool:
            try:
                # what a server refuses is found out with one question, not with all that are asked at once
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

    def _asked(self, key: str, question: _Question, stop: threading.Event) -> Reply | _Failure:
        """The reply, asked again without what the server refuses; or why there is none."""
        asking, keep = self._asking(question), key if self.settings.cache else ""
        while True:
            body = self._body(asking)
            unsure = bool(forms.doubtful(body) - self._taken - self._futile) and not asking.last
            try:
                reply = self.client.ask(body, *_bounds(asking), keep, stop, unsure)
                if asking.needs_more(reply):
                    asking = asking.with_form(frozenset({forms.THINKS}))
                    continue
                self._learn(asking, body)
                return reply
            except Refused as error:
                try:
                    asking = self._otherwise(asking, body, error)
                except Refused:
                    return _Failure(str(error), final=True)
            except CallError as error:
                return _Failure(str(error), final=False)
            except RungError:  # a wrong key, the budget: the other threads send nothing more
                stop.set()
                raise

    def _asking(self, question: _Question) -> _Asking:
        room = _room(question, self._refused)
        return _Asking(question, self._refused, min(room, self._longest or room), self._most)

    def _otherwise(self, asking: _Asking, body: dict[str, Any], refusal: Refused) -> _Asking:
        """The question put as the refusal allows: with less room, without what it names, or else without what it may mean.

        Refused where it stands. What a server took before is not doubted.
        """
        words, prompt = str(refusal), tokens.estimate(asking.question.prompt)
        left = forms.room(words, asking.room, prompt)
        if left is not None and left >= 1 and asking.clamps < CLAMPS:
            self._most = (context := forms.context_of(words)) or self._most
            self._longest = self._longest if context else left
            return replace(asking, room=left, clamps=asking.clamps + 1)
        if left is not None:
            raise refusal
        if named := forms.named(body, words) - asking.form:
            return replace(asking.with_form(named), guesses=None)
        doubts = forms.doubtful(body) - self._taken - self._futile
        guesses = forms.guesses(doubts) if asking.guesses is None else asking.guesses
        if asking.last or (not guesses and asking.guesses is None):
            raise refusal
        if not guesses:  # none helped: as it was at first, and what the server then says stands
            self._futile |= asking.form - asking.before
            return replace(asking, form=asking.before, guesses=[], last=True)
        before = asking.form if asking.guesses is None else asking.before
        return replace(asking, form=before | guesses[0], before=before, guesses=guesses[1:])

    def _learn(self, asking: _Asking, body: dict[str, Any]) -> None:
        """Keep the form in which a question went through, and say once what is new in it."""
        new = asking.form - self._refused
        self._refused, self._tried = self._refused | asking.form, True
        self._taken |= forms.doubtful(body)
        for what, told in TOLD.items():
            if what in new:
                self.say(f"{self.endpoint.model} at {self.endpoint.host} {told}")

    def _body(self, asking: _Asking) -> dict[str, Any]:
        question, form = asking.question, asking.form
        decoding = question.decoding
        body: dict[str, Any] = {
            "model": self.endpoint.model,
            "messages": forms.turns(question.prompt.messages, form),
            "temperature": decoding.temperature,
            "seed": decoding.seed,
        }
        if decoding.top_p < 1:
            body["top_p"] = decoding.top_p
        if question.labels:
            body |= {"response_format": reading.schema(question.labels), "logprobs": True}
        elif decoding.schema:
            body["response_format"] = reading.held_to(json.loads(decoding.schema))
        body = {name: value for name, value in body.items() if name not in form}
        return body | {"max_completion_tokens" if "max_tokens" in form else "max_tokens": asking.tokens}

    def _key(self, question: _Question) -> str:
        """The content name of a question: endpoint, model, messages, decoding and labels."""
        turns = [m.named for m in question.prompt.messages]
        d = question.decoding
        drawn = [d.max_new_tokens, d.temperature, d.top_p, d.seed, *([d.schema] if d.schema else [])]
        return digest([self.endpoint.url, self.endpoint.model, turns, drawn, question.labels])

    def _kept(self, key: str) -> Reply | None:
        content = self.ledger.kept(key) if self.settings.cache else None
        return from_kept(content) if content else None

    # --- replies ----------------------------------------------------------------------------------------------

    def _completion(self, found: Reply | _Failure) -> Completion:
        if isinstance(found, _Failure):
            return Completion("", finished=False, error=found.why, final=found.final)
        lacking = found.unanswered
        return Completion(found.text, finished=found.finished, error=lacking, final=bool(lacking), **_taken(found))

    def _choice(self, found: Reply | _Failure, labels: Sequence[str]) -> Choice:
        if isinstance(found, _Failure):
            return Choice("", math.nan, None, error=found.why, final=found.final)
        if found.unanswered:
            return Choice("", math.nan, None, error=found.unanswered, final=True, **_taken(found))
        if not found.text.strip():
            return Choice("", math.nan, None, error="the answer is empty.", final=True, **_taken(found))
        label = reading.read(found.text, labels)
        sure = reading.confidence(label, found.text, found.tokens) if label else None
        logprob = math.log(sure) if sure else math.nan
        return Choice(label or found.text, logprob, sure, **_taken(found))

    def _heard(self, found: Reply) -> str:
        """A reply's text; ModelError where it holds no answer."""
        if found.unanswered:
            raise ModelError(found.unanswered, where=self.endpoint.url)
        return found.text


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why a question has no reply."""

    why: str
    final: bool
    """The server will not have it; another time would bring the same."""


@dataclass(frozen=True, slots=True)
class _Question:
    """A prompt, how its answer is drawn, and the labels it may be; empty for a free answer."""

    prompt: Prompt
    decoding: Decoding
    labels: tuple[str, ...] = ()


def _spoken(prompt: Prompt) -> Prompt:
    """What an answer has begun with as a turn of its own: chat interfaces do not go on in the midst of an answer."""
    if not prompt.begun:
        return prompt
    turns = (*prompt.messages, Message("assistant", prompt.begun), Message("user", GO_ON))
    return replace(prompt, messages=turns, begun="")


@dataclass(frozen=True, slots=True)
class _Asking:
    """How a question is being put: found out with the first, and kept for those that follow."""

    question: _Question
    form: frozenset[str]
    room: int
    """Tokens that the answer may have."""
    most: int = 0
    """Tokens that prompt and answer may have together; 0 where nobody said."""
    clamps: int = 0
    before: frozenset[str] = frozenset()
    """The form before guesses were tried."""
    guesses: list[frozenset[str]] | None = None
    """What is still to be tried where a refusal names nothing; None before that."""
    last: bool = False
    """Whether what the server says now stands."""

    @property
    def tokens(self) -> int:
        left = self.most - tokens.estimate(self.question.prompt) if self.most else self.room
        return self.room if self.clamps else max(1, min(self.room, left))

    def with_form(self, more: frozenset[str]) -> _Asking:
        """The same question put so too."""
        form = self.form | more
        return replace(self, form=form, room=_room(self.question, form))

    def needs_more(self, reply: Reply) -> bool:
        """Whether the model was cut while it thought, for want of room that it was not known to need."""
        return bool(reply.unanswered and reply.thought and not reply.finished) and not _thinks(self.form) and not self.clamps


def _thinks(form: frozenset[str]) -> bool:
    return bool(form & {"max_tokens", forms.THINKS})


def _room(question: _Question, form: frozenset[str]) -> int:
    return question.decoding.max_new_tokens + (REASONING_ROOM if _thinks(form) else 0)


def _bounds(asking: _Asking) -> tuple[Usage, Usage]:
    """Tokens as estimated, and the most they can be."""
    prompt, room = asking.question.prompt, asking.tokens
    return Usage(tokens.estimate(prompt), room), Usage(tokens.bound(prompt, asking.question.labels), room)


def _taken(reply: Reply) -> dict[str, Any]:
    usage = reply.usage
    assert usage, "a reply of the ledger has its usage"
    return {
        "tokens_in": usage.tokens_in,
        "tokens_out": usage.tokens_out,
        "tokens_cached": usage.tokens_cached,
        "seconds": reply.seconds,
    }
