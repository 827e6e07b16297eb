"""A store's leases: who works on what."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from threading import get_ident

from rung.errors import BudgetError
from rung.store import leases
from rung.store.leases import Lease, LeasedError, LeaseLostError
from rung.store.rows import Rows
from rung.store.signed_rows import SignedRows

WAIT, LONGEST_WAIT = 0.05, 2.0
"""Seconds between two looks at a lease that another process has: at first, and at most."""


class LeasedRows(SignedRows):
    """Signed rows whose writers may have leases."""

    lease_seconds = leases.SECONDS

    def __init__(self, rows: Rows, say: Callable[[str], object] = warnings.warn):
        super().__init__(rows, say)
        self._leases: dict[str, Lease] = {}

    @contextmanager
    def lease(self, name: str, until: float | None = inf) -> Iterator[None]:
        """Do a piece of work alone among all processes that share the store: `fits/KEY`, `rungs/KEY`, `predictions/DIGEST`.

        Waits while another has the lease. `until`: a `time.monotonic()`, after which BudgetError; None does not wait, but
        raises LeasedError. A thread that has the lease may take it again.
        """
        mine = self._leases.get(name)
        if mine and mine.thread == get_ident():
            yield
            return
        lease = self._leases[name] = self._taken(name, until)
        try:
            yield
        finally:
            self._leases.pop(name, None)
            lease.give_back()

    def _taken(self, name: str, until: float | None) -> Lease:
        wait, where = WAIT, self.rows.place(leases.file_name(name))
        while isinstance(found := leases.take(self.rows, name, self.lease_seconds), leases.Owner):
            if until is None:
                raise LeasedError(f"another rung process works on {name}.", where=where)
            if time.monotonic() >= until:
                raise BudgetError(f"the time is used up, and another rung process still works on {name}.", where=where)
            time.sleep(max(0.0, min(wait, until - time.monotonic())))
            wait = min(2 * wait, LONGEST_WAIT)
        return found

    @contextmanager
    def under_lease(self, name: str) -> Iterator[None]:
        """A block that writes. LeaseLostError if this process had the lease `name` and another has taken it over."""
        mine = self._leases.get(name)
        if mine is None:
            yield
            return
        with self.rows.alone():
            if not mine.holds():
                raise LeaseLostError(
                    f"another rung process has taken over {name}, since this one did not renew its lease in time.",
                    where=self.rows.place(leases.file_name(name)),
                    remedy="Nothing was lost: the other process goes on with it.",
                )
            yield

    def taken_over(self, name: str) -> str:
        """The token of this process's lease if it was taken from a process that may still run; empty otherwise."""
        mine = self._leases.get(name)
        return mine.owner.token if mine and mine.from_another else ""
