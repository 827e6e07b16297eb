"""API keys of a task: kept as hashes in its `.rung` folder, signed, so that a folder from elsewhere brings none along.

A key is 32 random bytes, so a plain SHA-256 of it tells nothing of it; slow hashes are for what people make up.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from filelock import FileLock

from rung.errors import TaskError
from rung.message import Message
from rung.store import Store

FILE = "keys.json"
PREFIX = "rk-"
PATTERN = re.compile(r"\b(?:rk|sk|hf|ghp|xox[abp])[-_][A-Za-z0-9_-]{16,}")
"""What looks like a key: ours, and those of OpenAI, Hugging Face, GitHub and Slack."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")

Role = Literal["ask", "admin"]


@dataclass(frozen=True, slots=True)
class Key:
    """Who may ask."""

    name: str
    digest: str
    """SHA-256 of the key, in hexadecimal."""
    access: tuple[str, ...] = ()
    """Labels of documents that its holder may see (data.access); documents without a label are open to every key."""
    role: Role = "ask"
    """admin may also read /metrics."""
    made: float = 0.0
    """When, in seconds since 1970."""
    requests_per_minute: int = 0
    """0: no limit."""
    tokens_per_minute: int = 0
    """Read and written together. 0: no limit."""


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def load(store: Store) -> tuple[Key, ...]:
    """The keys of a task, in the order in which they were made; none where the file cannot be believed."""
    rows = store.read(FILE).get("keys", ())
    return tuple(Key(**{**row, "access": tuple(row["access"])}) for row in rows)


def add(store: Store, name: str, access: Sequence[str] = (), role: Role = "ask", requests: int = 0, tokens: int = 0) -> str:
    """A new key. It is returned once and kept nowhere. TaskError for a name that is taken or no name.

    `requests`, `tokens`: what it may use in a minute; 0 for no limit.
    """
    with _locked(store):
        known = load(store)
        if not NAME.fullmatch(name):
            raise TaskError(
                f"{name!r} is no name for a key.",
                where="rung keys add",
                remedy="Use letters, digits, and . _ @ - after the first.",
            )
        if any(key.name == name for key in known):
            raise TaskError(f"there is a key {name!r} already.", where="rung keys add", remedy="Revoke it, or take another name.")
        secret = PREFIX + secrets.token_urlsafe(32)
        _keep(store, (*known, Key(name, digest(secret), tuple(access), role, time.time(), requests, tokens)))
    return secret


def revoke(store: Store, name: str) -> None:
    """Take a key away; running servers refuse it from the next request on. TaskError where there is none of this name."""
    with _locked(store):
        known = load(store)
        left = tuple(key for key in known if key.name != name)
        if len(left) == len(known):
            names = ", ".join(key.name for key in known) or "none"
            raise TaskError(f"there is no key {name!r}.", where="rung keys revoke", remedy=f"Keys: {names}.")
        _keep(store, left)


def find(keys: Sequence[Key], secret: str) -> Key | None:
    """The key that this is; all are compared, so that the time taken tells nothing."""
    given, found = digest(secret), None
    for key in keys:
        if hmac.compare_digest(key.digest, given):
            found = key
    return found


def redacted(text: str) -> str:
    """The text without what looks like a key."""
    return PATTERN.sub("[key]", text)


def redacted_turn(turn: Message) -> dict[str, Any]:
    """A message with its calls of tools, without what looks like a key."""
    return Message(turn.role, redacted(turn.content), redacted(turn.extra)).fields


def _locked(store: Store) -> FileLock:
    """A lock of its own: a key can be revoked while a climb runs."""
    store.folder.mkdir(parents=True, exist_ok=True)
    return FileLock(store.folder / "keys.lock")


def _keep(store: Store, keys: Sequence[Key]) -> None:
    store.write(FILE, {"keys": [asdict(key) for key in keys]})
