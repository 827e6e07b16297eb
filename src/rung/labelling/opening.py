"""Opening a sitting: which rows a person is asked, in which order, and where the labels go."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from rung.climbing.project import Project
from rung.data.drawn import BY, is_chosen
from rung.data.journal import Entry
from rung.data.split import question
from rung.errors import DataError, TaskError
from rung.labelling import doubt
from rung.labelling.pool import Held, eligible, has_own_files, held, order, read_pool, sources
from rung.labelling.sheet import Sheet, sheet_for, sheets
from rung.labelling.sitting import Drawn, Sitting
from rung.labelling.typed import Answers
from rung.planning.steps import labels
from rung.task import Task
from rung.types import Example, Split

Draw = Literal["doubt", "random"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a person asked for."""

    rows: int = 20
    source: Path | None = None
    """The file to draw from, instead of `data.unlabelled`."""
    to: Path | None = None
    """The labelled file, instead of the usual one."""
    split: Split | None = None
    """Rows for this split only."""
    held_out: bool = False
    """Rows for dev and test only, in one sitting."""
    draw: Draw = "doubt"
    """How train rows are drawn."""
    by: str = ""
    second: bool = False
    """Label again what others have labelled."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A sitting with what its end needs."""

    sitting: Sitting
    have: Held
    answers: Answers
    notes: tuple[str, ...] = ()
    """What the person should know before the first row."""


def open_sitting(project: Project, wanted: Wanted, progress: Callable[[str, float], None] = lambda text, share: None) -> Opened:
    """Draw the rows of a sitting. DataError or TaskError if there is nothing to draw from or the file is not ours."""
    task = project.task
    every = sheets(task)
    have = held(task, every)
    if wanted.split is None and not have.whole and not wanted.second:
        raise TaskError(
            "dev or test has files of its own, so it must be said which split the rows are for.",
            where="--for",
            remedy="Give --for train, --for dev or --for test.",
        )
    sheet = _sheet(task, wanted, have)
    answers = Answers(task.kind, labels(task, [row for row, _ in have.rows]), task.labels is not None, task.multilabel)
    if wanted.second:
        queue, pool = _labelled_by_others(task, have, every, wanted.by)
        return Opened(Sitting(sheet, wanted.by, pool, queue[: wanted.rows]), have, answers, _few(len(queue), wanted))
    aside = {entry.input for one in (*every, sheet) for entry in one.entries() if entry.did == "unanswerable"}
    found = read_pool(task, sources(task, wanted.source), have.questions | {question(Example(text, "")) for text in aside})
    rows = eligible(order(found, task.seed), wanted.split, have, task.seed)
    rows = [(row, split) for row, split in rows if split != "train"] if wanted.held_out else rows
    if wanted.split == "train":
        queue, notes = _for_training(project, rows, wanted, progress)
    else:
        queue, notes = [Drawn(row, split) for row, split in rows], ()
    sitting = Sitting(sheet, wanted.by, len(rows), queue[: wanted.rows])
    return Opened(sitting, have, answers, (*notes, *_few(len(rows), wanted)))


def _sheet(task: Task, wanted: Wanted, have: Held) -> Sheet:
    own = wanted.split if has_own_files(wanted.split, have) else None
    usual = sheet_for(task, own)
    if wanted.to is None:
        return usual
    if wanted.to.suffix.lower() != ".csv":
        raise TaskError(f"--to is {str(wanted.to)!r}.", where="rung label", remedy="Name a file that ends in .csv.")
    sheet = Sheet(wanted.to.resolve(), task, own)
    if sheet.path.exists() and not sheet.journal.exists():
        raise DataError(
            "the file exists and is not one of `rung label`.", where=sheet.label, remedy="It is left as it is: name another one."
        )
    return sheet


def _for_training(
    project: Project, rows: Sequence[tuple[Example, Split]], wanted: Wanted, progress: Callable[[str, float], None]
) -> tuple[list[Drawn], tuple[str, ...]]:
    """Train rows by doubt if rungs are fitted, else at random."""
    plain = [Drawn(row, split) for row, split in rows]
    if wanted.draw == "random" or not rows:
        return plain, ()
    some = doubt.voters(project)
    if not some:
        return plain, ("No rung is fitted on this machine yet, so the rows are drawn at random and nothing is proposed.",)
    names = ", ".join(one.rung for one in some)
    how = f"by disagreement of {names}" if len(some) > 1 else f"by the doubt of {names}"
    note = f"The rows are chosen {how}; the proposals are {some[0].rung}'s. They may be used for training only."
    return doubt.by_doubt(project, rows, some, progress), (note,)


def _labelled_by_others(task: Task, have: Held, every: Sequence[Sheet], by: str) -> tuple[list[Drawn], int]:
    """Rows that someone else labelled, in random order, without those that this person has labelled again already.

    Neither test rows, which stay sealed, nor chosen rows, which are harder than the task.
    """
    if not by:
        raise TaskError("it must be said who labels again.", where="--second", remedy="Give a name: --by NAME")
    mine = {entry.input for sheet in every for entry in sheet.entries() if entry.did == "second" and entry.by == by}
    known = {question(row) for sheet in every for row in sheet.rows()}
    found = [
        (row, split)
        for row, split in have.rows
        if (split == "dev" or (split == "train" and question(row) in known))
        and not is_chosen(row)
        and row.extra.get(BY, "") != by
        and row.input not in mine
        and not row.history
    ]
    place = {question(row): split for row, split in found}
    first = {question(row): row for row, _ in found}
    queue = []
    for row in order(first.values(), task.seed):
        label = Entry("label", row.input, row.output, str(row.extra.get(BY, "")))
        queue.append(Drawn(replace(row, output=""), place[question(row)], first=label))
    return queue, len(queue)


def _few(count: int, wanted: Wanted) -> tuple[str, ...]:
    if count >= wanted.rows:
        return ()
    return (f"There {'is' if count == 1 else 'are'} {count} row{'s' * (count != 1)} to draw from.",)
