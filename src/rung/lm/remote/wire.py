"""One try at an OpenAI-compatible endpoint: a request sent, and its answer held to what an answer must be."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from time import perf_counter
from typing import Any, NoReturn, TypeVar

import httpx2

from rung.errors import ModelError, RungError
from rung.lm.remote import bounded, shapes
from rung.lm.remote.bounded import PATIENCE, Clock, TooMuchError
from rung.lm.remote.gate import Gate
from rung.lm.remote.heard import Heard
from rung.lm.remote.ledger import Usage
from rung.lm.remote.settings import Endpoint

CONNECT_SECONDS = 10.0
MOST_LISTED = 8 << 20
"""Bytes of a list of models; the longest have some hundred kilobytes."""
STOPS = (301, 302, 303, 307, 308, 401, 402, 403, 404, 405)
"""No other row would fare better."""
PASSES = (408, 409, 425, 429)
"""With all from 500 on: another try may fare better."""
FINAL_CODES = ("insufficient_quota", "billing_hard_limit_reached")
"""OpenAI's codes of a 429 that no waiting mends."""


class CallError(RungError):
    """One row's question was refused, or failed at every try; the other rows go on."""


class Refused(CallError):
    """The server will not have the request as it is; without some of its parameters it may."""


class RetryableError(Exception):
    """A try failed and another may not."""

    def __init__(self, what: str, *, billed: bool = False, after: float = 0.0, unreachable: bool = False, status: int = 0):
        super().__init__(what)
        self.what = what
        self.billed = billed
        """Whether the seller may have charged it: it was sent, and no whole answer came."""
        self.after = after
        """Seconds that the server asks to be left alone."""
        self.unreachable = unreachable
        self.status = status
        """Of the answer, where it is one that tells a failure."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer."""

    text: str
    finished: bool
    """False where it was cut at the most tokens allowed."""
    usage: Usage | None
    """None where the server does not say."""
    seconds: float
    tokens: tuple[tuple[str, float], ...] = ()
    """Tokens of the text with their natural log-probabilities; empty where the server gives none."""
    thought: bool = False
    """Whether the server gave reasoning with it."""
    missing: str = ""
    """Why a whole answer holds no text: the server left it out, or withheld it."""

    @property
    def unanswered(self) -> str:
        """Why there is no answer in it: it was cut while the model still thought, or left out. Empty where there is one.

        A model that ends by itself without a word has answered, with an empty text.
        """
        if self.text:
            return ""
        if self.finished:
            return self.missing
        told = self.usage and not self.usage.estimated
        used = f"all {self.usage.tokens_out} tokens" if self.usage and told else "all its tokens"
        return f"the model used {used} before it wrote an answer."


Made = TypeVar("Made")


