"""Where a model behind an API is reached and what it may spend, from its name and the user's settings."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from rung.errors import ModelError
from rung.lm.remote.prices import KNOWN, Price

OPENAI = "https://api.openai.com/v1"
LEDGER = "api.sqlite"
"""The file of answers and bills, in `Settings.folder`."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The most that may be spent on a task's calls, over all its processes; None sets no limit."""

    calls: int | None = None
    """Requests sent, failed ones included."""
    tokens: int | None = None
    """Tokens read and written."""
    usd: float | None = None
    seconds: float | None = None
    """Wall clock since the process opened its ledger. What is under way then is awaited: it is paid for."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How endpoints are asked. Keys stand in the environment; here is only the name of the variable."""

    folder: Path
    """Where answers and the ledger are kept (`api.sqlite`)."""
    key_env: str = ""
    """Variable that holds the key; by default OPENAI_API_KEY for `openai:NAME`, and no key for a URL."""
    concurrency: int = 8
    """Requests under way at once."""
    timeout_s: float = 120.0
    """Longest silence of the server, in seconds, before a request counts as failed."""
    retries: int = 6
    """Times that a failed request is sent again."""
    cache: bool = True
    """Whether an answer is kept and given again to the same question."""
    prices: Mapping[str, Price] = field(default_factory=dict, hash=False)
    """The user's own prices by model, before those of the table."""
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model at an address."""

    url: str
    """Up to and with `/v1`, without a slash at the end."""
    model: str
    key_env: str = ""
    listed: bool = False
    """Whether it is OpenAI's own, whose prices the table knows."""

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def loopback(self) -> bool:
        """On this very machine, whose time is then what a call costs."""
        return self.host in LOOPBACK

    @property
    def in_house(self) -> bool:
        """On this machine or in a private network: what is sent there does not leave the house."""
        try:
            return ipaddress.ip_address(self.host).is_private
        except ValueError:
            if self.host[:1].isdigit() and all(part.isalnum() for part in self.host.split(".")):
                return False  # an address in another spelling: 134744072 is 8.8.8.8
            return "." not in self.host or self.host.endswith((".local", ".internal", ".lan"))

    def price(self, prices: Mapping[str, Price]) -> Price | None:
        """The user's price, else the table's where the seller is the one listed; None where no price is known."""
        return prices.get(self.model) or (KNOWN.get(undated(self.model)) if self.listed else None)


def is_remote(name: str) -> bool:
    """Whether a model's name means an endpoint: `openai:NAME`, or `http(s)://host/v1#NAME`."""
    return name.startswith(("openai:", "http://", "https://"))


def endpoint(name: str, key_env: str = "") -> Endpoint:
    """The address and model of a name. `openai:NAME` honours OPENAI_BASE_URL. ModelError where the name says too little.

    A key is sent to a URL only where the user names its variable: OPENAI_API_KEY must not reach a stranger by default.
    """
    if name.startswith("openai:"):
        url = (os.environ.get("OPENAI_BASE_URL") or OPENAI).rstrip("/")
        found = Endpoint(url, name.removeprefix("openai:"), key_env or "OPENAI_API_KEY", url == OPENAI)
    else:
        url, _, model = name.partition("#")
        found = Endpoint(url.rstrip("/"), model, key_env)
    parts = urlsplit(found.url)
    if parts.username or parts.password or parts.query:
        raise ModelError(
            f"the address of {found.model!r} at {parts.hostname} carries a name, a password or a query.",
            where="base",
            remedy="Keys stand in the environment: name the variable under api.key_env.",
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
