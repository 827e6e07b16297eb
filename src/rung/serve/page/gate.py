"""The way from a page to the API: a post with the page's token is passed on with the key of the browser's cookie.

The page is a client of the API like any other. What a key may do, what is counted, logged and limited is decided there alone.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import Response

from rung.serve.endpoints.refused import Refused
from rung.serve.page.session import Sessions

POSTS = ("v1/chat/completions", "v1/feedback")
"""What pages may ask of the API."""
SCOPE = ("type", "asgi", "http_version", "scheme", "client", "server", "method", "root_path", "extensions")
"""What a request has before any route is found for it. https://asgi.readthedocs.io/en/latest/specs/www.html"""


class PassedOn(Response):
    """A request answered by another route of the same application, as if its sender had sent the key himself."""

    def __init__(self, app: FastAPI, path: str, key: str):
        super().__init__()
        self.app, self.path, self.key = app, path, key

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(name, value) for name, value in scope["headers"] if name not in (b"authorization", b"cookie")]
        headers += [(b"authorization", f"Bearer {self.key}".encode())] if self.key else []
        plain = {name: scope[name] for name in SCOPE if name in scope}
        passed = {"path": self.path, "raw_path": self.path.encode(), "query_string": b"", "headers": headers}
        await self.app({**plain, **passed}, receive, send)


def passed_on(app: FastAPI, sessions: Sessions, request: Request, path: str) -> Response:
    """The answer of the API to a page's post. Refused with 403 without the page's token, with 404 for another path."""
    if path not in POSTS:
        raise Refused(404, f"pages ask nothing of /{path}.")
    sessions.check(request)
    return PassedOn(app, f"/{path}", sessions.key(request))
