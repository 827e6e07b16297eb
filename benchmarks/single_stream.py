"""Tokens a second of one client: `rung serve` with `--engine auto` and with its own engine against llama.cpp F16 by xllamacpp.

One thread each, in turns, fronts warm. The time of an answer of one token is taken off, so that what is left is writing. The
last line is the speed with `--engine auto` over llama.cpp's, by CPU-seconds; by the clock, and of the own engine, beside it.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import common
import httpx
import servers

TOKENS = 48
STORY = "Tell me a long story about a bank, a lost card and a dog."


def costs(client: httpx.Client, one: servers.Running, most: int) -> tuple[float, float, int]:
    """CPU-seconds, seconds and tokens of one answer."""
    body = {"model": one.model, "messages": [{"role": "user", "content": STORY}], "max_tokens": most, "temperature": 0}
    before, started = one.cpu(), time.monotonic()
    found = client.post(f"{one.url}/v1/chat/completions", json=body)
    found.raise_for_status()
    return one.cpu() - before, time.monotonic() - started, int(found.json()["usage"]["completion_tokens"])


def main() -> None:
    args = common.arguments(__doc__)
    common.machine()
    rounds = 4 if args.quick else 12
    with tempfile.TemporaryDirectory(prefix="rung-single-") as place, httpx.Client(timeout=600) as client:
        folder = Path(place)
        tasks = [servers.stories(folder / "stories")]
        kinds = (
            servers.rung(folder, "auto", tasks, "auto"),
            servers.rung(folder, "own", tasks, "own"),
            servers.llama(folder, "f16"),
        )
        with kinds[0] as auto, kinds[1] as own, kinds[2] as llama:
            for line in auto.log.read_text().splitlines():
                if "is written by" in line:
                    print(line)
            for round_ in range(rounds + 1):
                for one in (auto, own, llama):
                    short, long = costs(client, one, 1), costs(client, one, TOKENS)
                    written = long[2] - short[2]
                    if round_:  # the first warms up
                        one.seconds.append((long[0] - short[0]) / written)
                        one.walls.append((long[1] - short[1]) / written)
                    print(f"round {round_} {one.name}: {long[0] - short[0]:.2f} CPU-s for {written} tokens", flush=True)
        for one in (auto, own, llama):
            cpu, wall = common.median(one.seconds), common.median(one.walls)
            print(f"{one.name:12} {1000 * cpu:.1f} CPU-ms and {1000 * wall:.1f} ms a token")
        ratio, alone = (common.median([b / a for a, b in zip(one.seconds, llama.seconds)]) for one in (auto, own))
        clock = common.median([b / a for a, b in zip(auto.walls, llama.walls)])
    print(f"ratio={ratio:.2f} clock={clock:.2f} own={alone:.2f}")


if __name__ == "__main__":
    main()
