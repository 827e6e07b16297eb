"""Readers in a process of their own, with a cap on time and memory: no file can stall or fill the caller.

Small files of text formats are read at once, since starting a process takes longer; up to the sizes given here no parser
takes more than a second or two of them. All others go through a process.
"""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from dataclasses import asdict
from typing import Any

from rung.errors import DataError, RungError
from rung.retrieve.formats.readers import TEXT_READERS, read
from rung.retrieve.passage import Block

SECONDS = 60.0
"""Of computing. Four times as long by the clock, so that a busy machine refuses nothing that an idle one reads."""
MEMORY = 2 << 30
"""Bytes of address space; far above what a large document takes."""
SMALL, FEW_LINES, SHORT_LINE = 100_000, 4_000, 20_000
"""Bytes, lines, and bytes of one line, up to which a text format is read in the caller's process."""


def blocks_of(ending: str, data: bytes) -> tuple[Block, ...]:
    """The blocks of one file, read where it is safe. Raises DataError; of a small file, also what its parser throws."""
    if ending not in TEXT_READERS or len(data) > SMALL or data.count(b"\n") > FEW_LINES or _longest_line(data) > SHORT_LINE:
        return read_isolated(ending, data)
    return read(ending, data).done()


def read_isolated(ending: str, data: bytes) -> tuple[Block, ...]:
    """The blocks of one file. Raises DataError with what went wrong over there; costs 0.2 seconds."""
    command = [sys.executable, "-P", "-m", __name__, ending, str(math.ceil(SECONDS))]  # -P: no module of the current folder
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=4 * SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise _too_slow() from None
    if done.returncode and done.returncode == -getattr(signal, "SIGXCPU", 0):
        raise _too_slow()
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().split("\n")[-1]
        raise DataError(f"its reader broke down (exit {done.returncode}): {last[:200] or 'no message'}.")
    answer = json.loads(done.stdout)
    if "what" in answer:
        raise DataError(answer["what"], remedy=answer["remedy"])
    return tuple(Block(**{**block, "heading": tuple(block["heading"])}) for block in answer["blocks"])


def fault(error: Exception) -> str:
    """A parser's own error by class and message, as one sentence of at most 300 characters."""
    message = " ".join(str(error).split())[:300].rstrip(".: ")
    return f"{type(error).__name__}: {message}." if message else f"{type(error).__name__}."


def _longest_line(data: bytes) -> int:
    return max(map(len, data.split(b"\n")))


def _too_slow() -> DataError:
    return DataError(
        f"reading it took over {SECONDS:g} seconds.", remedy="Split it into files by subject, save it anew, or leave it out."
    )


def _limit(seconds: int) -> None:
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _main() -> None:
    _limit(int(sys.argv[2]))
    answer: dict[str, Any]
    try:
        blocks = read(sys.argv[1], sys.stdin.buffer.read()).done()
        answer = {"blocks": [asdict(block) for block in blocks]}
    except RungError as error:
        answer = {"what": error.what, "remedy": error.remedy}
    except MemoryError:
        answer = {"what": f"reading it took over {MEMORY >> 20:,} MB of memory.", "remedy": "Split it into files by subject."}
    except Exception as error:
        answer = {"what": f"its reader failed: {fault(error)}", "remedy": "It is damaged; save it anew."}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    _main()
