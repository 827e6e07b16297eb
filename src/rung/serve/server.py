"""What the routes of a server share."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from fastapi import Request

from rung.serve.access.askers import Asker, Askers
from rung.serve.access.rates import Rates
from rung.serve.answering.job import Line
from rung.serve.answering.models import Served, Shelf
from rung.serve.answering.recent import Recent
from rung.serve.answering.worker import Worker
from rung.serve.endpoints.refused import Refused
from rung.serve.numbers import Numbers
from rung.serve.request_log import RequestLog
from rung.serve.spans import Spans


@dataclass(frozen=True, eq=False)
class Server:
    """What the routes use."""

    shelf: Shelf
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
    rates: Rates = field(default_factory=Rates)
    """What each key has used in the last minute."""
    spans: Spans | None = None
    """Where requests are recorded as spans of OpenTelemetry; None for nowhere."""
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when the server begins to end: streams of pages end then."""

    @property
    def models(self) -> Mapping[str, Served]:
        """The models by name, as they are now."""
        return self.shelf.models

    def asker(self, request: Request) -> Asker:
        """Who sends a request. Refused with 401 where he may ask nothing."""
        return self.askers.of(request.headers.get("authorization"))

    def served(self, asker: Asker, name: str) -> Served:
        """The model of this name. Refused with 404; one that the asker may not ask does not exist for him."""
        found = self.models.get(name)
        if found is None or not asker.may_ask(found):
            known = ", ".join(one.name for one in self.models.values() if asker.may_ask(one))
            raise Refused(404, f"there is no model {name!r}. Models: {known}.", param="model", code="model_not_found")
        return found
