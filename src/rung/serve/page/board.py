"""The Leaderboard page: the last climb by the report's own figures, and the climb that runs now, as it goes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from markupsafe import Markup

from rung import report as reports
from rung.climbing.live import Live, running
from rung.climbing.project import Project
from rung.serve.page import render

EVERY = 1.0
"""Seconds between two looks at a climb."""
SILENCE = 15
"""Looks without news after which a comment is sent, so that a connection that is gone is noticed."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the page shows of a task."""

    last: dict[str, Any] | None
    """The values of the report's template; None before any climb has ended."""
    live: Live | None
    """The climb that runs; None where none does."""
    command: str
    """How to climb."""
    has_rows: bool
    """Whether there is anything to measure."""

    @property
    def left(self) -> float:
        """Seconds that the climb may still take."""
        return self.live.left(time.time()) if self.live else 0.0


def standing(project: Project) -> Standing:
    """The last climb of a task and the running one."""
    task = project.task
    rows = bool(task.data.examples or task.data.train)
    return Standing(reports.board(project), running(project.store), f"rung climb {task.folder.name}", rows)


async def events(request: Request, project: Project, stopping: threading.Event) -> AsyncIterator[str]:
    """The board as server-sent events: one at once, then one whenever it changes. Ends with the server.

    https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    before, silent = "", 0
    while not stopping.is_set():
        now = await asyncio.to_thread(_drawn, request, project)
        silent = 0 if now != before else silent + 1
        if now != before:
            yield "event: board\n" + "".join(f"data: {line}\n" for line in now.splitlines()) + "\n"
        elif silent % SILENCE == 0:
            yield ": \n\n"
        before = now
        await asyncio.sleep(EVERY)


def drawn(request: Request, found: Standing) -> Markup:
    """The board without a page around it. The report's parts get the report's values and nothing else."""
    last = Markup(render.fragment(request, "last.html", **found.last)) if found.last else ""
    return Markup(render.fragment(request, "board.html", board=found, last=last))


def _drawn(request: Request, project: Project) -> str:
    return drawn(request, standing(project))
