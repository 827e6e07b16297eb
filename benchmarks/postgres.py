"""A PostgreSQL server in a temporary folder, for measurements and tests: `initdb`, `postgres`, and nobody else lets it in."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("initdb", "postgres")
NOBODY = "nobody"
"""PostgreSQL refuses to run as root; then it runs as this user."""


def absent() -> str:
    """Why no server can be started here; empty if one can."""
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    return f"{', '.join(missing)} not found: PostgreSQL is not installed" if missing else ""


@contextmanager
def server() -> Iterator[str]:
    """The address of a database that goes when the block ends. It listens on a socket in its own folder alone."""
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as name:
        place = Path(name)
        place.chmod(0o755)
        data, user = place / "data", None
        data.mkdir(mode=0o700)
        if os.getuid() == 0:
            user = NOBODY
            entry = pwd.getpwnam(user)
            for path in (place, data):
                os.chown(path, entry.pw_uid, entry.pw_gid)
        _run(user, "initdb", "-D", str(data), "-U", "rung", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C")
        options = f"-c listen_addresses= -c unix_socket_directories={place} -c max_connections=60"
        with (place / "log").open("w") as log:
            started = subprocess.Popen(["postgres", "-D", str(data), *options.split()], user=user, stdout=log, stderr=log)
        try:
            _await(place / ".s.PGSQL.5432", started, place / "log")
            yield f"postgresql://rung@/postgres?host={place}"
        finally:
            started.send_signal(signal.SIGINT)  # closes what clients have left open
            started.wait()


def _run(user: str | None, *command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, user=user, cwd="/")
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr.strip()}")


def _await(socket: Path, server: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 60
    while not socket.exists():
        if server.poll() is not None:
            raise RuntimeError(log.read_text(encoding="utf-8"))
        if time.monotonic() > until:
            raise RuntimeError("PostgreSQL did not start within a minute")
        time.sleep(0.05)
    time.sleep(0.3)
