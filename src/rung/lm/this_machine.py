"""This machine's speed: measured once, cached in a file, measured again when what it depends on changes."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

from rung import files
from rung.machine import BUSY_SHARE, Machine, default_price, fingerprint, home


def load_or_measure(*, usd_per_hour: float | None = None) -> Machine:
    """This machine, from the file kept under `home()`, or measured now (up to two seconds, imports torch) and kept.

    `usd_per_hour` replaces the list price; prices are never kept in the file, so a newer table takes effect at once.
    What was measured while other work filled the machine is too low: it serves this once and is not kept.
    """
    path = home() / f"machine-{fingerprint()}.json"
    if (machine := _read(path)) is None:
        from rung.lm import probe  # late: torch takes seconds to import

        machine, others = probe.measure()
        if others <= BUSY_SHARE:
            _write(path, machine)
    return replace(machine, usd_per_hour=default_price(machine) if usd_per_hour is None else usd_per_hour)


def _read(path: Path) -> Machine | None:
    """A machine measured before; None where none was, or where the file is damaged: it is then measured anew."""
    try:
        return Machine(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _write(path: Path, machine: Machine) -> None:
    files.write_json(path, asdict(machine))
