"""Where rungs and trials are fitted and measured: in this process, shared out among drivers, or on a Ray cluster.

An executor yields records in the order of its jobs, whichever ends first, so a decision never sees a rung whose
predecessors are open. Closing the iterator cancels what is under way.
"""

from __future__ import annotations

from rung.climbing.executors.job import Executor, Job, Open, Setting
from rung.climbing.executors.local import local
from rung.climbing.executors.shared import shared

__all__ = ["Executor", "Job", "Open", "Setting", "local", "shared"]
