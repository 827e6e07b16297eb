"""Endpoints of models behind APIs, and the limits on spending, from a model's name and the user's settings."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rung.errors import ModelError
from rung.lm.remote.prices import KNOWN, Price
from rung.task.base_names import VLLM, split_server

if TYPE_CHECKING:
    from rung.lm.remote.calls import Calls

OPENAI = "https://api.openai.com/v1"

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Spending limits of a task's calls, over all its processes; None is no limit."""

    calls: int | None = None
    """Requests sent, including failed ones."""
    tokens: int | None = None
    """Input and output tokens."""
    usd: float | None = None
    seconds: float | None = None
    """Wall clock since the process opened its ledger. Requests in flight by then are awaited: they are paid for."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How endpoints are called. API keys are read from the environment; this holds only the variable's name."""

    folder: Path
    """Folder of the ledger (`api.sqlite`), unless it is shared."""
    shared: Callable[[], Calls] | None = field(default=None, hash=False)
    """Opens the entries of a ledger that machines share; None for those in the folder."""
    key_env: str = ""
    """Environment variable of the key; by default OPENAI_API_KEY for `openai:NAME`, and no key for a URL."""
    concurrency: int = 8
    """Concurrent requests."""
    timeout_s: float = 120.0
    """Seconds without a byte from the server after which a request has failed."""
    retries: int = 6
    """Retries of a failed request."""
    cache: bool = True
    """Whether answers are cached and reused for the same question."""
    prices: Mapping[str, Price] = field(default_factory=dict, hash=False)
    """The user's own prices by model; they override the table."""
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model at an address."""

    url: str
    """Including `/v1`, without a trailing slash."""
    model: str
    key_env: str = ""
    listed: bool = False
    """Whether it is OpenAI's own endpoint, whose prices are in the table."""

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def loopback(self) -> bool:
        """On this machine, so a call costs the machine's time."""
        return self.host in LOOPBACK

    @property
    def in_house(self) -> bool:
        """On this machine or in a private network: data sent there does not leave the organization."""
        try:
            return ipaddress.ip_address(self.host).is_private
        except ValueError:
            if self.host[:1].isdigit() and all(part.isalnum() for part in self.host.split(".")):
                return False  # another spelling of an IP address: 134744072 is 8.8.8.8
            return "." not in self.host or self.host.endswith((".local", ".internal", ".lan"))

    def price(self, prices: Mapping[str, Price]) -> Price | None:
        """The user's price, else the table's for a listed endpoint; None if no price is known."""
        return prices.get(self.model) or (KNOWN.get(undated(self.model)) if self.listed else None)

    def known_price(self, prices: Mapping[str, Price]) -> Price | None:
        """The same; None on this machine alone. ModelError for others: rungs are ordered by cost, and a cost is never guessed."""
        found = self.price(prices)
        if found or self.loopback:
            return found
        raise ModelError(
            f"no price is known for {self.model!r} at {self.host}.",
            where="base",
            remedy=f"Add to rung.yaml, in US dollars per million tokens: prices: {{{self.model}: {{input: …, output: …}}}}.",
        )


def is_remote(name: str) -> bool:
    """Whether a model's name is an endpoint's: `openai:NAME`, or `http(s)://host/v1#NAME`."""
    return name.startswith(("openai:", "http://", "https://"))


def is_addressed(name: str) -> bool:
    """Whether a model's name holds the address of a server: an endpoint's, or that of a vLLM server, `vllm:http://host#NAME`."""
    return is_remote(name.removeprefix(VLLM) if split_server(name)[0] != VLLM else name)


def endpoint(name: str, key_env: str = "") -> Endpoint:
    """The address and model of a name. `openai:NAME` uses OPENAI_BASE_URL. ModelError if the name is incomplete.

    A key is sent to a URL only if the user names its variable: OPENAI_API_KEY must not go to other servers by default.
    """
    if name.startswith("openai:"):
        url = (os.environ.get("OPENAI_BASE_URL") or OPENAI).rstrip("/")
        found = Endpoint(url, name.removeprefix("openai:"), key_env or "OPENAI_API_KEY", url == OPENAI)
    else:
        url, _, model = name.removeprefix(VLLM).partition("#")
        found = Endpoint(url.rstrip("/"), model, key_env)
    parts = urlsplit(found.url)
    if parts.username or parts.password or parts.query:
        raise ModelError(
            f"the address of {found.model!r} at {parts.hostname} must not contain a user name, a password or a query.",
            where="base",
            remedy="Put the key into an environment variable, and name the variable under api.key_env.",
        )
    if not found.model or not parts.hostname:
        raise ModelError(
            f"{name!r} names no model.", where="base", remedy="Write openai:MODEL, or http://host:8000/v1#MODEL for any other."
        )
    return found


def undated(model: str) -> str:
    """`gpt-4o-mini-2024-07-18` as `gpt-4o-mini`: a dated snapshot costs what its model costs."""
    head, *date = model.rsplit("-", 3)
    dated = len(date) == 3 and [len(part) for part in date] == [4, 2, 2] and "".join(date).isdigit()
    return head if dated else model
