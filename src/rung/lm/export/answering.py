"""An unzipped export answering in a process of its own, as whoever gets it starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rung.errors import ModelError

TEXTS = 100
"""Texts a process: a command line is not endless."""


class Unzipped:
    """A zip in an empty folder, and its program run there by this Python; rung is not imported."""

    def __init__(self, file: Path, program: str):
        self._place = TemporaryDirectory(prefix="rung-export-")
        with zipfile.ZipFile(file) as packed:
            packed.extractall(self._place.name)
        self._program = program
        self.engine = f"{program} in a process of its own, unzipped into an empty folder"

    def answers(self, texts: Sequence[str]) -> list[str]:
        """The answer to each text. ModelError where the program fails."""
        return [one for start in range(0, len(texts), TEXTS) for one in self._part(texts[start : start + TEXTS])]

    def close(self) -> None:
        self._place.cleanup()

    def _part(self, texts: Sequence[str]) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-I", self._program, *texts],
            cwd=self._place.name,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
            capture_output=True,
            encoding="utf-8",
        )
        if done.returncode:
            raise ModelError(f"its {self._program} fails: {done.stderr.strip()[-400:]}", where="rung export --to zip")
        found: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
        return [one["answer"] for one in found]
