"""Several processes of this machine that share out numbered pieces of work, each as a plain command: nothing is pickled.

A worker is `python -m MODULE SPEC`, whose module calls `work`. It reads the numbers of its pieces from standard input, prints
each that is done, and ends when the process that started it does. What a piece makes must be written whole and be recognised
when it is there: then a killed run resumes with the pieces that are missing.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rung.errors import DataError, RungError

Job = Callable[[Mapping[str, Any], int], None]
"""Makes the piece of a number, given the content of the spec."""
ONE_THREAD = {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}
"""Environment of a worker: each computes in one thread, since there are as many workers as cores."""
ENOUGH = 16 << 20
"""Bytes of text for each process: with less, it is read before the processes have started."""
WAIT = 0.5
"""Seconds between two looks at the time."""
MOST_SAID = 20
"""Last lines of a worker that are kept for the error message."""


def useful(processes: int, size: int) -> int:
    """How many of these processes to use for so many bytes of text."""
    return max(1, min(processes, size // ENOUGH))


def share_out(
    module: str, job: Job, spec: Path, numbers: Sequence[int], processes: int, done: Callable[[int], None] = lambda number: None
) -> None:
    """Have pieces made: here if one process is enough, else by workers.

    `done`: called with the number of pieces done, also while none is finished; an error that it raises ends the workers.
    Raises the DataError of a worker, or RungError if one broke down.
    """
    count = min(processes, len(numbers))
    if count < 2:
        content = json.loads(spec.read_text(encoding="utf-8"))
        for i, number in enumerate(numbers):
            done(i)
            job(content, number)
        done(len(numbers))
        return
    said: queue.Queue[tuple[int, str | None]] = queue.Queue()
    workers = [_start(module, spec, numbers[k::count], k, said) for k in range(count)]
    try:
        _follow(workers, said, done)
    finally:
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.wait()


def work(job: Job) -> None:
    """What a worker's module calls when it is run as a program."""
    content = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    numbers = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        for number in numbers:
            job(content, number)
            print(number, flush=True)
    except DataError as error:
        print(json.dumps({"what": error.what, "where": error.where, "remedy": error.remedy}), flush=True)
        raise SystemExit(1) from None


def _end_with_parent() -> None:
    """Exit when standard input closes. Read below Python's buffer, whose lock a thread may not hold at the end."""
    os.read(0, 1)
    os._exit(1)


def _start(
    module: str, spec: Path, numbers: Sequence[int], k: int, said: queue.Queue[tuple[int, str | None]]
) -> subprocess.Popen[str]:
    worker = subprocess.Popen(
        [sys.executable, "-P", "-m", module, str(spec)],  # -P: no module of the current folder
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **ONE_THREAD},
    )
    assert worker.stdin and worker.stdout
    stdout = worker.stdout

    def listen() -> None:
        for line in stdout:
            said.put((k, line.rstrip("\n")))
        said.put((k, None))

    threading.Thread(target=listen, daemon=True).start()
    worker.stdin.write(json.dumps(list(numbers)) + "\n")
    worker.stdin.flush()
    return worker


def _follow(
    workers: Sequence[subprocess.Popen[str]], said: queue.Queue[tuple[int, str | None]], done: Callable[[int], None]
) -> None:
    """Count pieces until all workers have ended well."""
    made, left = 0, len(workers)
    last: list[list[str]] = [[] for _ in workers]
    while left:
        done(made)
        try:
            k, line = said.get(timeout=WAIT)
        except queue.Empty:
            continue
        if line is None:
            left -= 1
            if workers[k].wait():
                raise _failed(workers[k].returncode, last[k])
        elif line.isdigit():
            made += 1
        else:
            last[k] = [*last[k], line][-MOST_SAID:]
    done(made)


def _failed(code: int, said: Sequence[str]) -> RungError:
    if said and said[-1].startswith('{"what"'):
        return DataError(**json.loads(said[-1]))
    return RungError(f"a process that reads raw text broke down (exit {code}): {said[-1][:300] if said else 'no message'}.")
