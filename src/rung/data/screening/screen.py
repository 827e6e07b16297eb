"""The screening of raw text: what is left out, counted by reason, with examples; computed once and stored."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung import files
from rung.data import corpus, crew, ranges
from rung.data.screening import repeats
from rung.data.screening.contamination import HeldRuns
from rung.data.screening.survey import (
    CONTAMINATION,
    DIGESTS,
    DUPLICATE,
    EXAMPLES,
    LEFT_OUT,
    METADATA,
    NEAR_DUPLICATE,
    REASONS,
    survey,
)
from rung.errors import DataError, TaskError
from rung.task.screening import Screening
from rung.types import Texts, digest

if TYPE_CHECKING:
    from numpy.typing import NDArray

VERSION = 1  # raise when the same text and settings would be screened otherwise
REPORT = "report.json"
MODULE = "rung.data.screening.survey"


@dataclass(frozen=True, slots=True)
class Report:
    """What a screening left out."""

    documents: int
    """Documents in all."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """Documents left out by reason, as `REASONS` names them."""
    examples: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The first few by reason: where they are, and what they repeat or how they begin."""
    digest: str = ""
    """Of which documents are left out; empty if none are."""

    @property
    def total(self) -> int:
        return sum(self.left_out.values())

    @property
    def text(self) -> str:
        """One sentence for a user."""
        each = ", ".join(f"{count:,} for {reason}" for reason, count in self.left_out.items())
        return f"{self.total:,} of {self.documents:,} documents of raw text are left out: {each}"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a screening works and stores what it finds."""

    folder: Path
    """A folder of each screening's own is made in it."""
    root: Path
    """What places are named relative to."""
    processes: int = 1
    done: Callable[[int, int], None] = lambda made, of: None
    """Called with the ranges read and all ranges; may raise, to stop."""


def key(found: Texts, settings: Screening, held: HeldRuns) -> str:
    """The name of a screening: what its result follows from."""
    runs = held.digest if settings.contamination else ""
    version = None
    if settings.near:
        if find_spec("rensa") is None:
            raise TaskError(
                "near duplicates are found by the package rensa, which is not installed.",
                where="rung.yaml data.screening.near",
                remedy="pip install 'rung[near]', or remove the key.",
            )
        from rensa import RMinHash

        version = RMinHash.ALGORITHM_VERSION
    return digest([VERSION, found.digest, found.share, settings.model_dump(mode="json"), runs, version])


def screened(found: Texts, settings: Screening, held: HeldRuns, place: Place) -> tuple[Texts, Report]:
    """The text without the documents that the settings leave out, and what these are.

    Where nothing is left out, the text has the digest that it has unscreened, and fits on it stay valid. A killed screening
    resumes with the ranges that are missing. DataError for unreadable text, or if nothing is left.
    """
    name = key(found, settings, held)
    folder = place.folder / name
    if not (folder / REPORT).exists():
        _screen(found, settings, held, place, name)
    stored = json.loads((folder / REPORT).read_text(encoding="utf-8"))
    report = Report(**{**stored, "examples": {reason: tuple(some) for reason, some in stored["examples"].items()}})
    if report.total == report.documents:
        raise DataError(
            f"nothing is left of the raw text: {report.text}.",
            where=", ".join(found.files[:EXAMPLES]),
            remedy="See data.screening in rung.yaml.",
        )
    name = digest([found.digest, report.digest]) if report.digest else found.digest
    return replace(found, screened=str(folder), digest=name), report


def _screen(found: Texts, settings: Screening, held: HeldRuns, place: Place, name: str) -> None:
    """Both passes; then the survey gives way to its result."""
    every = ranges.ranges(found.files)
    files.sweep_beside(place.folder / name)
    work = place.folder / f"{name}.survey"
    spec = {
        "of": name,
        "folder": str(work),
        "files": found.files,
        "near": settings.near,
        "filters": settings.filters,
        "runs": held.by_length if settings.contamination else {},
    }
    files.write_json(work / "spec.json", spec)
    numbers = range(len(every))
    crew.share_out(MODULE, survey, work / "spec.json", numbers, place.processes, lambda made: place.done(made, len(every)))
    surveyed, examples = _repeats_marked(every, [work / f"{i:05}" for i in numbers], settings, held, place.root)
    with files.whole_folder(place.folder / name) as part:
        for i, (one, begin, end) in enumerate(zip(surveyed.folders, surveyed.starts, surveyed.starts[1:])):
            shutil.copyfile(one / DIGESTS, part / f"{i:05}{corpus.DIGESTS}")
            surveyed.reasons[begin:end].tofile(part / f"{i:05}{corpus.LEFT_OUT}")
        files.write_json(part / REPORT, asdict(_report(surveyed.reasons, examples)))
    shutil.rmtree(work)


