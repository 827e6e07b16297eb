"""How fast LoRA trains alone, beside one busy process, and beside a second training; before and after the limit on spinning.

Before: GOMP_SPINCOUNT=300000, which is libgomp's own default. After: what `rung` sets by itself. Each trial is a process of its
own, since libgomp reads the setting once; before and after take turns, so that a machine that gets slower spoils both.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

BEFORE = {"GOMP_SPINCOUNT": "300000"}
AFTER: dict[str, str] = {}
BUSY_LOOP = "while True: pass"
BATCH = 32
SETTLE = 2
"""First steps that are not counted: the allocator and caches warm up."""


def work(steps: int) -> None:
    """Train `steps` steps and print examples a second of each as JSON, after a line on standard input."""
    from rung.lm.openmp import limit_spinning

    limit_spinning()  # torch's OpenMP reads it once, when torch is imported

    import common
    import torch

    from rung.lm.models import adapters
    from rung.lm.models.load import load
    from rung.lm.this_machine import load_or_measure
    from rung.lm.training.losses import sft, weight
    from rung.types import Message

    loaded = load(common.base_folder(), load_or_measure())
    model = adapters.lora(loaded.model, 16, 32, 0.0, seed=0)
    model.train()
    texts = common.bank()[:: len(common.bank()) // (BATCH * 2)][: BATCH * 2]
    rows = [loaded.chat.row((Message("system", common.SYSTEM), Message("user", text)), label) for text, label in texts]
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
    speeds = []
    print("ready", flush=True)
    sys.stdin.readline()
    for k in range(SETTLE + steps):
        batch = rows[(k % 2) * BATCH : (k % 2) * BATCH + BATCH]

        def step(batch=batch) -> None:
            (sft(model, batch, True) / weight(batch)).backward()
            optimizer.step()
            optimizer.zero_grad()

        speeds.append(BATCH / common.timed(step))
    print(json.dumps(speeds[SETTLE:]), flush=True)


def start(setting: dict[str, str], steps: int) -> subprocess.Popen[str]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    worker = subprocess.Popen(
        [sys.executable, __file__, "--worker", str(steps)],
        env=clean | setting,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert worker.stdout is not None
    while (line := worker.stdout.readline()).strip() != "ready":
        assert line, "the worker ended before it began to train"
    return worker


def train(setting: dict[str, str], steps: int, together: int = 1) -> list[float]:
    """Median examples a second of each of so many trainings at once."""
    import common

    workers = [start(setting, steps) for _ in range(together)]
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("go\n")
        worker.stdin.flush()
    return [common.median(json.loads(worker.communicate()[0].splitlines()[-1])) for worker in workers]


def beside_a_loop(setting: dict[str, str], steps: int) -> list[float]:
    busy = subprocess.Popen([sys.executable, "-c", BUSY_LOOP])
    try:
        time.sleep(0.2)
        return train(setting, steps)
    finally:
        busy.kill()
        busy.wait()


def main() -> None:
    import common

    args = common.arguments(__doc__)
    common.machine()
    rounds, steps = (2, 4) if args.quick else (4, 8)
    cases = {"alone": train, "beside a busy loop": beside_a_loop, "two trainings": lambda s, n: train(s, n, together=2)}
    speeds: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for case, run in cases.items():
            for name, setting in (("before", BEFORE), ("after", AFTER)):
                found = run(setting, steps)
                speeds.setdefault((case, name), []).extend(found)
                print(f"{case}, {name}: {', '.join(f'{one:.1f}' for one in found)} examples a second", flush=True)
    middle = {key: common.median(found) for key, found in speeds.items()}
    for case in cases:
        print(f"{case}: before {middle[case, 'before']:.2f}, after {middle[case, 'after']:.2f} examples a second")
    alone = middle["alone", "after"] / middle["alone", "before"]
    busy = middle["beside a busy loop", "after"] / middle["beside a busy loop", "before"]
    shared = min(speeds["two trainings", "after"]) / middle["alone", "after"]
    print(f"alone={alone:.2f} (asked 0.97) busy={busy:.2f} (asked 1.4) second={shared:.2f} of its speed alone (asked 0.4)")
    print(f"ratio={busy:.2f} beside a busy process, after over before")


if __name__ == "__main__":
    if "--worker" in sys.argv:
        work(int(sys.argv[-1]))
    else:
        main()
