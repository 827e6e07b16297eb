"""Hubs that did not answer, remembered for some minutes across processes, so that each is waited for and named once."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from pathlib import Path

from rung import files
from rung.home import home

MINUTES = 5
"""After so long a hub is asked again."""


def notes() -> Path:
    """The file that holds the hubs out of reach; deleting it has them asked at once."""
    return home() / "hubs.json"


def remembered(hub: str) -> str:
    """Why a hub was out of reach within the last MINUTES, with when it is asked again; empty where it was not."""
    try:
        found = json.loads(notes().read_text(encoding="utf-8"))
        reason, at = str(found[hub]["reason"]), float(found[hub]["at"])
    except (OSError, ValueError, KeyError, TypeError):  # no file, no such hub, or a file of another form: it is asked
        return ""
    ago = time.time() - at
    if not 0 <= ago < 60 * MINUTES:
        return ""
    return f"{reason} It is asked again in {max(1, round(MINUTES - ago / 60))} min, or once {notes()} is deleted."


def remember(hub: str, reason: str) -> None:
    """Note that a hub did not answer. Where the note cannot be written, the next process asks and waits again."""
    with suppress(OSError):  # what needs the disk reports that it is full
        files.write_json(notes(), {hub: {"reason": reason, "at": time.time()}})
