"""A connection to a Ray cluster that asks for a token, or a cluster of this machine alone, started for one climb."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rung.climbing.executors.job import Spelled
from rung.climbing.executors.placing import Node
from rung.errors import RungError

ADDRESS, MODE, TOKEN, TOKEN_FILE = "RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
QUIET: Any = {"log_to_driver": False, "logging_level": "ERROR"}
OWN: Any = {"include_dashboard": False, "_node_ip_address": "127.0.0.1", "object_store_memory": 80_000_000}
"""A cluster of this machine alone. Its object store is small: records are, and models do not pass through it."""
OPEN_CHECK = """
import sys
from ray._raylet import GcsClient
GcsClient(address=sys.argv[1]).get_all_node_info(timeout=10)
"""
CHECK_SECONDS = 60
"""Time for that check, with the start of Python."""


@contextmanager
def connected(spelled: Spelled = str) -> Iterator[Any]:
    """The module `ray`, connected to the cluster at RAY_ADDRESS, or to one of this machine that ends with the block.

    RungError without the extra, without a token, or for a cluster that lets anybody in. `spelled`: how it names the options.
    """
    if find_spec("ray") is None:
        raise RungError("the package ray is not installed.", where=spelled("on"), remedy="Run: pip install 'rung[ray]'")
    address = os.environ.get(ADDRESS, "")
    _require_token(address)
    import ray

    raylet: Any = import_module("ray._raylet")
    raylet.Config.initialize("")  # Ray reads the variables when it is imported, which may be long ago
    raylet.AuthenticationTokenLoader.instance().reset_cache()
    if ray.is_initialized():
        raise RungError("this process is connected to a Ray cluster already.", remedy="Run ray.shutdown() first.")
    with _sockets() as place, _quiet():
        try:
            if address:
                ray.init(address=address, **QUIET)
            else:
                ray.init(address="local", _temp_dir=place, **OWN, **QUIET)
        except Exception as error:
            raise RungError(
                f"there is no connection to the cluster: {type(error).__name__}: {_short(error)}",
                where=f"{ADDRESS}={address}" if address else "a cluster of this machine",
                remedy="See docs/scaling.md for how to start one.",
            ) from error
        try:
            _refuse_open(ray.get_runtime_context().gcs_address)
            yield ray
        finally:
            ray.shutdown()


def nodes(ray: Any) -> list[Node]:
    """The machines that are alive, as the cluster knows them."""
    found = []
    for one in ray.nodes():
        has = one["Resources"]
        if one["Alive"] and has.get("CPU"):
            found.append(Node(one["NodeID"], one["NodeName"], has["CPU"], int(has.get("memory", 0)), has.get("GPU", 0.0)))
    return found


def _require_token(address: str) -> None:
    """Turn token authentication on. For a cluster of this machine alone without a token, one is made that ends with it."""
    if os.environ.get(MODE, "token").lower() != "token":
        raise RungError(
            f"it is {os.environ[MODE]!r}, so that anybody who reaches the cluster could run programs on it.",
            where=MODE,
            remedy=f"Unset it, or set it to token on every machine before ray start. {HOW}",
        )
    os.environ[MODE] = "token"
    if not address and TOKEN_FILE not in os.environ:
        os.environ.setdefault(TOKEN, secrets.token_hex(32))


HOW = "Make a token with: ray get-auth-token --generate. Copy ~/.ray/auth_token to every machine."


def _refuse_open(address: str) -> None:
    """RungError for a cluster that answers a client without a token."""
    hidden = {TOKEN, TOKEN_FILE}
    with tempfile.TemporaryDirectory() as empty:  # no ~/.ray/auth_token either
        without = {name: value for name, value in os.environ.items() if name not in hidden} | {MODE: "disabled", "HOME": empty}
        command = [sys.executable, "-c", OPEN_CHECK, address]
        try:
            asked = subprocess.run(command, env=without, capture_output=True, text=True, check=False, timeout=CHECK_SECONDS)
        except subprocess.TimeoutExpired:
            raise _unknown(address, f"no answer in {CHECK_SECONDS} seconds") from None
    if asked.returncode == 0:
        raise RungError(
            "this cluster lets in anybody who reaches it: it was started without a token.",
            where=f"{ADDRESS}={address}",
            remedy=f"Stop it, and start it with {MODE}=token set on every machine. {HOW}",
        )
    if "AuthenticationError" not in asked.stderr:
        raise _unknown(address, (asked.stderr.strip().splitlines() or ["no message"])[-1])


def _unknown(address: str, why: str) -> RungError:
    return RungError(
        f"whether this cluster asks for a token could not be found out: {why}",
        where=f"{ADDRESS}={address}",
        remedy="Run it again.",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Ray prints which machines are lost on standard output, where our JSON goes: not within the block."""
    worker: Any = import_module("ray._private.worker")
    before = worker.print_to_stdstream
    worker.print_to_stdstream = lambda *_, **__: None
    try:
        yield
    finally:
        worker.print_to_stdstream = before


@contextmanager
def _sockets() -> Iterator[str]:
    """A folder for the sockets of a cluster of this machine. Its path is short: a socket's has a limit of 107 bytes."""
    short = Path("/tmp")
    where = short if short.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="rung-ray-", dir=where, ignore_cleanup_errors=True) as place:
        yield place


def _short(error: BaseException) -> str:
    return " ".join(str(error).split())[:300]
