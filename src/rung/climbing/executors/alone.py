"""Latency measured alone on a machine that runs several rungs: the others stop at their next report of progress.

Two locks of the operating system, so that a killed process leaves none behind. Whoever works holds `room` with the others.
Whoever measures holds `door` alone, so that nobody comes in, and then `room` alone, once all others have stopped.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rung import files
from rung.errors import RungError


class Room:
    """One process among those that work on this machine."""

    def __init__(self, folder: Path | None = None):
        """`folder`: by default one of this user's on this machine's own disk."""
        place = folder or own_folder()
        self._door, self._room = (files.open_at(place / name, 0) for name in ("door", "room"))
        self.paused = 0.0
        """Seconds that this process stood still for the measurements of others."""
        self._come_in()

    def pause(self) -> None:
        """Stand still while another process measures. Called with every report of progress."""
        try:
            fcntl.flock(self._door, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            started = time.monotonic()
            fcntl.flock(self._room, fcntl.LOCK_UN)
            self._come_in()
            self.paused += time.monotonic() - started
        else:
            fcntl.flock(self._door, fcntl.LOCK_UN)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until all others stand still, and have them stand still until the block ends."""
        fcntl.flock(self._room, fcntl.LOCK_UN)  # first: another one that measures waits for it
        fcntl.flock(self._door, fcntl.LOCK_EX)
        try:
            fcntl.flock(self._room, fcntl.LOCK_EX)
            yield
        finally:
            fcntl.flock(self._room, fcntl.LOCK_SH)
            fcntl.flock(self._door, fcntl.LOCK_UN)

    def close(self) -> None:
        """Leave; the others no longer wait for this process."""
        self._door.close()
        self._room.close()

    def _come_in(self) -> None:
        fcntl.flock(self._door, fcntl.LOCK_SH)
        fcntl.flock(self._door, fcntl.LOCK_UN)
        fcntl.flock(self._room, fcntl.LOCK_SH)


def own_folder() -> Path:
    """A folder of this user's on this machine. RungError if somebody else made it."""
    place = Path(tempfile.gettempdir()) / f"rung-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    if place.is_symlink() or place.stat().st_uid != os.getuid():
        raise RungError("another user made this folder.", where=str(place), remedy="Delete it, or set TMPDIR.")
    return place
