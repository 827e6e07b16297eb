"""One request to an OpenAI-compatible endpoint, and the validation of its response."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from time import perf_counter
from typing import Any, NoReturn, TypeVar

import httpx2

from rung.errors import ModelError, RungError
from rung.lm.remote import bounded, replies
from rung.lm.remote.bounded import TOTAL_TIMEOUT_FACTOR, Clock, TooMuchError
from rung.lm.remote.call_errors import FAULTS, Refused, RetryableError, retry_after
from rung.lm.remote.key_filter import KeyFilter
from rung.lm.remote.ledger import Usage
from rung.lm.remote.settings import Endpoint
from rung.lm.remote.streamed import StreamedReply

CONNECT_SECONDS = 10.0
MAX_LIST_BYTES = 8 << 20
"""Bytes of a list of models; the longest are a few hundred kilobytes."""
FATAL_STATUS = (301, 302, 303, 307, 308, 401, 402, 403, 404, 405)
"""Status codes with which every request would fail."""
RETRYABLE_STATUS = (408, 409, 425, 429)
"""Status codes, together with all from 500 on, for which a retry may succeed."""
FINAL_CODES = ("insufficient_quota", "billing_hard_limit_reached")
"""OpenAI's codes of a 429 that a retry cannot fix."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer."""

    text: str
    finished: bool
    """False if it was truncated at the token limit."""
    usage: Usage | None
    """None if the server reports none."""
    seconds: float
    tokens: tuple[tuple[str, float], ...] = ()
    """Tokens of the text with their natural log-probabilities; empty if the server sends none."""
    thought: bool = False
    """Whether the server sent reasoning with it."""
    missing: str = ""
    """Why a complete answer has no text: the server sent none, or withheld it."""

    @property
    def unanswered(self) -> str:
        """Why it contains no answer: it was truncated during reasoning, or has no text. Empty if it has an answer.

        A model that stops by itself with an empty text has answered.
        """
        if self.text:
            return ""
        if self.finished:
            return self.missing
        reported = self.usage and not self.usage.estimated
        used = f"all {self.usage.tokens_out} tokens" if self.usage and reported else "all its tokens"
        return f"the model used {used} before it gave an answer."


Made = TypeVar("Made")


