"""llama.cpp through the package xllamacpp: whether it is installed, and how to wait until its server listens."""

from __future__ import annotations

import importlib.util
import time
import urllib.error
import urllib.request

from rung.errors import ModelError

STARTS = 60.0
"""Seconds that a server may take until it listens."""


def installed() -> bool:
    """Whether llama.cpp can be asked here."""
    return importlib.util.find_spec("xllamacpp") is not None


def wait(address: str) -> None:
    """Until the server at an address listens. One that is dropped before that never ends: its stop comes first, and then it
    listens. ModelError after a minute."""
    until = time.monotonic() + STARTS
    while True:
        try:
            urllib.request.urlopen(f"{address}/health", timeout=STARTS).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError as error:
            if time.monotonic() > until:
                raise ModelError(f"llama.cpp did not start ({error}).") from error
            time.sleep(0.01)
