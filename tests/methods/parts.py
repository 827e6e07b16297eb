"""Documents about the parts of a bicycle, and what fits a method on questions about them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rung.lm.base import ModelRef
from rung.lm.engines import Engines
from rung.lm.inference.fake import FakeEngine
from rung.machine import Machine
from rung.methods.base import Run
from rung.predictor import Predictor
from rung.retrieve.knowledge import documents
from rung.types import Example, TrainData


def prepared(
    folder: Path, machine: Machine, encoder: Path, engine: FakeEngine, parts: Sequence[str], rows: tuple[Example, ...]
) -> tuple[Predictor, TrainData, Run]:
    """The untouched Predictor, the data and the run of a fit: a document a part, in `folder`."""
    (folder / "docs").mkdir()
    for i, part in enumerate(parts):
        (folder / "docs" / f"{part}.md").write_text(f"# {part.title()}\n\nThe {part} is guaranteed for {i + 2} years.\n")
    engines = Engines(machine, say=lambda text: None)
    ref = ModelRef("fake", "fake", "fake")
    engines.put(ref, engine)
    (folder / "fit").mkdir()
    start = Predictor(kind="answer", model=ref, instruction="Answer.", encoder=str(encoder))
    data = TrainData(rows, documents=documents(folder, ("docs/",)))
    return start, data, Run(folder / "fit", engines, shared=folder / ".rung")


def killed_at(check: int, score: Callable[..., float], found: list[float]) -> Callable[..., float]:
    """`score`, which raises KeyboardInterrupt at this one of its calls; their values are added to `found`."""

    def killed_later(*given: object) -> float:
        found.append(score(*given))
        if len(found) == check:
            raise KeyboardInterrupt
        return found[-1]

    return killed_later
