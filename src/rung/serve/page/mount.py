"""The pages' routes."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from rung.serve.access.askers import Asker
from rung.serve.endpoints.refused import Refused
from rung.serve.page import board, gate, render, views
from rung.serve.page.parts import Parts

View = Callable[[Parts, Request, Asker], Awaitable[Response]]
VIEWS: dict[str, View] = {
    "/": views.ask,
    "/leaderboard": views.leaderboard,
    "/report": views.report,
    "/knowledge": views.knowledge,
    "/document": views.document,
}
"""Pages by path."""


def mount(app: FastAPI, parts: Parts) -> None:
    """Add the pages to an application."""
    for path, view in VIEWS.items():
        app.add_api_route(path, _shown(parts, view), methods=["GET"])

    @app.get("/static/{name}")
    async def static(name: str) -> Response:
        return render.static(name)

    @app.get("/leaderboard/events")
    async def events(request: Request, task: str = "") -> Response:
        served = parts.task(parts.sessions.asker(request), task)
        stream = board.events(request, served.project, parts.stopping)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"cache-control": "no-store"})

    _posts(app, parts)


def _posts(app: FastAPI, parts: Parts) -> None:
    """What a page's script asks; each post carries the page's token."""
    sessions = parts.sessions

    @app.post("/page/sign-in")
    async def sign_in(request: Request) -> Response:
        sessions.check(request)
        key = _key(await request.body())
        sessions.askers.of(f"Bearer {key}")
        response = JSONResponse({"signed_in": True})
        sessions.sign_in(response, key, request.url.scheme == "https")
        return response

    @app.post("/page/sign-out")
    async def sign_out(request: Request) -> Response:
        sessions.check(request)
        response = JSONResponse({"signed_in": False})
        sessions.sign_out(response)
        return response

    @app.post("/page/{path:path}")
    async def api(request: Request, path: str) -> Response:
        return gate.passed_on(app, sessions, request, path)


def _shown(parts: Parts, view: View) -> Callable[[Request], Awaitable[Response]]:
    """A page for whoever looks; why it is refused is a page too."""

    async def shown(request: Request) -> Response:
        try:
            return await view(parts, request, parts.sessions.asker(request))
        except Refused as why:
            if why.status == 401:
                return _sign_in(parts, request)
            return render.page(parts.sessions, request, "refused.html", why.status, why=why.what)

    return shown


def _sign_in(parts: Parts, request: Request) -> Response:
    """The form that takes a key. A key in the browser that is not valid is forgotten."""
    sessions = parts.sessions
    wrong, required = bool(sessions.key(request)), sessions.askers.required
    response = render.page(sessions, request, "sign_in.html", 401, wrong=wrong, required=required)
    if wrong:
        sessions.sign_out(response)
    return response


def _key(raw: bytes) -> str:
    """The key in the body of a sign-in; Refused with 400 where there is none."""
    try:
        content: Any = json.loads(raw)
    except (ValueError, RecursionError):
        content = None
    key = content.get("key") if isinstance(content, dict) else None
    if not isinstance(key, str) or not key.strip() or not key.isascii():
        raise Refused(400, 'the body must be JSON with a key: {"key": "rk-…"}.', param="key", code="invalid_value")
    return key.strip()
