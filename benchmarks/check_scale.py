"""`rung check` and `rung plan` at 10,000, 100,000 and 1,000,000 rows: seconds of processor time and peak memory, also by row.

    python benchmarks/check_scale.py             # all three; the million takes minutes
    python benchmarks/check_scale.py --quick     # without the million
    python benchmarks/check_scale.py --only plan

The rows are those of check_rows.py: 8 to 30 words of a vocabulary with Zipf's frequencies, 40 labels, one row in fifty a near
copy of another. Each command runs in a process of its own on a fresh folder, with the default base, whose tokens are counted.
What 400 rows take (imports, the tokenizer) is measured first and taken off before dividing by the rows. Of 400 and of 10,000 rows
the medians of three count, after one run that compiles rung's files: half a second more or less would be 50 µs a row.

The last line has the time a row at the most rows over that at 10,000, of the command that grew more. 1.2 or less counts as flat.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import check_rows

COMMANDS = ("check", "plan")
SIZES = (10_000, 100_000, 1_000_000)
EMPTY = 400
"""Rows of the task whose time and memory are taken off."""
MOST_SECONDS, MOST_GB, FLAT = 600.0, 4.0, 1.2


@dataclass(frozen=True, slots=True)
class Taken:
    """What one command took."""

    seconds: float
    wall: float
    megabytes: float


def measured(rows: int, commands: Sequence[str], times: int = 1) -> dict[str, Taken]:
    """Each command on so many rows; the medians of so many times."""
    found = [_once(rows, commands) for _ in range(times)]
    return {command: _median([one[command] for one in found]) for command in commands}


def _once(rows: int, commands: Sequence[str]) -> dict[str, Taken]:
    with tempfile.TemporaryDirectory(prefix="check-scale-") as name:
        check_rows.make(Path(name), rows)
        path = Path(name) / "rung.yaml"
        path.write_text(json.dumps({**json.loads(path.read_text()), "base": "smollm2-135m-instruct"}))
        return {command: _taken(command, name) for command in commands}


def _median(found: Sequence[Taken]) -> Taken:
    return Taken(*(statistics.median(getattr(one, part) for one in found) for part in ("seconds", "wall", "megabytes")))


def _taken(command: str, folder: str) -> Taken:
    call = [sys.executable, __file__, "--measure", command, folder]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    return Taken(**json.loads(done.stdout.splitlines()[-1]))


def measure(command: str, folder: str) -> None:
    """Run one command here and print what it took."""
    from rung.cli import main

    began, sys.argv = time.monotonic(), ["rung", command, folder, "--json"]
    try:
        main()
    except SystemExit as end:
        if end.code not in (0, 1, None):  # 1: the data cannot decide anything
            raise
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = used.ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    print(json.dumps({"seconds": used.ru_utime + used.ru_stime, "wall": time.monotonic() - began, "megabytes": peak}))


def main() -> None:
    """Measure each size and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="Without the million rows.")
    parser.add_argument("--only", choices=COMMANDS, help="One command instead of both.")
    given = parser.parse_args()
    sizes, commands = SIZES[:-1] if given.quick else SIZES, (given.only,) if given.only else COMMANDS
    each: dict[str, list[float]] = {command: [] for command in commands}
    measured(EMPTY, commands)
    bare = measured(EMPTY, commands, 3)
    print("| command | rows | processor | wall | peak memory | µs a row | bytes a row |\n|---|---|---|---|---|---|---|")
    for rows in sizes:
        for command, found in measured(rows, commands, 3 if rows == SIZES[0] else 1).items():
            each[command].append(1e6 * (found.seconds - bare[command].seconds) / rows)
            size = 2**20 * (found.megabytes - bare[command].megabytes) / rows
            print(
                f"| {command} | {rows:,} | {found.seconds:.1f} s | {found.wall:.1f} s | {found.megabytes:.0f} MB "
                f"| {each[command][-1]:.0f} | {size:.0f} |",
                flush=True,
            )
            if rows == SIZES[-1]:
                small = found.wall <= MOST_SECONDS and found.megabytes / 1000 <= MOST_GB
                print(f"  a million rows within {MOST_SECONDS / 60:.0f} minutes and {MOST_GB:.0f} GB: {'yes' if small else 'no'}")
    worst = max(times[-1] / times[0] for times in each.values())
    print(f"ratio={worst:.2f} time a row at {sizes[-1]:,} rows over that at {sizes[0]:,}, at most {FLAT} is flat")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(*sys.argv[2:4])
    else:
        main()
