"""A project's raw text without what its screening leaves out, and the findings that say what that is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rung.data.crew import useful
from rung.data.finding import COMMON_SHARE, Finding, Severity
from rung.data.screening.contamination import HeldRuns, held_runs
from rung.data.screening.filters import FILTERS
from rung.data.screening.report import Report
from rung.data.screening.screen import Place, screened
from rung.data.split import Splits
from rung.errors import BudgetError
from rung.hardware import usable_cores
from rung.store import Store
from rung.task import Task
from rung.types import Texts, TrainData

FOLDER = "corpora"
"""Of a `.rung` folder: a folder for each screening."""
LARGE = 50_000_000
"""Bytes of text from which a message says that it is read."""


@dataclass(frozen=True, slots=True)
class Screened:
    """Raw text to learn from."""

    corpus: Texts
    general: Texts
    reports: tuple[tuple[str, Report], ...] = ()
    """What was left out of each, by its key in rung.yaml."""
    too_short: int = 0
    """Dev and test rows that are too short to be looked for in it."""

    def applied(self, data: TrainData) -> TrainData:
        """The data with this text in place of the task's, where it has any."""
        return replace(
            data,
            corpus=self.corpus if data.corpus.files else data.corpus,
            general=self.general if data.general.files else data.general,
        )

    def sentences(self) -> list[str]:
        """What was left out of each, for a user."""
        return [f"{name}: {report.text}" for name, report in self.reports if report.total]

    def notes(self) -> dict[str, dict[str, int]]:
        """The counts for the record of a fit."""
        return {name: {"documents": report.documents, **report.left_out} for name, report in self.reports}


def screen(task: Task, splits: Splits, data: TrainData, store: Store, say: Callable[[str], object], until: float) -> Screened:
    """Screen the task's raw text; a screening that is stored is opened. DataError for text that cannot be read.

    `until`: a `time.monotonic()`; BudgetError after it.
    """
    if not (data.corpus.files or data.general.files):
        return Screened(data.corpus, data.general)
    held = held_runs((*splits.dev, *splits.test.open())) if task.data.screening.contamination else HeldRuns({}, ())
    found: dict[str, Texts] = {"corpus": data.corpus, "general": data.general}
    reports = []
    for name, texts in found.items():
        if texts.files:
            found[name], report = _screened(texts, task, held, store.folder / FOLDER, say, until)
            reports.append((f"data.{name}", report))
    return Screened(found["corpus"], found["general"], tuple(reports), held.too_short)


def findings(found: Screened) -> Iterator[Finding]:
    """What is left out, by reason."""
    for name, report in found.reports:
        for reason, count in report.left_out.items():
            yield _finding(name, report, reason, count)
    if found.reports and found.too_short:
        yield Finding(
            "rows-not-looked-for",
            "note",
            f"{found.too_short} dev and test rows have fewer than 8 words with their answer: whether raw text repeats them is not"
            " checked.",
            "Check the source of the text.",
            count=found.too_short,
        )


def _finding(name: str, report: Report, reason: str, count: int) -> Finding:
    def what(broken: str) -> str:
        return f"{count:,} of {report.documents:,} documents of {name} {broken}, and are left out of training."

    examples = report.examples[reason]
    if reason == "contamination":
        severity: Severity = "warn" if count >= COMMON_SHARE * report.documents else "note"
        remedy = "If inputs quote these documents by design, set data.screening.contamination: false."
        return Finding("text-contamination", severity, what("repeat the input of a dev or test row"), remedy, examples, count)
    if reason == "duplicate":
        return Finding("text-duplicate", "note", what("repeat an earlier one exactly"), "", examples, count)
    if reason == "near-duplicate":
        remedy = "Read some; if they should stay, raise data.screening.near or remove it."
        return Finding("text-near-duplicate", "note", what("are nearly equal to an earlier one"), remedy, examples, count)
    remedy = f"If they belong there, take {reason} out of data.screening.filters."
    return Finding("text-filtered", "note", what(FILTERS[reason][1]), remedy, examples, count)


def _screened(
    texts: Texts, task: Task, held: HeldRuns, folder: Path, say: Callable[[str], object], until: float
) -> tuple[Texts, Report]:
    last = time.monotonic()

    def wait() -> None:
        if time.monotonic() > until:
            raise BudgetError(
                "the screening of raw text was stopped: the time budget is used up.",
                remedy="Raise budget.minutes in rung.yaml, or run `rung check`, which has no limit; it resumes where it stopped.",
            )

    def done(made: int, of: int) -> None:
        nonlocal last
        wait()
        if texts.size >= LARGE and (not made or time.monotonic() - last > 30):
            last = time.monotonic()
            say(f"screening {texts.size / 1e6:,.0f} MB of raw text, once: {made} of {of} parts")

    place = Place(folder, Path(task.folder), useful(usable_cores(), texts.size), done, wait)
    return screened(texts, task.data.screening, held, place)
