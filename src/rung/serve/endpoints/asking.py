"""A request for text, whatever its endpoint: from its body to its answer, whole or as a stream."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from rung.serve.access.askers import Asker
from rung.serve.access.rates import Charge
from rung.serve.answering.job import Errand, Job, Outcome, Piece, telling
from rung.serve.answering.models import Served
from rung.serve.answering.recent import Answered
from rung.serve.endpoints.chat import Chat
from rung.serve.endpoints.refused import Refused
from rung.serve.endpoints.wire import Head
from rung.serve.request_log import Entry
from rung.serve.server import Server

log = logging.getLogger("rung.serve")
T = TypeVar("T")


class ClientGone(Exception):
    """Nobody waits for the answer any more."""


class Writing(Protocol):
    """Writes one stream: each method returns server-sent events as text."""

    def begin(self) -> Iterable[str]:
        """Before the first piece."""
        ...

    def piece(self, piece: Piece) -> Iterable[str]:
        """The next characters of an answer."""
        ...

    def end(self, outcomes: Sequence[Outcome]) -> Iterable[str]:
        """After the last piece."""
        ...

    def broken(self, why: Refused) -> Iterable[str]:
        """Where it fails on the way: the status was sent before."""
        ...


class Asked(Protocol):
    """A request for text, read, and how its endpoint writes the answers to it."""

    @property
    def prefix(self) -> str:
        """What names of such requests begin with."""
        ...

    @property
    def operation(self) -> str:
        """What OpenTelemetry calls it: chat, or text_completion."""
        ...

    @property
    def chats(self) -> tuple[Chat, ...]:
        """What is asked: several only where it is not streamed."""
        ...

    def whole(self, head: Head, outcomes: Sequence[Sequence[Outcome]]) -> dict[str, Any]:
        """The response: of each chat its outcomes."""
        ...

    def writing(self, head: Head) -> Writing:
        """The stream."""
        ...


@dataclass(eq=False)
class Call:
    """One request while it is answered, and what is written of it when it ends."""

    server: Server
    asker: Asker
    asked: Asked
    served: Served
    created: int = field(default_factory=lambda: int(time.time()))
    started: float = field(default_factory=time.monotonic)
    ended: bool = False
    charge: Charge | None = None
    """What it counts against the limits of its key."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of the client; they may name the trace that it is a part of."""

    def __post_init__(self) -> None:
        self.id = self.asked.prefix + secrets.token_hex(12)
        self.events: list[asyncio.Queue[Any]] = [asyncio.Queue() for _ in self.asked.chats]
        loop, deadline = asyncio.get_running_loop(), self.started + self.server.timeout
        allow, tenant = self.asker.allow(self.served), self.asker.name
        self.jobs = [
            Job(chat, self.served, allow, telling(loop, events), deadline, tenant)
            for chat, events in zip(self.asked.chats, self.events)
        ]

    @property
    def head(self) -> Head:
        return Head(self.id, self.created, self.asked.chats[0].model)

    def begin(self) -> None:
        """Put it in the line. Refused where the model cannot follow it or no place is free."""
        for chat in self.asked.chats:
            self.served.check(chat)
        most = sum(chat.n * self.served.decoded(chat).max_new_tokens for chat in self.asked.chats)
        key, rates = self.asker.key(self.served), self.server.rates
        self.charge = rates.admit(key, most)
        try:
            self.server.line.offer(*self.jobs)
        except Refused:
            rates.cancel(key, self.charge)
            raise

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Count and log a failure in here."""
        try:
            yield
        except Refused as why:
            self.end(why.status, error=why.what)
            raise
        except (ClientGone, asyncio.CancelledError):
            self.end(499, error="the client went away")
            raise

    def end(self, status: int, outcomes: Sequence[Sequence[Outcome]] = (), error: str = "") -> None:
        """Count and log it, once."""
        if self.ended:
            return
        self.ended = True
        seconds = time.monotonic() - self.started
        read = sum(max((one.tokens_in for one in each), default=0) for each in outcomes)
        written = sum(one.tokens_out for each in outcomes for one in each)
        self.server.numbers.request(self.served.name, status, seconds, read, written)
        self.server.rates.settle(self.charge, read + written)
        if spans := self.server.spans:
            named = {"gen_ai.response.id": self.id, "http.response.status_code": status, "rung.rung": self.served.rung}
            named |= {"error.type": str(status)} if status >= 400 else {}
            spans.record(self.asked.operation, self.jobs, outcomes, named, error, self.headers)
        line = {"event": "request", "id": self.id, "model": self.served.name, "key": self.asker.name, "status": status}
        line |= {"ms": round(1000 * seconds), "tokens_in": read, "tokens_out": written, **({"error": error} if error else {})}
        log.info(json.dumps(line))
        chat = self.asked.chats[0]
        if status == 200:
            key = self.asker.key(self.served)
            owner, name, access = (key.digest, key.name, key.access) if key else ("", "", ())
            found = tuple(outcomes[0])
            self.server.recent.add(Answered(self.id, self.served, chat.messages, found, owner, name, access, chat.user))
        if self.server.log:
            digest = self.served.predictor.digest if self.served.predictor else self.served.model.digest
            who = self.asker.name, chat.user, self.served.name, digest
            answers = [one.text for each in outcomes for one in each]
            messages = [turn for one in self.asked.chats for turn in one.messages]
            self.server.log.add(Entry(self.id, *who, status, seconds, read, written, messages, answers, error))


async def ask(server: Server, request: Request, read: Callable[[bytes], Asked]) -> Response:
    """Answer a request whose body `read` reads. Refused where it is not answered."""
    started = time.monotonic()
    try:
        asker = server.asker(request)
        asked = read(await request.body())
        served = server.served(asker, asked.chats[0].model)
    except Refused as why:
        server.numbers.request("", why.status, time.monotonic() - started)
        raise
    call = Call(server, asker, asked, served, started=started, headers=request.headers)
    try:
        if not asked.chats[0].stream:
            return JSONResponse(asked.whole(call.head, await answered(call, request)))
        with call.ending():
            call.begin()
            first = await _next(call, 0, request)
    except ClientGone:
        return Response(status_code=499)
    return StreamingResponse(_stream(call, first), media_type="text/event-stream", headers={"cache-control": "no-store"})


async def answered(call: Call, request: Request | None = None) -> list[list[Outcome]]:
    """Of each of a call's chats its answers. Refused where it is not answered, ClientGone where nobody waits for it."""
    with call.ending():
        call.begin()
        outcomes = [await _next(call, k, request) for k in range(len(call.jobs))]
    call.end(200, outcomes)
    return outcomes


