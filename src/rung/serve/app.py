"""The HTTP application: its routes, and how what goes wrong is answered."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.routing import Route

from rung.serve import numbers
from rung.serve.access.guard import Guard
from rung.serve.endpoints import completions, embeddings, responses, wire
from rung.serve.endpoints.asking import ask
from rung.serve.endpoints.refused import Refused
from rung.serve.feedback import route as feedback
from rung.serve.page import mount as page
from rung.serve.page.parts import parts as page_parts
from rung.serve.server import Server

if TYPE_CHECKING:
    from rung.serve.mcp.tools import Endpoint


def application(server: Server) -> FastAPI:
    """The application of a server whose worker has been started."""
    tools = _tools(server)
    app = FastAPI(title="rung", docs_url=None, redoc_url=None, openapi_url=None, lifespan=_lifespan(tools))
    app.add_middleware(Guard, loopback=server.loopback)
    if tools:
        app.router.routes.append(Route("/mcp", tools, methods=["POST"]))
    _errors(app)
    _watched(app, server)
    _listed(app, server)
    _asked(app, server)
    feedback.mount(app, server.askers, server.recent)
    page.mount(app, page_parts(lambda: server.models, server.askers, server.stopping))
    return app


def _tools(server: Server) -> Endpoint | None:
    """The models as tools, where the package mcp is installed."""
    if importlib.util.find_spec("mcp") is None:
        return None
    from rung.serve.mcp.tools import Endpoint

    return Endpoint(server)


def _lifespan(tools: Endpoint | None) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with tools.manager.run() if tools else nullcontext():
            yield

    return lifespan


def _errors(app: FastAPI) -> None:
    @app.exception_handler(Refused)
    async def refused(request: Request, why: Refused) -> Response:
        return JSONResponse(why.body, why.status, why.headers)

    @app.exception_handler(HTTPException)
    async def no_route(request: Request, error: HTTPException) -> Response:
        why = Refused(error.status_code, f"{request.method} {request.url.path}: {error.detail}.")
        return JSONResponse(why.body, why.status, error.headers)

    @app.exception_handler(Exception)
    async def broken(request: Request, error: Exception) -> Response:
        return JSONResponse(Refused(500, "an internal error; the server's log has more.").body, 500)


def _watched(app: FastAPI, server: Server) -> None:
    @app.get("/healthz")
    async def healthz() -> Response:
        return PlainTextResponse("ok\n")

    @app.get("/readyz")
    async def readyz() -> Response:
        return PlainTextResponse("ready\n") if server.worker.ready else PlainTextResponse("not ready\n", 503)

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        if not server.asker(request).admin:
            raise Refused(403, "this needs a key with the role admin.", code="role")
        return PlainTextResponse(server.numbers.text(), media_type=numbers.TYPE)


def _listed(app: FastAPI, server: Server) -> None:
    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        asker = server.asker(request)
        found = [wire.model(served) for served in server.models.values() if asker.may_ask(served)]
        return JSONResponse({"object": "list", "data": found})

    @app.get("/v1/models/{name:path}")
    async def model(request: Request, name: str) -> Response:
        asker = server.asker(request)
        return JSONResponse(wire.model(server.served(asker, name)))


def _asked(app: FastAPI, server: Server) -> None:
    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> Response:
        return await ask(server, request, wire.read_chat)

    @app.post("/v1/completions")
    async def texts(request: Request) -> Response:
        return await ask(server, request, completions.read)

    @app.post("/v1/responses")
    async def response(request: Request) -> Response:
        return await ask(server, request, responses.read)

    @app.post("/v1/embeddings")
    async def vectors(request: Request) -> Response:
        return await embeddings.embed(server, request)
