"""Leases: one driver at a time does a piece of work, and a dead driver's work is taken over.

A lease is a text of the store with its owner and the time at which it runs out. While the owner works, a thread of its own
renews it. A process that was killed renews nothing: on the same machine it is seen to be gone at once, from elsewhere when
its lease has run out. Who has lost a lease writes nothing under it any more: each such write looks at the lease first, in the
same block in which another could take it.
"""

from __future__ import annotations

import json
import os
import platform
import secrets
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path

from rung.errors import BusyError, RungError
from rung.store.rows import Rows

SECONDS = 30.0
"""How long a lease lasts that nobody renews."""
RENEWALS = 3
"""Renewals in that time."""
LONGEST = 10 * SECONDS
"""A lease that claims to last longer than this is not believed: its writer's clock is wrong."""
SAME_SECONDS = 5.0
"""By how much two readings of when a process began may differ: the system's clock may be set in between."""


class LeasedError(BusyError):
    """Another process has the lease."""


class LeaseLostError(BusyError):
    """This process has had the lease, and another has taken it over. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that has a lease."""

    token: str
    """Another one for each time that a lease is taken."""
    machine: str
    pid: int
    born: float
    """When the process began, in seconds since 1970: a later one may have its number."""
    until: float = 0.0
    """When the lease runs out, by the store's clock."""

    def gone(self) -> bool:
        """Whether it is known to be gone, because it ran on this machine and runs no more."""
        return self.machine == machine_id() and abs(began(self.pid) - self.born) > SAME_SECONDS


@dataclass
class Lease:
    """A lease of this process, renewed until it is given back."""

    rows: Rows
    name: str
    owner: Owner
    seconds: float
    from_another: bool = False
    """Taken from a process that may still run."""
    thread: int = field(default_factory=threading.get_ident)
    _end: threading.Event = field(default_factory=threading.Event)

    def holds(self) -> bool:
        """Whether nobody has taken it over, though it may have run out. To be asked within `rows.alone()`."""
        found = holder(self.rows, self.name)
        return found is not None and found.token == self.owner.token

    def begin(self) -> None:
        """Renew it from now on."""
        threading.Thread(target=self._renew, name=f"lease {self.name[:20]}", daemon=True).start()

    def give_back(self) -> None:
        """Renew it no more, and let others take it."""
        self._end.set()
        with suppress(OSError, RungError), self.rows.alone():  # a store out of reach: it runs out by itself
            if self.holds():
                self.rows.remove(file_name(self.name))

    def _renew(self) -> None:
        while not self._end.wait(self.seconds / RENEWALS):
            with suppress(OSError, RungError), self.rows.alone():  # a store out of reach is tried again
                if self._end.is_set() or not self.holds():
                    return
                _write(self.rows, self.name, self.owner, self.seconds)


def take(rows: Rows, name: str, seconds: float = SECONDS) -> Lease | Owner:
    """Take a lease, or who has it."""
    with rows.alone():
        found = holder(rows, name)
        if found and rows.now() < found.until <= rows.now() + LONGEST and not found.gone():
            return found
        owner = Owner(secrets.token_hex(8), machine_id(), os.getpid(), began(os.getpid()))
        _write(rows, name, owner, seconds)
    lease = Lease(rows, name, owner, seconds, found is not None and not found.gone())
    lease.begin()
    return lease


def holder(rows: Rows, name: str) -> Owner | None:
    """Who has a lease, or had it last without giving it back."""
    try:
        return Owner(**json.loads(rows.read(file_name(name)) or ""))
    except (ValueError, TypeError):  # none, or half of one
        return None


def file_name(name: str) -> str:
    """The name of the text that a lease is."""
    return f"leases/{name.replace('/', '-')}.json"


def _write(rows: Rows, name: str, owner: Owner, seconds: float) -> None:
    rows.write(file_name(name), json.dumps(asdict(owner) | {"until": rows.now() + seconds}))


@cache
def machine_id() -> str:
    """This machine since it was started, and the namespace in which process numbers are counted."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}:{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return platform.node()


def began(pid: int) -> float:
    """When a process began, in seconds since 1970; 0 for one that is no more."""
    import psutil

    try:
        process = psutil.Process(pid)
        return 0.0 if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.Error:
        return 0.0
