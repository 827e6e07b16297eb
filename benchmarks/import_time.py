"""`import rung` and `rung --help`, in fresh processes: seconds, and whether torch came along."""

from __future__ import annotations

import subprocess
import sys
import time

from common import arguments, median

LIMIT = 0.3


def main() -> None:
    args = arguments(__doc__)
    repeats = 5 if args.quick else 15
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import rung, sys; assert 'torch' not in sys.modules"], check=True)
        bare = time.perf_counter()
        subprocess.run([sys.executable, "-c", "pass"], check=True)
        taken.append((bare - started) - (time.perf_counter() - bare))
    started = time.perf_counter()
    subprocess.run([sys.executable, "-m", "rung.cli", "--help"], check=True, capture_output=True)
    print(f"import rung: {median(taken) * 1000:.0f} ms beyond the interpreter's own start, torch not imported")
    print(f"rung --help: {time.perf_counter() - started:.2f} s")
    print(f"ratio={LIMIT / max(median(taken), 1e-3):.1f} (0.3 s over the time of `import rung`)")


if __name__ == "__main__":
    main()
