"""Jobs done on a Ray cluster, several at once, their records in the order given.

The driver chooses the machine of each job and judges by its reports whether it is alive. Ray's own retries are off: it notices
a cut link after a minute and may bring a task back after seven, and it cannot know that a worker's result is no longer wanted.
"""

from __future__ import annotations

import json
import math
import secrets
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from rung import store as stores
from rung.climbing import measuring
from rung.climbing.executors import ray_cluster, ray_worker
from rung.climbing.executors.alone import Room
from rung.climbing.executors.job import Open, Setting, Spelled, Work, waits_for
from rung.climbing.executors.order import Order, write_climb
from rung.climbing.executors.placing import Demand, Node, place
from rung.errors import RungError
from rung.types import Record

SILENT = 30.0
"""Seconds without a report after which a job counts as lost. A worker that cannot report ends itself before that."""
STARTS = 60.0
"""Seconds that a worker may take to report for the first time."""
SHUNNED = 120.0
"""Seconds for which a machine that lost a job gets no other one, where there is another machine."""
TRIES = 3
"""Machines or workers that a job may lose before it is recorded as failed."""
STOPS = 5.0
"""Seconds that a needless job has to end by itself, which keeps its checkpoints; then it is killed."""
POLL = 0.25
"""Seconds between two looks at what runs."""


def on_ray(parallel: int = 0, gpus: float | None = None, spelled: Spelled = str) -> Open:
    """The executor on the cluster at RAY_ADDRESS, or on one of this machine alone.

    `parallel`: jobs at once; by default one for each machine. `gpus`: requested for each job; by default one where the driver
    has one. `spelled`: how errors name the options.
    """

    @contextmanager
    def opened(setting: Setting) -> Iterator[OnRay]:
        with ray_cluster.connected(spelled) as ray:
            yield OnRay(setting, ray, parallel, gpus, spelled)

    return opened


@dataclass
class Flight:
    """A job under way."""

    job: Work
    key: str
    attempt: str
    node: Node
    demand: Demand
    ref: Any
    since: float
    """When it was sent, or when its last report was first seen; by this machine's monotonic clock."""
    patience: float
    """Seconds that it may take to report for the first time."""
    report: int = 0
    """Number of its last report; 0 before the first."""


@dataclass
class Waiting:
    """A job that has not ended."""

    job: Work
    after: set[int]
    lost: list[str] = field(default_factory=list)
    """Why each earlier attempt was lost."""
    unstarted: int = 0
    """Attempts that did not begin in time, which may be for want of room: the next one is waited for twice as long."""
    avoid: set[str] = field(default_factory=set)


class OnRay:
    """The executor on a cluster."""

    concurrent = True

    def __init__(self, setting: Setting, ray: Any, parallel: int, gpus: float | None, spelled: Spelled = str):
        self.setting, self.ray, self.spelled = setting, ray, spelled
        self.parallel = parallel or max(1, len(ray_cluster.nodes(ray)))
        self.gpus = float(setting.project.machine.device == "cuda") if gpus is None else gpus
        self.climb = write_climb(setting.project)
        self.board, self.task = _actors(ray)
        self.shunned: dict[str, float] = {}

    def run(self, jobs: Iterable[Work]) -> Generator[Record]:
        """A record for each job in their order; those ahead run meanwhile. Closing it stops them."""
        listed = list(jobs)
        order = waits_for(self.setting.project, listed, self.setting.everything)
        going = _Going(self, {i: Waiting(job, after) for i, (job, after) in enumerate(zip(listed, order))})
        try:
            for number in range(len(listed)):
                going.until(number)
                yield going.taken(number)
        finally:
            going.stop()

    def beside(self) -> AbstractContextManager[object]:
        """A block beside which no latency is measured on this machine."""
        return closing(Room())

    def shun(self, node: Node) -> None:
        """Send nothing to a machine for a while, if there is another one: Ray may not know yet that it is lost."""
        self.shunned[node.id] = time.monotonic() + SHUNNED


