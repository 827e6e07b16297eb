"""This machine's speed: measured once, cached in a file, and measured again when hardware or software change."""

from __future__ import annotations

import json
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path

from rung import files
from rung.contention import BUSY_SHARE
from rung.hardware import fingerprint
from rung.home import home
from rung.machine import Machine
from rung.machine_prices import default_price


def load_or_measure(*, usd_per_hour: float | None = None) -> Machine:
    """This machine, from the file under `home()`, or measured now (up to three seconds, imports torch) and cached.

    `usd_per_hour` replaces the list price; the file holds no prices, so a newer price table takes effect at once.
    A measurement on a busy machine is too low, so the next call measures again. Until one finds it quiet, the highest speeds
    seen are used: other programs can only slow a measurement, and estimates do not change with each moment's load.
    """
    path, while_busy = (home() / f"machine-{fingerprint()}{kind}.json" for kind in ("", "-busy"))
    if (machine := _read(path)) is None:
        from rung.lm import probe  # late: torch takes seconds to import

        machine, others = probe.measure()
        if others <= BUSY_SHARE:
            _write(path, machine)
        else:
            machine = machine.fastest(before) if (before := _read(while_busy)) else machine
            _write(while_busy, machine)
    return replace(machine, usd_per_hour=default_price(machine) if usd_per_hour is None else usd_per_hour)


def threads(count: int) -> AbstractContextManager[None]:
    """So many threads for the models of this process; nothing where torch is not loaded, so none is open."""
    if "torch" not in sys.modules:
        return nullcontext()
    from rung.lm import probe

    return probe.with_threads(count)


def _read(path: Path) -> Machine | None:
    """A cached measurement; None if there is none or the file is damaged."""
    try:
        return Machine(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _write(path: Path, machine: Machine) -> None:
    files.write_json(path, asdict(machine))