async def run(server: Server, slices: Generator[None, None, T], request: Request | None = None) -> T:
    """What an errand returns; the engine thread does it slice by slice. Refused where it fails or takes too long."""
    events: asyncio.Queue[Any] = asyncio.Queue()
    deadline = time.monotonic() + server.timeout
    made = Errand(slices, telling(asyncio.get_running_loop(), events), deadline)
    server.line.offer(made)
    try:
        found = await until(events.get(), deadline, request)
    except BaseException:
        server.line.withdraw(made)
        raise
    if isinstance(found, Refused):
        raise found
    result: T = found
    return result


async def _next(call: Call, which: int, request: Request | None = None) -> Any:
    """What the engine says next of a job: a Piece or all Outcomes. Raises the Refused that it may say."""
    try:
        found = await until(call.events[which].get(), call.jobs[which].deadline, request)
        if isinstance(found, Refused):
            raise found
        return found
    except BaseException:
        call.server.line.withdraw(*call.jobs)
        raise


async def until(what: Awaitable[T], deadline: float, request: Request | None = None) -> T:
    """The result of `what`. Refused with 504 where the deadline passes first; ClientGone where the client hangs up first."""
    found = asyncio.ensure_future(what)
    waits: set[asyncio.Future[Any]] = {found}
    if request:
        waits.add(asyncio.ensure_future(_gone(request)))
    try:
        left = max(0.0, deadline - time.monotonic())
        done, _ = await asyncio.wait(waits, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if found in done:
            return found.result()
        raise ClientGone if done else Refused(504, "the answer took too long.", code="timeout")
    finally:
        for task in waits:
            task.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _stream(call: Call, event: Piece | list[Outcome]) -> AsyncIterator[str]:
    """The events of a stream. A failure on the way is an event too."""
    writing = call.asked.writing(call.head)
    try:
        for text in writing.begin():
            yield text
        while isinstance(event, Piece):
            for text in writing.piece(event):
                yield text
            event = await _next(call, 0)
        call.end(200, [event])
        for text in writing.end(event):
            yield text
    except Refused as why:
        call.end(why.status, error=why.what)
        for text in writing.broken(why):
            yield text
    finally:
        call.server.line.withdraw(*call.jobs)
        call.end(499, error="the client went away")
