"""One entry for each of rung's tables."""

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from rung.lm.engine_kinds import Capabilities, EngineKind
from rung.lm.inference.fake import FakeEngine
from rung.methods.base import Method
from rung.metrics import Metric
from rung.retrieve.formats.blocks import Blocks


@dataclass(frozen=True, kw_only=True)
class Terse(Method):
    """A method: ask for short answers."""

    name: ClassVar[str] = "terse"

    words: int = 5
    """The most words an answer should have."""

    def estimate(self, start, facts, machine):
        return start

    def fit(self, start, data, run):
        return replace(start, instruction=f"{start.instruction} Use at most {self.words} words.")


def _close(output, reference, example):
    try:
        return float(abs(float(output) - float(reference)) <= 0.05 * abs(float(reference)))
    except ValueError:
        return 0.0


within_5_percent = Metric("within_5_percent", ("answer",), _close, binary=True)


def read_subtitles(data: bytes) -> Blocks:
    """A document format: the words of an .srt file, without its numbers and times."""
    blocks = Blocks()
    for line, text in enumerate(data.decode("utf-8", "replace").splitlines(), 1):
        if not text.strip().isdigit() and "-->" not in text:
            blocks.add(text, line, line)
    return blocks


echo = EngineKind(name="echo", can=Capabilities(writes=True), open=lambda engines, ref: FakeEngine())
"""An engine kind: `base: echo:anything`. A real one returns a class with the methods of `rung.lm.base.Engine`."""


def fetch(name: str, folder: Path) -> str:
    """A model source: `base: share:NAME` copies a model from the folder that MODEL_SHARE names."""
    shutil.copytree(Path(os.environ["MODEL_SHARE"]) / name, folder, dirs_exist_ok=True)
    return "1"
