"""The HTTP application: routes, and what becomes of a request from its body to its answer."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from rung.serve import chat as chats
from rung.serve import numbers, wire
from rung.serve.askers import Asker, Askers
from rung.serve.chat import Chat
from rung.serve.guard import Guard
from rung.serve.job import Event, Job, Line, Outcome, Piece, telling
from rung.serve.models import Served
from rung.serve.numbers import Numbers
from rung.serve.recent import Answered, Recent
from rung.serve.refused import Refused
from rung.serve.request_log import Entry, RequestLog
from rung.serve.worker import Worker

log = logging.getLogger("rung.serve")


@dataclass(frozen=True, eq=False)
class Server:
    """What the routes use."""

    models: Mapping[str, Served]
    askers: Askers
    line: Line
    worker: Worker
    numbers: Numbers
    log: RequestLog | None
    loopback: bool
    timeout: float
    """Seconds after which a request is given up."""
    recent: Recent = field(default_factory=Recent)
    """The last answers, which feedback is about."""


@dataclass(eq=False)
class Call:
    """One request while it is answered, and what is written of it when it ends."""

    server: Server
    asker: Asker
    chat: Chat
    served: Served
    id: str = field(default_factory=lambda: f"chatcmpl-{secrets.token_hex(12)}")
    created: int = field(default_factory=lambda: int(time.time()))
    started: float = field(default_factory=time.monotonic)
    ended: bool = False

    def end(self, status: int, outcomes: list[Outcome] | None = None, error: str = "") -> None:
        """Count and log it, once."""
        if self.ended:
            return
        self.ended = True
        seconds, found = time.monotonic() - self.started, outcomes or []
        read = max((one.tokens_in for one in found), default=0)
        written = sum(one.tokens_out for one in found)
        self.server.numbers.request(self.served.name, status, seconds, read, written)
        line = {"event": "request", "id": self.id, "model": self.served.name, "key": self.asker.name, "status": status}
        line |= {"ms": round(1000 * seconds), "tokens_in": read, "tokens_out": written, **({"error": error} if error else {})}
        log.info(json.dumps(line))
        if status == 200:
            key = self.asker.key(self.served)
            held = (key.digest, key.name, key.access) if key else ()
            self.server.recent.add(Answered(self.id, self.served, self.chat.messages, tuple(found), *held, user=self.chat.user))
        if self.server.log:
            digest = self.served.predictor.digest if self.served.predictor else self.served.model.digest
            who = self.asker.name, self.chat.user, self.served.name, digest
            answers = [one.text for one in found]
            self.server.log.add(Entry(self.id, *who, status, seconds, read, written, self.chat.messages, answers, error))


def application(server: Server) -> FastAPI:
    """The application of a server whose worker has been started."""
    app = FastAPI(title="rung", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard, loopback=server.loopback)

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

    @app.get("/healthz")
    async def healthz() -> Response:
        return PlainTextResponse("ok\n")

    @app.get("/readyz")
    async def readyz() -> Response:
        return PlainTextResponse("ready\n") if server.worker.ready else PlainTextResponse("not ready\n", 503)

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        if not server.askers.of(request.headers.get("authorization")).admin:
            raise Refused(403, "this needs a key with the role admin.", code="role")
        return PlainTextResponse(server.numbers.text(), media_type=numbers.TYPE)

    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        asker = server.askers.of(request.headers.get("authorization"))
        found = [wire.model(served) for served in server.models.values() if asker.may_ask(served)]
        return JSONResponse({"object": "list", "data": found})

    @app.get("/v1/models/{name:path}")
    async def model(request: Request, name: str) -> Response:
        asker = server.askers.of(request.headers.get("authorization"))
        return JSONResponse(wire.model(_served(server, asker, name)))

    @app.post("/v1/chat/completions")
    async def completions(request: Request) -> Response:
        return await _completions(server, request)

    return app


def _served(server: Server, asker: Asker, name: str) -> Served:
    """The model of this name. One that the asker may not ask does not exist for him."""
    found = server.models.get(name)
    if found is None or not asker.may_ask(found):
        known = ", ".join(one.name for one in server.models.values() if asker.may_ask(one))
        raise Refused(404, f"there is no model {name!r}. Models: {known}.", param="model", code="model_not_found")
    return found


async def _completions(server: Server, request: Request) -> Response:
    started = time.monotonic()
    try:
        asker = server.askers.of(request.headers.get("authorization"))
        chat = chats.read(await request.body())
        served = _served(server, asker, chat.model)
    except Refused as why:
        server.numbers.request("", why.status, time.monotonic() - started)
        raise
    call = Call(server, asker, chat, served)
    events: asyncio.Queue[Event] = asyncio.Queue()
    tell = telling(asyncio.get_running_loop(), events)
    job = Job(chat, served, asker.allow(served), tell, time.monotonic() + server.timeout)
    try:
        served.check(chat)
        server.line.offer(job)
        if not chat.stream:
            return await _whole(call, job, events, request)
        first = await _next(call, job, events, request)
        if isinstance(first, Refused):
            raise first
    except Refused as why:
        call.end(why.status, error=why.what)
        raise
    except ClientGone:
        call.end(499, error="the client went away")
        return Response(status_code=499)
    return StreamingResponse(
        _stream(call, job, events, first), media_type="text/event-stream", headers={"cache-control": "no-store"}
    )


async def _whole(call: Call, job: Job, events: asyncio.Queue[Event], request: Request) -> Response:
    event = await _next(call, job, events, request)
    if isinstance(event, Refused):
        raise event
    assert isinstance(event, list), "pieces are for streams"
    call.end(200, event)
    return JSONResponse(wire.completion(call.id, call.created, call.chat, event))


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


async def _next(call: Call, job: Job, events: asyncio.Queue[Event], request: Request | None = None) -> Event:
    """What the engine says next. Refused with 504 where its time is over; ClientGone where the client hangs up first."""
    waits: dict[str, asyncio.Task[Any]] = {"event": asyncio.ensure_future(events.get())}
    if request:
        waits["gone"] = asyncio.ensure_future(_gone(request))
    try:
        done, _ = await asyncio.wait(
            waits.values(), timeout=max(0.0, job.deadline - time.monotonic()), return_when=asyncio.FIRST_COMPLETED
        )
        if waits["event"] in done:
            return waits["event"].result()
        raise ClientGone if done else Refused(504, "the answer took too long.", code="timeout")
    except (ClientGone, Refused, asyncio.CancelledError):
        call.server.line.withdraw(job)
        raise
    finally:
        for task in waits.values():
            task.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _stream(call: Call, job: Job, events: asyncio.Queue[Event], event: Event) -> AsyncIterator[str]:
    """Server-sent events up to [DONE]. A failure on the way is an event too: the status was sent before."""
    begun: set[int] = set()
    head = call.id, call.created, call.chat
    try:
        while isinstance(event, Piece):
            yield wire.event(wire.delta(*head, event.index, event.text, event.index not in begun))
            begun.add(event.index)
            event = await _next(call, job, events)
        if isinstance(event, Refused):
            raise event
        for index in set(range(call.chat.n)) - begun:
            yield wire.event(wire.delta(*head, index, "", True))
        for chunk in wire.ends(*head, event):
            yield wire.event(chunk)
        call.end(200, event)
        yield wire.DONE
    except Refused as why:
        call.end(why.status, error=why.what)
        yield wire.event(why.body)
    finally:
        call.server.line.withdraw(job)
        call.end(499, error="the client went away")
