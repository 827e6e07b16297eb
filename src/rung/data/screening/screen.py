"""The screening of raw text: what is left out, counted by reason, with examples; computed once and stored."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung import files
from rung.data import corpus, crew, ranges
from rung.data.screening import repeats, report
from rung.data.screening.contamination import HeldRuns
from rung.data.screening.report import Example, Report
from rung.data.screening.survey import (
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

VERSION = 3  # raise when the same text and settings would be screened otherwise
REPORT, SPEC = "report.json", "spec.json"
MODULE = "rung.data.screening.survey"
UNUSED_SECONDS = 30 * 86_400
"""How long a screening stays that is not opened. Not until the next one: a climb may still read by it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a screening works and stores what it finds."""

    folder: Path
    """A folder for each text is made in it, and in there one for each screening of it."""
    root: Path
    """What places are named relative to."""
    processes: int = 1
    done: Callable[[int, int], None] = lambda made, of: None
    """Called with the ranges read and all ranges; may raise, to stop."""
    wait: Callable[[], None] = lambda: None
    """Called while another process screens the same text, and while repeats are looked for; may raise, to stop."""


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
    folder = place.folder / digest([found.digest, found.share]) / key(found, settings, held)
    if not (folder / REPORT).exists():
        with files.locked(folder.parent / "lock", place.wait):
            if not (folder / REPORT).exists():
                _remove_unused(folder)
                _screen(found, settings, held, place, folder)
    os.utime(folder / REPORT)
    made = report.read(folder / REPORT, found.files, held, place.root)
    if made.total == made.documents:
        raise DataError(
            f"nothing is left of the raw text: {made.text}.",
            where=", ".join(found.files[:EXAMPLES]),
            remedy="See data.screening in rung.yaml.",
        )
    name = digest([found.digest, made.digest]) if made.digest else found.digest
    return replace(found, screened=str(folder), digest=name), made


def _remove_unused(folder: Path) -> None:
    """Remove killed screenings of the same text by other settings or held-out rows, and those of any that nobody uses."""
    for one in folder.parent.parent.glob("*/*"):
        if one == _survey_of(folder) or not one.is_dir():
            continue
        whole = (one / REPORT).exists() and one.suffix != files.PART
        killed = one.parent == folder.parent and not whole
        if killed or _unused(one / REPORT) or _unused(one / SPEC):
            shutil.rmtree(one)


def _unused(path: Path) -> bool:
    return path.exists() and time.time() - path.stat().st_mtime > UNUSED_SECONDS


def _survey_of(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.survey")


def _screen(found: Texts, settings: Screening, held: HeldRuns, place: Place, folder: Path) -> None:
    """Both passes; then the survey gives way to its result."""
    every = ranges.ranges(found.files)
    work = _survey_of(folder)
    spec = {
        "of": folder.name,
        "folder": str(work),
        "files": found.files,
        "near": settings.near,
        "filters": settings.filters,
        "runs": held.hashes if settings.contamination else {},
    }
    files.write_json(work / SPEC, spec)
    numbers = range(len(every))
    crew.share_out(MODULE, survey, work / SPEC, numbers, place.processes, lambda made: place.done(made, len(every)))
    surveyed, examples = _repeats_marked(every, [work / f"{i:05}" for i in numbers], settings, place.wait)
    with files.whole_folder(folder) as part:
        for i, (one, begin, end) in enumerate(zip(surveyed.folders, surveyed.starts, surveyed.starts[1:])):
            shutil.copyfile(one / DIGESTS, part / f"{i:05}{corpus.DIGESTS}")
            surveyed.reasons[begin:end].tofile(part / f"{i:05}{corpus.LEFT_OUT}")
        made = _report(surveyed.reasons)
        report.write(part / REPORT, made, {reason: examples[reason] for reason in made.left_out})
    shutil.rmtree(work)


def _repeats_marked(
    every: Sequence[ranges.Range], folders: Sequence[Path], settings: Screening, check: Callable[[], None]
) -> tuple[repeats.Surveyed, dict[str, list[Example]]]:
    """The survey with duplicates marked, and examples for each reason."""
    import numpy as np

    notes = [json.loads((one / METADATA).read_text(encoding="utf-8")) for one in folders]
    _refuse_blank(every, notes)
    reasons = np.concatenate([np.fromfile(one / LEFT_OUT, np.uint8) for one in folders])
    starts = np.concatenate([[0], np.cumsum([note["documents"] for note in notes])]).astype(np.int64)
    surveyed = repeats.Surveyed(tuple(folders), starts, reasons, check)
    where = _Where(every, starts)
    examples = _single_examples(notes, starts, where)
    if settings.duplicates:
        examples[REASONS[DUPLICATE - 1]] = where.pairs(repeats.mark_equal(surveyed))
    if settings.near:
        examples[REASONS[NEAR_DUPLICATE - 1]] = where.pairs(repeats.mark_near(surveyed, settings.near))
    return surveyed, examples


def _report(reasons: NDArray[Any]) -> Report:
    import numpy as np

    counts = np.bincount(reasons, minlength=len(REASONS) + 1)[1:].tolist()
    left_out = {reason: count for reason, count in zip(REASONS, counts) if count}
    content = hashlib.sha256(np.packbits(reasons > 0).tobytes()).hexdigest() if left_out else ""
    return Report(len(reasons), left_out, digest=content)


def _refuse_blank(every: Sequence[ranges.Range], notes: Sequence[Mapping[str, Any]]) -> None:
    counts: dict[str, int] = {}
    for one, note in zip(every, notes):
        counts[one.file] = counts.get(one.file, 0) + note["documents"]
    if blank := [name for name, count in counts.items() if not count]:
        raise DataError("the file has no text.", where=blank[0], remedy="Fill or remove it.")


def _single_examples(notes: Sequence[Mapping[str, Any]], starts: NDArray[Any], where: _Where) -> dict[str, list[Example]]:
    """Examples of the reasons that concern one document alone."""
    found: dict[str, list[Example]] = {}
    for note, start in zip(notes, starts.tolist()):
        for reason, some in note["examples"].items():
            first = found.setdefault(reason, [])
            for one in some[: EXAMPLES - len(first)]:
                first.append({"at": where.of(start + one["number"]), **{key: one[key] for key in one if key != "number"}})
    return found


@dataclass(frozen=True, slots=True)
class _Where:
    """Documents by their file and their number in it, both from 0."""

    ranges: Sequence[ranges.Range]
    starts: NDArray[Any]

    def of(self, document: int) -> tuple[int, int]:
        import numpy as np

        names = [one.file for one in self.ranges]
        name = names[int(np.searchsorted(self.starts, document, side="right")) - 1]
        return list(dict.fromkeys(names)).index(name), document - int(self.starts[names.index(name)])

    def pairs(self, found: Sequence[tuple[int, int]]) -> list[Example]:
        return [{"at": self.of(one), "same": self.of(other)} for one, other in found]