class _Going:
    """The jobs of one `run`."""

    def __init__(self, executor: OnRay, waiting: dict[int, Waiting]):
        self.on, self.waiting, self.jobs = executor, waiting, [one.job for one in waiting.values()]
        self.given = executor.setting
        self.flights: dict[int, Flight] = {}
        self.ended: dict[int, tuple[Record, bool]] = {}

    def until(self, number: int) -> None:
        """Keep the machines busy until one job has ended."""
        self._send()
        while number not in self.ended:
            self._look()
            self._send()

    def taken(self, number: int) -> Record:
        """The record of a job that has ended, stored now: one that no decision has asked for is not."""
        record, store = self.ended[number]
        if store:
            self.jobs[number].keep(self.given.project, record)
        return record

    def stop(self) -> None:
        """End what is under way: asked first, so that checkpoints stay and leases are given back, then killed."""
        ray, refs = self.on.ray, [one.ref for one in self.flights.values()]
        for force in (False, True):
            for one in self.flights.values():
                self.given.watcher.progress(one.job.blank.rung, "stopped: not needed any more", 0.0)
                with suppress(Exception):  # it has ended meanwhile, or its machine is lost
                    ray.cancel(one.ref, force=force)
            if refs and not force:
                _, refs = ray.wait(refs, num_returns=len(refs), timeout=STOPS, fetch_local=False)
            if not refs:
                break
        self.flights.clear()

    # --- sending ----------------------------------------------------------------------------------------------

    def _send(self) -> None:
        """Send jobs, the earliest first, while there is room."""
        for number in sorted(self.waiting.keys() - self.flights.keys()):
            one = self.waiting[number]
            if one.after & self.waiting.keys():
                continue
            if len(self.flights) >= self.on.parallel or (found := self._place(one)) is None:
                return
            key = one.job.begin(self.given.project, self.given.until)
            if not one.lost:
                self.given.watcher.began(one.job.blank.rung)
            if isinstance(key, Record):
                self._done(number, key, False)
            else:
                self.flights[number] = self._launched(one, key, *found)

    def _place(self, one: Waiting) -> tuple[Node, Demand] | None:
        """The machine for a job; None where none has room."""
        busy: dict[str, list[Demand]] = {}
        for flight in self.flights.values():
            busy.setdefault(flight.node.id, []).append(flight.demand)
        there = ray_cluster.nodes(self.on.ray)
        self._refuse_impossible(there)
        shunned = {node for node, until in self.on.shunned.items() if until > time.monotonic()}
        memory = one.job.blank.quote.memory_bytes if one.job.blank.quote else 0
        return place(there, busy, self.on.parallel, memory, self.on.gpus, one.avoid | shunned)

    def _launched(self, one: Waiting, key: str, node: Node, demand: Demand) -> Flight:
        attempt, until = secrets.token_hex(8), one.job.until(self.given.until)
        seconds = None if math.isinf(until) else until - time.monotonic()
        folder = str(self.given.project.task.folder)
        sent = {"seconds": seconds, "share": demand.share, **one.job.sent()}
        order = Order(folder, self.on.climb, one.job.blank.rung, key, attempt, **sent)
        ref = self.on.task(node, demand).remote(order.to_json(), self.on.board, node.name)
        return Flight(one.job, key, attempt, node, demand, ref, time.monotonic(), STARTS * 2**one.unstarted)

    def _refuse_impossible(self, there: list[Node]) -> None:
        if not any(node.gpus >= self.on.gpus for node in there):
            most = max((node.gpus for node in there), default=0)
            raise RungError(
                f"each job is to have {self.on.gpus:g} GPUs, and no machine of the cluster has more than {most:g}.",
                where=self.on.spelled("gpus_per_rung"),
                remedy="Ask for fewer, or start a machine with them.",
            )

    # --- watching ---------------------------------------------------------------------------------------------

    def _look(self) -> None:
        """Take what has ended, show progress, and give up jobs that are silent."""
        from ray import exceptions

        ray, refs = self.on.ray, {flight.ref: number for number, flight in self.flights.items()}
        if not refs:  # no machine has room, for instance because all are lost
            time.sleep(POLL)
            return
        ready, _ = ray.wait(list(refs), num_returns=len(refs), timeout=POLL)
        for ref in ready:
            self._end(refs[ref], ref)
        try:
            reports: dict[str, ray_worker.Report] = ray.get(self.on.board.read.remote(), timeout=SILENT)
        except exceptions.GetTimeoutError:  # this machine is too busy to ask itself: nothing is known of the others
            return
        now = time.monotonic()
        for number, flight in list(self.flights.items()):
            said, text, share = reports.get(flight.attempt, (0, "", 0.0))
            if said > flight.report:
                flight.report, flight.since = said, now
                self.given.watcher.progress(flight.job.blank.rung, text, share)
            elif now - flight.since > (SILENT if flight.report else flight.patience):
                self._silent(number, flight)

    def _end(self, number: int, ref: Any) -> None:
        """A job whose task is over: its record, or what it was lost by."""
        from ray import exceptions

        flight = self.flights[number]
        try:
            found = json.loads(self.on.ray.get(ref))
        except exceptions.RayTaskError as error:
            text = f"the worker failed: {error.cause}"
            self._done(number, measuring.failed(flight.job.blank, flight.key, text, str(error), lost=True), True)
        except exceptions.RayError as error:  # the worker was killed, or its machine is lost
            if not isinstance(error, exceptions.WorkerCrashedError | exceptions.OutOfMemoryError):
                self.on.shun(flight.node)
            begun = not isinstance(error, exceptions.TaskUnschedulableError)
            self._lost(number, flight, f"{type(error).__name__} on {flight.node.name}", begun)
        else:
            if "error" in found:
                raise RungError(**found["error"])
            self._done(number, _checked(flight, found["record"]), found["store"])

    def _silent(self, number: int, flight: Flight) -> None:
        with suppress(Exception):  # its machine cannot be reached
            self.on.ray.cancel(flight.ref, force=True)
        self.on.shun(flight.node)
        begun = flight.report > 0
        why = f"{flight.node.name} has not reported for {SILENT if begun else flight.patience:.0f} s"
        self._lost(number, flight, why, begun)

    def _lost(self, number: int, flight: Flight, why: str, begun: bool = True) -> None:
        """A job without a result: it is sent again, elsewhere if possible, or recorded as failed."""
        del self.flights[number]
        one = self.waiting[number]
        self.given.watcher.progress(flight.job.blank.rung, f"{why}; it is run again", 0.0)
        one.avoid.add(flight.node.id)
        if not begun:
            one.unstarted += 1
            return
        one.lost.append(why)
        if len(one.lost) >= TRIES:
            text = f"lost {len(one.lost)} times: {'; '.join(one.lost)}."
            self._done(number, measuring.failed(flight.job.blank, flight.key, text, lost=True), True)

    def _done(self, number: int, record: Record, store: bool) -> None:
        """A job that is over."""
        self.flights.pop(number, None)
        del self.waiting[number]
        self.ended[number] = record, store


def _checked(flight: Flight, content: dict[str, Any]) -> Record:
    """A worker's record. RungError if it is of another rung, or measured something else."""
    found = stores.record(content)
    if found.rung != flight.job.blank.rung or (found.status == "done" and found.provenance.key != flight.key):
        raise RungError(f"the worker on {flight.node.name} sent the record of another rung.", remedy="Restart the cluster.")
    return found


def _actors(ray: Any) -> tuple[Any, Callable[[Node, Demand], Any]]:
    """The board beside this process, and the task on a machine with what it requests."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    board = ray.remote(ray_worker.Board).options(num_cpus=0, scheduling_strategy=here).remote()
    task = ray.remote(ray_worker.work)

    def on(node: Node, demand: Demand) -> Any:
        there = NodeAffinitySchedulingStrategy(node.id, soft=False)
        requests = {"num_cpus": demand.cpus, "memory": demand.memory, "num_gpus": demand.gpus}
        return task.options(name="rung", max_retries=0, scheduling_strategy=there, **requests)

    return board, on