def _repeats_marked(
    every: Sequence[ranges.Range], folders: Sequence[Path], settings: Screening, held: HeldRuns, root: Path
) -> tuple[repeats.Surveyed, dict[str, tuple[str, ...]]]:
    """The survey with duplicates marked, and examples for each reason."""
    import numpy as np

    notes = [json.loads((one / METADATA).read_text(encoding="utf-8")) for one in folders]
    _refuse_blank(every, notes)
    reasons = np.concatenate([np.fromfile(one / LEFT_OUT, np.uint8) for one in folders])
    starts = np.concatenate([[0], np.cumsum([note["documents"] for note in notes])]).astype(np.int64)
    surveyed = repeats.Surveyed(tuple(folders), starts, reasons)
    where = _Where(every, starts, root)
    examples = _single_examples(notes, starts, where, held)
    if settings.duplicates:
        examples[REASONS[DUPLICATE - 1]] = where.pairs(repeats.mark_equal(surveyed))
    if settings.near:
        examples[REASONS[NEAR_DUPLICATE - 1]] = where.pairs(repeats.mark_near(surveyed, settings.near))
    return surveyed, examples


def _report(reasons: NDArray[Any], examples: Mapping[str, Sequence[str]]) -> Report:
    import numpy as np

    counts = np.bincount(reasons, minlength=len(REASONS) + 1)[1:].tolist()
    left_out = {reason: count for reason, count in zip(REASONS, counts) if count}
    content = hashlib.sha256(np.packbits(reasons > 0).tobytes()).hexdigest() if left_out else ""
    return Report(len(reasons), left_out, {reason: tuple(examples[reason]) for reason in left_out}, content)


def _refuse_blank(every: Sequence[ranges.Range], notes: Sequence[Mapping[str, Any]]) -> None:
    counts: dict[str, int] = {}
    for one, note in zip(every, notes):
        counts[one.file] = counts.get(one.file, 0) + note["documents"]
    if blank := [name for name, count in counts.items() if not count]:
        raise DataError("the file has no text.", where=blank[0], remedy="Fill or remove it.")


def _single_examples(
    notes: Sequence[Mapping[str, Any]], starts: NDArray[Any], where: _Where, held: HeldRuns
) -> dict[str, tuple[str, ...]]:
    """Examples of the reasons that concern one document alone."""
    found: dict[str, list[str]] = {}
    for note, start in zip(notes, starts.tolist()):
        for reason, some in note["examples"].items():
            for one in some:
                more = f"= {held.where[one['row']]}" if reason == REASONS[CONTAMINATION - 1] else f"“{one['text']}”"
                found.setdefault(reason, []).append(f"{where.name(start + one['number'])} {more}")
    return {reason: tuple(some[:EXAMPLES]) for reason, some in found.items()}


@dataclass(frozen=True, slots=True)
class _Where:
    """Names documents by their file and their number in it, from 1."""

    ranges: Sequence[ranges.Range]
    starts: NDArray[Any]
    root: Path

    def name(self, document: int) -> str:
        import numpy as np

        at = int(np.searchsorted(self.starts, document, side="right")) - 1
        file = self.ranges[at].file
        first = next(i for i, one in enumerate(self.ranges) if one.file == file)
        path = Path(file)
        shown = path.relative_to(self.root) if path.is_relative_to(self.root) else path
        return f"{shown.as_posix()} document {document - int(self.starts[first]) + 1}"

    def pairs(self, found: Sequence[tuple[int, int]]) -> tuple[str, ...]:
        return tuple(f"{self.name(one)} = {self.name(other)}" for one, other in found)