class Wire:
    """The connections to one endpoint; thread-safe. Only this class holds the key.

    Everything from the server passes the key filter here: replies, pieces and errors never contain the key, and no error
    chains another that quotes the server.
    """

    def __init__(self, endpoint: Endpoint, timeout_s: float):
        self.endpoint, self.timeout_s = endpoint, timeout_s
        self._clock = Clock()

    @cached_property
    def _key(self) -> str:
        name = self.endpoint.key_env
        key = os.environ.get(name, "").strip() if name else ""  # secret files end with a line break
        if name and not key:
            raise ModelError(f"the environment variable {name} is not set.", where=self.endpoint.url, remedy="Set it to the key.")
        if not (key.isascii() and key.isprintable()):  # a library's error would quote it
            raise ModelError(
                f"the key in {name} has a character that HTTP headers do not allow.",
                where=self.endpoint.url,
                remedy="Copy it again.",
            )
        return key

    @cached_property
    def key_filter(self) -> KeyFilter:
        """Removes the key from texts."""
        return KeyFilter(self._key)

    @cached_property
    def _http(self) -> httpx2.Client:
        client = httpx2.Client(
            headers={"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {}),
            timeout=httpx2.Timeout(self.timeout_s, connect=min(CONNECT_SECONDS, self.timeout_s), pool=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64),
            trust_env=not self.endpoint.loopback,  # an environment's proxy cannot reach this machine
        )
        self._clock.watch(client)
        return client

    def models(self) -> list[dict[str, Any]]:
        """The endpoint's list of models; empty if it has none that can be parsed."""

        def read() -> list[dict[str, Any]]:
            self._clock.start(CONNECT_SECONDS)
            with self._http.stream("GET", self.endpoint.url + "/models", timeout=CONNECT_SECONDS) as response:
                found = self.key_filter.value(json.loads(bounded.body(response, MAX_LIST_BYTES)))
            listed = found.get("data") if isinstance(found, dict) else None
            return [model for model in listed if isinstance(model, dict)] if isinstance(listed, list) else []

        try:
            return self._guarded(read)
        except RetryableError:
            return []

    def send(self, body: dict[str, Any]) -> Reply:
        """The complete answer in one response."""
        return self._guarded(lambda: self._sent(body))

    def stream(self, body: dict[str, Any]) -> Iterator[str | Reply]:
        """The answer's pieces as they arrive, then the complete answer."""
        with closing(self._streamed(body)) as found:
            while (one := self._guarded(lambda: next(found, None))) is not None:
                yield one

    def _sent(self, body: dict[str, Any]) -> Reply:
        started = perf_counter()
        with self._asked(body) as response:
            text = bounded.body(response)
        if not text.lstrip().startswith("data:"):
            return self._reply(self._parsed(text), perf_counter() - started, constrained="response_format" in body)
        streamed = StreamedReply()  # a server that streams without being asked to
        for _ in streamed.pieces(map(self._parsed, streamed.events(bounded.events(iter(text.splitlines()))))):
            pass
        return self._reply(streamed.whole or streamed.content, perf_counter() - started, streamed.usage)

    def _streamed(self, body: dict[str, Any]) -> Generator[str | Reply, None, None]:
        started, streamed, silent = perf_counter(), StreamedReply(), True
        with self._asked(body) as response:
            framed = "content-length" in response.headers or "chunked" in response.headers.get("transfer-encoding", "")
            events = map(self._parsed, streamed.events(bounded.events(bounded.lines(response))))
            for piece in self.key_filter.pieces(replies.strip_reasoning_stream(streamed.pieces(events))):
                if piece:
                    silent = False
                    yield piece
        if streamed.whole is not None:  # a server that does not stream
            reply = self._reply(streamed.whole, perf_counter() - started)
        elif streamed.begun and (streamed.ended or framed):
            reply = self._reply(streamed.content, perf_counter() - started, streamed.usage, streamed=True)
        else:
            raise RetryableError("an incomplete stream", billed=True)
        if silent and reply.text:
            yield reply.text
        yield reply

    @contextmanager
    def _asked(self, body: dict[str, Any]) -> Iterator[httpx2.Response]:
        """The response to a request; raises for any status but 200."""
        self._clock.start(TOTAL_TIMEOUT_FACTOR * self.timeout_s)
        with self._http.stream("POST", self._url, json=body) as response:
            if response.status_code != 200:
                self._refused(response.status_code, response.headers, bounded.beginning(response))
            yield response

    def _reply(
        self,
        content: dict[str, Any],
        seconds: float,
        usage: Usage | None = None,
        streamed: bool = False,
        constrained: bool = False,
    ) -> Reply:
        """A response's content as a Reply, through the key filter. RetryableError if it contains no answer."""
        choice = replies.first_choice(content)
        if choice is None:
            raise RetryableError("a reply without choices", billed=True)
        finish, usage = replies.finish(choice), usage or replies.usage(content)
        message, tokens = replies.message_content(choice, finish, constrained), replies.token_logprobs(choice)
        finished = finish not in replies.CUT
        text = self.key_filter.text(message.text).strip()
        reply = Reply(text, finished, usage, seconds, thought=message.thought, missing=message.missing)
        if usage and message.text and not (usage.tokens_in or usage.tokens_out):
            reply = replace(reply, usage=None)
        if not message.text and not message.missing and finished and not streamed and not (usage and usage.tokens_out):
            raise RetryableError(
                "an empty answer", billed=bool(usage and usage.tokens_in)
            )  # a real empty answer has an end token
        return reply if self.key_filter.holds("".join(token for token, _ in tokens)) else replace(reply, tokens=tokens)

    @property
    def _url(self) -> str:
        return self.endpoint.url + "/chat/completions"

    def _refused(self, status: int, headers: httpx2.Headers, text: str) -> NoReturn:
        code, message = replies.error(text)
        said = self.key_filter.short(f"{status}: {message}")
        if status in FATAL_STATUS or code in FINAL_CODES:
            raise ModelError(f"the server answered {said}", where=self.endpoint.url, remedy=self._remedy(status))
        if status in RETRYABLE_STATUS or status >= 500 or status < 400:
            raise RetryableError(f"the server answered {said}", after=retry_after(headers), status=status)
        raise Refused(f"the server refused the question, {said}", where=self.endpoint.url)

    def _remedy(self, status: int) -> str:
        if status == 401:
            name = self.endpoint.key_env
            return f"Check the key in {name}." if name else "Name the variable with the key under api.key_env in rung.yaml."
        if status in (404, 405) or status < 400:
            return f"Check the address (it ends in /v1) and the model's name {self.endpoint.model!r}."
        return "Check the account with the seller."

    def _parsed(self, text: str) -> dict[str, Any]:
        """The JSON object of a response, without the key should the server echo it."""
        try:
            content = self.key_filter.value(json.loads(text))
        except (ValueError, RecursionError):
            raise RetryableError(f"not JSON: {self.key_filter.short(text)[:80]!r}", billed=True) from None
        if not isinstance(content, dict):
            raise RetryableError("JSON that is not an object", billed=True)
        if content.get("error"):
            raise RetryableError(f"an error instead of an answer: {self.key_filter.short(replies.error(json.dumps(content))[1])}")
        return content

    def _guarded(self, work: Callable[[], Made]) -> Made:
        """The reply. Every failure becomes a RetryableError or a RungError, without the server's own text behind it."""
        trouble: Exception
        try:
            return work()
        except (RetryableError, RungError) as error:
            trouble = error
        except FAULTS as error:
            trouble = self._fault(error)
        trouble.__cause__ = trouble.__context__ = None
        raise trouble.with_traceback(None)

    def _fault(self, error: BaseException) -> RetryableError:
        """A transport failure as a RetryableError; the library's text passes the key filter."""
        said = self.key_filter.short(str(error))
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
            return RetryableError(f"no connection: {said}", unreachable=True)
        if isinstance(error, httpx2.TimeoutException):
            return RetryableError("no answer in time", billed=True)
        if isinstance(error, httpx2.HTTPError):
            return RetryableError(f"the connection was interrupted: {said}", billed=True)
        if isinstance(error, TooMuchError):
            return RetryableError(said, billed=True)
        return RetryableError(f"a reply in an unknown format: {type(error).__name__} {said}", billed=True)
