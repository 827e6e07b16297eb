"""The work of one job on a machine of a Ray cluster, and its reports to the driver."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import closing
from typing import Any

from rung.visible import visible

BEAT = 2.0
"""Seconds between two reports of a worker."""
FENCE = 20.0
"""Seconds without an answer from the driver after which a worker ends itself: less than the driver waits for it."""
FENCED = 70
"""Exit code of such a worker."""

Report = tuple[int, str, float]
"""Number, text and share of what is done."""


class Board:
    """An actor beside the driver that holds the last report of each attempt."""

    def __init__(self) -> None:
        self.seen: dict[str, Report] = {}

    def report(self, attempt: str, number: int, text: str, share: float) -> None:
        self.seen[attempt] = (number, text, share)

    def read(self) -> dict[str, Report]:
        return self.seen


class Reports:
    """Reports in a thread of their own, so that a long computation does not look like a lost machine."""

    def __init__(self, send: Callable[[int, str, float], object]):
        """`send` raises where the driver cannot be reached."""
        self.send, self.now, self.ended = send, ("", 0.0), threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def progress(self, text: str, share: float) -> None:
        self.now = (text, share)

    def __enter__(self) -> Reports:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()

    def _run(self) -> None:
        number, reached = 0, time.monotonic()
        while not self.ended.is_set():
            number += 1
            try:
                self.send(number, *self.now)
                reached = time.monotonic()
            except Exception as error:  # of Ray's: no answer in time, or the driver is gone
                if time.monotonic() - reached > FENCE:
                    print(visible(f"rung: the driver is not reached ({type(error).__name__}); this worker ends."), flush=True)
                    os._exit(FENCED)
            self.ended.wait(BEAT)


def work(order_text: str, board: Any, node: str) -> str:
    """Do one job; returns JSON with its record, or with an error that is not the job's but the cluster's or the disk's."""
    import ray

    from rung.climbing.executors.order import Order

    order = Order.from_json(order_text)

    def send(number: int, text: str, share: float) -> None:
        ray.get(board.report.remote(order.attempt, number, text, share), timeout=BEAT * 2)

    with Reports(send) as reports:
        return run(order, reports.progress, node)


def run(order: Any, progress: Callable[[str, float], None], node: str) -> str:
    """`work` without Ray."""
    from rung.climbing.executors.alone import Room
    from rung.climbing.executors.order import rebuilt
    from rung.errors import RungError

    try:
        with closing(Room()) as shared:

            def shown(text: str, share: float) -> None:
                progress(text, share)
                shared.pause()

            project = rebuilt(order, shared.alone)
            with closing(project.engines):
                record, store = _measured(order, project, shown)
        how = {"executor": "ray", "node": node, "share": order.share, "latency": "alone", "paused_seconds": shared.paused}
        content = record.to_json()
        content["provenance"]["ran"] = how
        return json.dumps({"record": content, "store": store})
    except RungError as error:
        return json.dumps({"error": {"what": error.what, "where": error.where, "remedy": error.remedy}})


def _measured(order: Any, project: Any, progress: Callable[[str, float], None]) -> Any:
    until = time.monotonic() + (float("inf") if order.seconds is None else order.seconds)
    project.engines.until = until
    return _job(order, project).measured(project, order.key, until, progress)


def _job(order: Any, project: Any) -> Any:
    from rung.climbing.executors.index_job import index_job_of
    from rung.climbing.executors.job import Job
    from rung.climbing.executors.order import ordered
    from rung.climbing.executors.trial import trial_of

    if order.trial:
        return trial_of(project, order)
    if order.index:
        return index_job_of(project, order)
    return Job(ordered(project, order), project.criteria.race() if order.raced else None)
