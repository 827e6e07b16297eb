"""Readers of binary formats in a process of their own, with a cap on time and memory: no file can stall or fill the caller."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from rung.errors import DataError
from rung.retrieve.formats.blocks import Blocks
from rung.retrieve.formats.docx import read_docx
from rung.retrieve.formats.pdf import read_pdf
from rung.retrieve.passage import Block

SECONDS = 120
MEMORY = 4 << 30
"""Bytes of address space; far above what a large document takes."""

READERS: dict[str, Callable[[bytes], Blocks]] = {"pdf": read_pdf, "docx": read_docx}


def read_isolated(reader: str, data: bytes) -> tuple[Block, ...]:
    """Blocks of one file, by the name of its reader. Raises DataError with what went wrong over there; costs 0.2 seconds."""
    command = [sys.executable, "-P", "-m", __name__, reader]  # -P: no module of the folder that one stands in
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise DataError(f"reading it took over {SECONDS} seconds.", remedy="Print it to a new file, or leave it out.") from None
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


def _limit_memory() -> None:
    if sys.platform != "win32":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))


def _main() -> None:
    _limit_memory()
    answer: dict[str, Any]
    try:
        blocks = READERS[sys.argv[1]](sys.stdin.buffer.read()).done()
        answer = {"blocks": [asdict(block) for block in blocks]}
    except DataError as error:
        answer = {"what": error.what, "remedy": error.remedy}
    except Exception as error:
        answer = {"what": f"its reader failed: {fault(error)}", "remedy": "It is damaged; save it anew."}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    _main()
