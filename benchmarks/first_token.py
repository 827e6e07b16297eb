"""Time to the first token behind a front of 600 tokens that is in the cache, against one that is not, over HTTP, one client.

Each question is new, so only its front is found. The last line is the cold time over the warm one.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import common
import httpx
import servers


def first_token(client: httpx.Client, one: servers.Running, asked: list[dict[str, str]]) -> float:
    """Seconds until the first piece of a stream."""
    body = {"model": one.model, "messages": asked, "max_tokens": 4, "temperature": 0, "stream": True}
    started = time.perf_counter()
    with client.stream("POST", f"{one.url}/v1/chat/completions", json=body) as found:
        found.raise_for_status()
        for line in found.iter_lines():
            said = line.removeprefix("data: ")
            if said.startswith("{") and json.loads(said)["choices"][0]["delta"].get("content"):
                return time.perf_counter() - started
    raise SystemExit("the answer has no token")


def main() -> None:
    args = common.arguments(__doc__)
    common.machine()
    count = 5 if args.quick else 20
    cold, warm = [], []
    with tempfile.TemporaryDirectory(prefix="rung-first-") as place, servers.rung(Path(place)) as one, httpx.Client() as client:
        client.timeout = 600
        first_token(client, one, servers.messages("warm up", "hello"))
        for k in range(count):
            front = servers.front(k, words=505)
            cold.append(first_token(client, one, servers.messages(front, servers.question(2 * k))))
            warm.append(first_token(client, one, servers.messages(front, servers.question(2 * k + 1))))
            print(f"cold {cold[-1]:.3f} s, warm {warm[-1]:.3f} s", flush=True)
    ratio = common.median([a / b for a, b in zip(cold, warm)])
    print(f"median: cold {common.median(cold):.3f} s, warm {common.median(warm):.3f} s")
    print(f"ratio={ratio:.2f} cold={common.median(cold):.3f} warm={common.median(warm):.3f}")


if __name__ == "__main__":
    main()
