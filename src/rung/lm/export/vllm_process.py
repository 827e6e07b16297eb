"""A vLLM server as a process of its own, in an environment of its own: it needs other versions of torch than rung.

`RUNG_VLLM_PYTHON` names the Python of that environment, `RUNG_VLLM_OPTIONS` further words of its command line.
"""

from __future__ import annotations

import importlib.util
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import weakref
from collections.abc import Sequence

from rung.errors import ModelError
from rung.hardware import gpu_bytes, peak_bytes

PYTHON, OPTIONS = "RUNG_VLLM_PYTHON", "RUNG_VLLM_OPTIONS"
MODULE = "vllm.entrypoints.openai.api_server"
START_SECONDS = 1800
"""Most that vLLM may take until it answers: large weights are read from disk first."""
STOP_SECONDS = 30
ENVIRONMENT = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "HF_HUB_OFFLINE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"}
"""It sends nothing anywhere, and loads adapters while it runs."""
CACHE_GB = {"VLLM_CPU_KVCACHE_SPACE": "1"}
"""Of keys and values on a CPU, unless the environment says otherwise."""
WATCHED = """
exec 3<&0
"$@" </dev/null & server=$!
{ read -r _ <&3; kill $server; } & watch=$!
wait $server; code=$?; kill $watch; exit $code
"""
"""Ends the server when this process is gone and the pipe closes, also where it was killed."""


def python() -> str:
    """The Python that has vLLM; empty where there is none."""
    return os.environ.get(PYTHON, "") or (sys.executable if importlib.util.find_spec("vllm") else "")


class VllmProcess:
    """A server on a free port of loopback, asked with a key of its own. It ends with this process, however that ends.

    `options`: its command line behind the module's name, without host and port. ModelError where it does not start; its last
    lines are in the message.
    """

    def __init__(self, options: Sequence[str]):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = int(free.getsockname()[1])
        self.url, self.key = f"http://127.0.0.1:{port}", secrets.token_hex(32)
        self._log = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  # lives as long as the process
        more = shlex.split(os.environ.get(OPTIONS, ""))
        words = [python(), "-m", MODULE, *options, *more, "--host", "127.0.0.1", "--port", str(port)]
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", WATCHED, "sh", *words],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=CACHE_GB | os.environ | ENVIRONMENT | {"VLLM_API_KEY": self.key},
            start_new_session=True,
        )
        self.close = weakref.finalize(self, _stop, self._process)
        """End it, and wait until it has."""
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def memory(self) -> int:
        """Bytes of its processes: on a GPU what they hold there, else the sum of their peaks since the start, shared pages
        counted for each."""
        import psutil

        pids = [one.pid for one in psutil.Process(self._process.pid).children(recursive=True)]
        return gpu_bytes(pids) or sum(map(peak_bytes, pids))

    def _wait(self) -> None:
        """Until it answers."""
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            if not self.runs:
                remedy = f"Mend {PYTHON}, or change its command line by {OPTIONS}."
                raise ModelError(f"vLLM ended at its start: {self._tail()}", where=python(), remedy=remedy)
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.5)
        raise ModelError(f"vLLM did not answer within {START_SECONDS} s: {self._tail()}", where=python())

    def _tail(self) -> str:
        """The last lines that it wrote."""
        self._log.seek(0)
        return " ".join(self._log.read().strip().splitlines()[-3:])[-600:] or "it wrote nothing"


def _stop(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin
    process.stdin.close()  # the shell before it then ends it
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
