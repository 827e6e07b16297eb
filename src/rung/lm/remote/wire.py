"""One try at an OpenAI-compatible endpoint: a request sent, and its answer held to what an answer must be."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from time import perf_counter
from typing import Any

import httpx2

from rung.errors import ModelError, RungError
from rung.lm.remote.ledger import Usage
from rung.lm.remote.settings import Endpoint

CONNECT_SECONDS = 10.0
MOST_BYTES = 64 << 20
"""Of an answer with the log-probability of every token, far above what a model writes."""
MOST_TOKENS = 10**9
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


class Passing(Exception):
    """A try failed and another may not."""

    def __init__(self, what: str, *, billed: bool = False, after: float = 0.0, unreachable: bool = False):
        super().__init__(what)
        self.what = what
        self.billed = billed
        """Whether the seller may have charged it: it was sent, and no whole answer came."""
        self.after = after
        """Seconds that the server asks to be left alone."""
        self.unreachable = unreachable


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

    @property
    def unanswered(self) -> str:
        """Why there is no answer in it: it was cut while the model still thought. Empty where there is one.

        A model that ends by itself without a word has answered, with an empty text.
        """
        if self.text or self.finished:
            return ""
        told = self.usage and not self.usage.estimated
        used = f"all {self.usage.tokens_out} tokens" if self.usage and told else "all its tokens"
        return f"the model used {used} before it wrote an answer."


class Wire:
    """The connections to one endpoint, safe to use from many threads. It alone holds the key."""

    def __init__(self, endpoint: Endpoint, timeout_s: float):
        self.endpoint, self.timeout_s = endpoint, timeout_s

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
    def _http(self) -> httpx2.Client:
        return httpx2.Client(
            headers={"Authorization": f"Bearer {self._key}"} if self._key else {},
            timeout=httpx2.Timeout(self.timeout_s, connect=min(CONNECT_SECONDS, self.timeout_s), pool=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64),
            trust_env=not self.endpoint.loopback,  # a proxy of the environment does not lead back to this machine
        )

    def models(self) -> list[dict[str, Any]]:
        """What the endpoint says of its models; empty where it says nothing that can be read."""
        try:
            found = self._http.get(self.endpoint.url + "/models", timeout=CONNECT_SECONDS).json()
        except (httpx2.HTTPError, ValueError):
            return []
        listed = found.get("data") if isinstance(found, dict) else None
        return [model for model in listed if isinstance(model, dict)] if isinstance(listed, list) else []

    def send(self, body: dict[str, Any]) -> Reply:
        """The whole answer at once."""
        started = perf_counter()
        with _faults():
            with self._http.stream("POST", self._url, json=body) as response:
                said = _text(response)
            self._check(response.status_code, response.headers, said)
            content = self._parsed(said)
            choice = _choice(content)
            text = self._said(choice["message"]["content"] or "").strip()
            finished, usage = choice.get("finish_reason") != "length", _usage(content)
            if not text and finished and not (usage and usage.tokens_out):  # an answer that is truly empty wrote its end
                raise Passing("an empty answer", billed=bool(usage and usage.tokens_in))
            return Reply(text, finished, usage, perf_counter() - started, _logs(choice))

    def stream(self, body: dict[str, Any]) -> Iterator[str | Reply]:
        """The answer's pieces as they come, then the whole."""
        started, text, finish, usage = perf_counter(), "", None, None
        body = {**body, "stream": True, "stream_options": {"include_usage": True}}
        with _faults(), self._http.stream("POST", self._url, json=body) as response:
            if response.status_code != 200:
                self._check(response.status_code, response.headers, response.read().decode(errors="replace"))
            for event in httpx2.EventSource(response):
                if event.data == "[DONE]":
                    break
                content = self._parsed(event.data)
                usage = _usage(content) or usage
                if not content.get("choices"):
                    continue  # the last one, with the usage alone
                choice = _choice(content)
                piece = (choice.get("delta") or {}).get("content") or ""
                finish = choice.get("finish_reason") or finish
                text += piece
                if piece:
                    yield piece
        if finish is None:
            raise Passing("half a stream", billed=True)
        yield Reply(self._said(text).strip(), finish != "length", usage, perf_counter() - started)

    @property
    def _url(self) -> str:
        return self.endpoint.url + "/chat/completions"

    def _clean(self, text: str) -> str:
        """A server's words for a message: short, and never with the key, which some servers say back."""
        return " ".join(self._keyless(text).split())[:300]

    def _keyless(self, text: str) -> str:
        return text.replace(self._key, "[key]") if self._key else text

    def _said(self, text: str) -> str:
        """An answer's text without the key, however the JSON spelt it, and without halves of characters."""
        return self._keyless(text).encode(errors="replace").decode()

    def _check(self, status: int, headers: httpx2.Headers, text: str) -> None:
        if status == 200:
            return
        code, message = _error(text)
        said = self._clean(f"{status}: {message}")
        if status in STOPS or code in FINAL_CODES:
            raise ModelError(f"the server answered {said}", where=self.endpoint.url, remedy=self._remedy(status))
        if status in PASSES or status >= 500:
            raise Passing(f"the server answered {said}", after=_retry_after(headers))
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
            content = json.loads(self._keyless(text))
        except ValueError:
            raise Passing(f"no JSON: {self._clean(text)[:80]!r}", billed=True) from None
        if not isinstance(content, dict):
            raise Passing("JSON that is no answer", billed=True)
        if content.get("error"):
            raise Passing(f"an error instead of an answer: {self._clean(_error(json.dumps(content))[1])}")
        return content


