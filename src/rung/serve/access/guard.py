"""What is turned away before it is read: strangers' pages, other names of this machine, bodies that are too long."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Awaitable, Callable
from typing import Any

from rung.serve.endpoints.refused import Refused

BODY = 1 << 20
"""Bytes that a body may have."""

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """ASGI middleware. A page in a user's browser must not reach a server on loopback, by whatever name it calls it.

    On loopback the Host header must name loopback: a stranger's domain that resolves to 127.0.0.1 (DNS rebinding) does not.
    No response carries CORS headers, and a request that a browser marks as another site's is refused before it is read: a
    page could not read the answer, but it could have it computed.
    """

    def __init__(self, app: App, loopback: bool, most: int = BODY):
        """`loopback`: whether the server is bound to it. `most`: bytes that a body may have."""
        self.app, self.loopback, self.most = app, loopback, most

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
            self._check(scope["method"], headers)
            await self.app(scope, self._bounded(receive), send)
        except Refused as why:
            await _send(why, send)

    def _check(self, method: str, headers: dict[str, str]) -> None:
        host = headers.get("host", "")
        if self.loopback and not is_loopback(_name(host)):
            raise Refused(403, f"the Host {host!r} is not this server's: call it 127.0.0.1 or localhost.", code="host")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            raise Refused(403, "requests from pages of other sites are refused.", code="cross_site")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise Refused(403, f"the page {origin!r} is of another site.", code="cross_site")
        if method == "POST":
            if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
                raise Refused(415, "the body must be JSON: Content-Type: application/json.", code="content_type")
            length = headers.get("content-length", "0")
            if not length.isdigit() or int(length) > self.most:
                raise self._too_long()

    def _bounded(self, receive: Receive) -> Receive:
        size = 0

        async def bounded() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self.most:
                raise self._too_long()
            return message

        return bounded

    def _too_long(self) -> Refused:
        return Refused(413, f"the body has more than {self.most} bytes.", code="body_too_long")


def _name(host: str) -> str:
    """A Host header without its port."""
    return host[: host.index("]") + 1] if host.startswith("[") and "]" in host else host.partition(":")[0]


async def _send(why: Refused, send: Send) -> None:
    body = json.dumps(why.body).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **why.headers}
    listed = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": why.status, "headers": listed})
    await send({"type": "http.response.body", "body": body})
