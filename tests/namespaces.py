"""Two machines in one: network namespaces joined by a cable, each with its own Ray node. Needs Linux and the right to make them.

    with namespaces.made() as nodes:
        subprocess.run(nodes.inside("a", [sys.executable, "-m", "rung.cli", "climb", "support", "--on", "ray"]), env=nodes.env)
        nodes.kill("b")

Also a program, for looking around by hand: `python tests/namespaces.py` makes them and removes them at Ctrl-C.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ADDRESSES = {"a": "10.77.0.1", "b": "10.77.0.2"}
PORT = 6379
STARTS = 120.0
"""Seconds that a node may take to start."""


def possible() -> bool:
    """Whether this machine lets us make network namespaces."""
    if sys.platform != "linux" or not shutil.which("ip"):
        return False
    name = f"rung-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode == 0
    if made:
        subprocess.run(["ip", "netns", "del", name], check=False)
    return made


@dataclass(frozen=True)
class Nodes:
    """A head `a` and a node `b`."""

    name: str
    folder: Path
    env: dict[str, str]

    def space(self, node: str) -> str:
        return f"{self.name}-{node}"

    def inside(self, node: str, command: Sequence[str]) -> list[str]:
        """The command, as it is started on a node."""
        return ["ip", "netns", "exec", self.space(node), *command]

    def start(self, node: str, cpus: int = 1) -> None:
        """Start Ray on a node."""
        role = ["--head", f"--port={PORT}"] if node == "a" else [f"--address={ADDRESSES['a']}:{PORT}"]
        own = [f"--node-ip-address={ADDRESSES[node]}", f"--num-cpus={cpus}", "--object-store-memory=80000000"]
        more = ["--include-dashboard=false", f"--temp-dir={self.folder}"] if node == "a" else []
        command = [sys.executable, "-c", "from ray.scripts.scripts import main; main()", "start", *role, *own, *more]
        command += ["--disable-usage-stats"]
        done = subprocess.run(
            self.inside(node, command), env=self.env, capture_output=True, text=True, timeout=STARTS, check=False
        )
        if done.returncode:
            raise RuntimeError(f"Ray did not start on {node}: {done.stdout[-2000:]} {done.stderr[-2000:]}")

    def kill(self, node: str) -> None:
        """Kill every process of a node, as a power cut would."""
        for _ in range(50):
            found = subprocess.run(["ip", "netns", "pids", self.space(node)], capture_output=True, text=True, check=False)
            pids = [int(one) for one in found.stdout.split()]
            if not pids:
                return
            for pid in pids:
                try:
                    os.kill(pid, 9)
                except ProcessLookupError:
                    continue
            time.sleep(0.1)

    def cut(self, up: bool = False) -> None:
        """Cut the cable between the two, or join it again."""
        subprocess.run(["ip", "-n", self.space("b"), "link", "set", "cable", "up" if up else "down"], check=True)


@contextmanager
def made(env: dict[str, str] | None = None) -> Iterator[Nodes]:
    """Both machines with Ray, removed at the end. `env`: of their processes, by default this one's."""
    name = f"rung{os.getpid() % 10000}"
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    with tempfile.TemporaryDirectory(prefix="rung-nodes-", dir="/tmp") as folder:
        nodes = Nodes(name, Path(folder), {**(env or os.environ), **token, "RAY_ADDRESS": f"{ADDRESSES['a']}:{PORT}"})
        try:
            _join(nodes)
            nodes.start("a")
            nodes.start("b")
            yield nodes
        finally:
            for node in ADDRESSES:
                nodes.kill(node)
                subprocess.run(["ip", "netns", "del", nodes.space(node)], check=False, capture_output=True)


def _join(nodes: Nodes) -> None:
    """Two namespaces with a cable between them."""
    a, b = (nodes.space(node) for node in ADDRESSES)
    for space in (a, b):
        _ip("netns", "add", space)
        _ip("-n", space, "link", "set", "lo", "up")
    _ip("-n", a, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", b)
    for node, address in ADDRESSES.items():
        _ip("-n", nodes.space(node), "addr", "add", f"{address}/24", "dev", "cable")
        _ip("-n", nodes.space(node), "link", "set", "cable", "up")


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


if __name__ == "__main__":
    with made() as both:
        print(f"RAY_ADDRESS={both.env['RAY_ADDRESS']} RAY_AUTH_TOKEN={both.env['RAY_AUTH_TOKEN']}")
        print("on the head:", *both.inside("a", ["COMMAND"]))
        try:
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            pass