@contextmanager
def _faults() -> Iterator[None]:
    """What may go wrong on the way, as Passing."""
    try:
        yield
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError) as error:
        raise Passing(f"no connection: {error}", unreachable=True) from None
    except httpx2.TimeoutException:
        raise Passing("no answer in time", billed=True) from None
    except (httpx2.TransportError, httpx2.DecodingError) as error:
        raise Passing(f"the connection broke off: {error}", billed=True) from None
    # parts of the answer are missing, or are not what they should be
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
        raise Passing(f"an answer in another shape: {type(error).__name__} {error}", billed=True) from None


def _text(response: Any) -> str:
    """The body of an answer, which may not be without end."""
    body = bytearray()
    for part in response.iter_bytes():
        body += part
        if len(body) > MOST_BYTES:
            raise Passing(f"an answer of over {MOST_BYTES >> 20} MiB", billed=True)
    return body.decode(errors="replace")


def _choice(content: dict[str, Any]) -> dict[str, Any]:
    choices = content.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise Passing("an answer without choices", billed=True)
    return choices[0]


def _usage(content: dict[str, Any]) -> Usage | None:
    found = content.get("usage")
    if not isinstance(found, dict):
        return None
    cached = (found.get("prompt_tokens_details") or {}).get("cached_tokens")
    counts = [found.get("prompt_tokens"), found.get("completion_tokens") or 0, cached or 0]
    known = [count for count in counts if isinstance(count, int) and 0 <= count < MOST_TOKENS]
    if len(known) < len(counts):
        return None  # no bill, or one that cannot be: the tokens are estimated
    return Usage(known[0], known[1], min(known[2], known[0]))


def _logs(choice: dict[str, Any]) -> tuple[tuple[str, float], ...]:
    listed = (choice.get("logprobs") or {}).get("content") or []
    return tuple((one["token"], float(one["logprob"])) for one in listed if {"token", "logprob"} <= one.keys())


def _error(text: str) -> tuple[str, str]:
    """Code and message of an error's body, of whatever shape it is."""
    try:
        found = json.loads(text)
    except ValueError:
        return "", text
    inner = found.get("error", found) if isinstance(found, dict) else found
    if isinstance(inner, dict):
        return str(inner.get("code") or inner.get("type") or ""), str(inner.get("message") or inner.get("detail") or inner)
    return "", str(inner)


def _retry_after(headers: httpx2.Headers) -> float:
    """Seconds of the header Retry-After, given as a number or a date; 0 without one. RFC 9110, section 10.2.3."""
    given = headers.get("retry-after", "")
    try:
        return max(0.0, float(given))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(given) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
