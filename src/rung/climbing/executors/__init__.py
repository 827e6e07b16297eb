"""Where a climb's rungs are fitted and measured: in this process, shared out among drivers, or on the machines of a Ray cluster.

An executor yields records in the order of the plan, whichever rung ends first, so a decision never sees a rung whose
predecessors are open. Closing the iterator cancels what is under way.
"""

from __future__ import annotations

from rung.climbing.executors.job import Executor, Job, Open, Setting
from rung.climbing.executors.local import local
from rung.climbing.executors.shared import shared

__all__ = ["Executor", "Job", "Open", "Setting", "local", "shared"]