class Wire:
    """The connections to one endpoint, safe to use from many threads. It alone holds the key.

    Whatever the server says passes the gate here: replies, pieces and errors leave without the key, and no error has another
    behind it that quotes the server.
    """

    def __init__(self, endpoint: Endpoint, timeout_s: float):
        self.endpoint, self.timeout_s = endpoint, timeout_s
        self._clock = Clock()

    @cached_property
    def _key(self) -> str:
        name = self.endpoint.key_env
        key = os.environ.get(name, "").strip() if name else ""  # files of secrets end in a line break
        if name and not key:
            raise ModelError(f"the variable {name} is not set.", where=self.endpoint.url, remedy="Put the key into it.")
        if not (key.isascii() and key.isprintable()):  # a library that refuses it would quote it
            raise ModelError(
                f"the key in {name} has a character that no header takes.", where=self.endpoint.url, remedy="Copy it anew."
            )
        return key

    @cached_property
    def gate(self) -> Gate:
        """What takes the key out of a text."""
        return Gate(self._key)

    @cached_property
    def _http(self) -> httpx2.Client:
        client = httpx2.Client(
            headers={"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {}),
            timeout=httpx2.Timeout(self.timeout_s, connect=min(CONNECT_SECONDS, self.timeout_s), pool=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64),
            trust_env=not self.endpoint.loopback,  # a proxy of the environment does not lead back to this machine
        )
        self._clock.watch(client)
        return client

    def models(self) -> list[dict[str, Any]]:
        """What the endpoint says of its models; empty where it says nothing that can be read."""

        def read() -> list[dict[str, Any]]:
            self._clock.start(CONNECT_SECONDS)
            with self._http.stream("GET", self.endpoint.url + "/models", timeout=CONNECT_SECONDS) as response:
                found = self.gate.value(json.loads(bounded.body(response, MOST_LISTED)))
            listed = found.get("data") if isinstance(found, dict) else None
            return [model for model in listed if isinstance(model, dict)] if isinstance(listed, list) else []

        try:
            return self._guarded(read)
        except RetryableError:
            return []

    def send(self, body: dict[str, Any]) -> Reply:
        """The whole answer at once."""
        return self._guarded(lambda: self._sent(body))

    def stream(self, body: dict[str, Any]) -> Iterator[str | Reply]:
        """The answer's pieces as they come, then the whole."""
        with closing(self._streamed(body)) as found:
            while (one := self._guarded(lambda: next(found, None))) is not None:
                yield one

    def _sent(self, body: dict[str, Any]) -> Reply:
        started = perf_counter()
        with self._asked(body) as response:
            text = bounded.body(response)
        if not text.lstrip().startswith("data:"):
            return self._reply(self._parsed(text), perf_counter() - started, held="response_format" in body)
        heard = Heard()  # a server that streams unasked
        for _ in heard.pieces(map(self._parsed, heard.events(bounded.events(iter(text.splitlines()))))):
            pass
        return self._reply(heard.whole or heard.content, perf_counter() - started, heard.usage)

    def _streamed(self, body: dict[str, Any]) -> Generator[str | Reply, None, None]:
        started, heard, silent = perf_counter(), Heard(), True
        with self._asked(body) as response:
            framed = "content-length" in response.headers or "chunked" in response.headers.get("transfer-encoding", "")
            told = shapes.answers(heard.pieces(map(self._parsed, heard.events(bounded.events(bounded.lines(response))))))
            for piece in self.gate.pieces(told):
                if piece:
                    silent = False
                    yield piece
        if heard.whole is not None:  # a server that does not stream answers all at once
            reply = self._reply(heard.whole, perf_counter() - started)
        elif heard.begun and (heard.ended or framed):
            reply = self._reply(heard.content, perf_counter() - started, heard.usage, streamed=True)
        else:
            raise RetryableError("half a stream", billed=True)
        if silent and reply.text:
            yield reply.text
        yield reply

    @contextmanager
    def _asked(self, body: dict[str, Any]) -> Iterator[httpx2.Response]:
        """The response to a question; what is no answer is raised."""
        self._clock.start(PATIENCE * self.timeout_s)
        with self._http.stream("POST", self._url, json=body) as response:
            if response.status_code != 200:
                self._refused(response.status_code, response.headers, bounded.beginning(response))
            yield response

    def _reply(
        self, content: dict[str, Any], seconds: float, usage: Usage | None = None, streamed: bool = False, held: bool = False
    ) -> Reply:
        """An answer's content as a Reply, through the gate. RetryableError where there is no answer in it."""
        choice = shapes.first_choice(content)
        if choice is None:
            raise RetryableError("an answer without choices", billed=True)
        finish, usage = shapes.finish(choice), usage or shapes.usage(content)
        said, tokens = shapes.message_content(choice, finish, held), shapes.logs(choice)
        finished = finish not in shapes.CUT
        reply = Reply(self.gate.text(said.text).strip(), finished, usage, seconds, thought=said.thought, missing=said.missing)
        if usage and said.text and not (usage.tokens_in or usage.tokens_out):
            reply = replace(reply, usage=None)
        if not said.text and not said.missing and finished and not streamed and not (usage and usage.tokens_out):
            raise RetryableError("an empty answer", billed=bool(usage and usage.tokens_in))  # one truly empty wrote its end
        return reply if self.gate.holds("".join(token for token, _ in tokens)) else replace(reply, tokens=tokens)

    @property
    def _url(self) -> str:
        return self.endpoint.url + "/chat/completions"

    def _refused(self, status: int, headers: httpx2.Headers, text: str) -> NoReturn:
        code, message = shapes.error(text)
        said = self.gate.short(f"{status}: {message}")
        if status in STOPS or code in FINAL_CODES:
            raise ModelError(f"the server answered {said}", where=self.endpoint.url, remedy=self._remedy(status))
        if status in PASSES or status >= 500 or status < 400:
            raise RetryableError(f"the server answered {said}", after=_retry_after(headers), status=status)
        raise Refused(f"the server refused the question, {said}", where=self.endpoint.url)

    def _remedy(self, status: int) -> str:
        if status == 401:
            name = self.endpoint.key_env
            return f"Check the key in {name}." if name else "Name the variable with the key under api.key_env in rung.yaml."
        if status in (404, 405) or status < 400:
            return f"Check the address (it ends in /v1) and the model's name {self.endpoint.model!r}."
        return "Check the account with the seller."

    def _parsed(self, text: str) -> dict[str, Any]:
        """The JSON object of an answer, the key taken out should the server say it back."""
        try:
            content = self.gate.value(json.loads(text))
        except (ValueError, RecursionError):
            raise RetryableError(f"no JSON: {self.gate.short(text)[:80]!r}", billed=True) from None
        if not isinstance(content, dict):
            raise RetryableError("JSON that is no answer", billed=True)
        if content.get("error"):
            raise RetryableError(f"an error instead of an answer: {self.gate.short(shapes.error(json.dumps(content))[1])}")
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
        """What went wrong on the way, as RetryableError; what a library quotes of the server passes the gate."""
        said = self.gate.short(str(error))
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
            return RetryableError(f"no connection: {said}", unreachable=True)
        if isinstance(error, httpx2.TimeoutException):
            return RetryableError("no answer in time", billed=True)
        if isinstance(error, httpx2.HTTPError):
            return RetryableError(f"the connection broke off: {said}", billed=True)
        if isinstance(error, TooMuchError):
            return RetryableError(said, billed=True)
        return RetryableError(f"an answer in another shape: {type(error).__name__} {said}", billed=True)


FAULTS = (
    httpx2.HTTPError,
    httpx2.InvalidURL,
    httpx2.StreamError,
    TooMuchError,
    # parts of the answer are missing, or are not what they should be
    KeyError,
    TypeError,
    AttributeError,
    ValueError,
    OverflowError,
    RecursionError,
)
"""What may go wrong between a question and its answer."""


def _retry_after(headers: httpx2.Headers) -> float:
    """Seconds of the header Retry-After, given as a number or a date; 0 without one. RFC 9110, section 10.2.3."""
    given = headers.get("retry-after", "")
    try:
        seconds = float(given)
        return max(0.0, seconds) if seconds == seconds else 0.0
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(given) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return 0.0
