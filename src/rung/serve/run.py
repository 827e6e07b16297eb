"""A server from its start to its end: models opened, the port listened on, signals answered by finishing what is under way."""

from __future__ import annotations

import json
import logging
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from rung.errors import TaskError
from rung.serve.access import keys
from rung.serve.access.askers import Askers
from rung.serve.access.guard import is_loopback
from rung.serve.answering.job import Line
from rung.serve.answering.models import Served, Shelf
from rung.serve.answering.worker import Worker
from rung.serve.numbers import Numbers
from rung.serve.request_log import RequestLog

if TYPE_CHECKING:
    import uvicorn

    from rung.serve.server import Server
    from rung.serve.spans import Spans
    from rung.serve.watch import Watcher

TOGETHER = 64
"""Answers in one batch at most."""
DRAIN = 30.0
"""Seconds that requests under way have when the server shuts down, beyond the time-out of a request."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a server takes on."""

    waiting: int = 64
    """Requests that may wait; the next one is refused with 429."""
    timeout: float = 120.0
    """Seconds after which a request is given up."""


@dataclass(frozen=True, slots=True)
class Logging:
    """Where requests are logged, and for how long."""

    path: Path | None = None
    """None: not at all."""
    days: float = 30.0


def server(
    models: Mapping[str, Served], host: str, limits: Limits = Limits(), logged: Logging = Logging(), spans: Spans | None = None
) -> Server:
    """The server of these models, its worker not started yet. TaskError where others can reach it and there is no key."""
    from rung.serve.server import Server  # late: it imports FastAPI

    stores = {served.project.task.folder: served.project.store for served in models.values()}
    loopback = is_loopback(host)
    if not loopback and not any(keys.load(store) for store in stores.values()):
        raise TaskError(
            f"other machines reach {host}, and there is no key to ask with.",
            where="rung serve --host",
            remedy=f"Make one: rung keys add {next(iter(stores))} NAME. Or bind to 127.0.0.1.",
        )
    line = Line(limits.waiting, TOGETHER)
    counted = Numbers(line.__len__)
    worker = Worker(models, line, counted)
    requests = RequestLog(logged.path, logged.days) if logged.path else None
    return Server(
        Shelf(models), Askers(stores, not loopback), line, worker, counted, requests, loopback, limits.timeout, spans=spans
    )


def serve(made: Server, host: str, port: int, ready: Callable[[str], object], watcher: Watcher | None = None) -> None:
    """Answer until a signal says to end; then let no more requests in, finish those under way, and return.

    `ready`: called with the server's URL once it answers. `watcher`: takes up what changes meanwhile. TaskError where the port
    cannot be had.
    """
    import uvicorn

    from rung.serve.app import application

    structured_logs()
    with closing(_socket(host, port)) as socket:
        made.worker.start()
        config = uvicorn.Config(
            application(made),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="on",
            timeout_graceful_shutdown=int(made.timeout + DRAIN),
        )
        ready(f"http://{f'[{host}]' if ':' in host else host}:{socket.getsockname()[1]}")
        if watcher:
            watcher.start()
        try:
            _draining(config, made.stopping.set).run(sockets=[socket])
        finally:
            if watcher:
                watcher.stop()
            made.worker.stop(DRAIN)
            if made.log:
                made.log.close()
            if made.spans:
                made.spans.close()


def _socket(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048)
    except OSError as error:
        raise TaskError(
            f"{host} port {port} cannot be listened on: {error.strerror}.", where="rung serve", remedy="Name another --port."
        ) from error


def _draining(config: uvicorn.Config, stopping: Callable[[], object]) -> uvicorn.Server:
    """uvicorn's server, but for one thing: after a signal and a drain it returns, where uvicorn's raises the signal again.

    `stopping`: called at the first signal.
    """
    import uvicorn

    class Draining(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            self.force_exit = self.should_exit  # the second signal ends it at once
            self.should_exit = True
            stopping()

    return Draining(config)


def structured_logs() -> None:
    """One JSON object a line on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json())
    levels = {"rung.serve": logging.INFO, **dict.fromkeys(("uvicorn", "uvicorn.error", "mcp"), logging.WARNING)}
    for name, level in levels.items():
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        said = record.getMessage()
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        line = {"at": at, "level": record.levelname.lower()}
        line |= json.loads(said) if said.startswith("{") else {"message": said}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)
