"""The labelled file: a CSV of the team's beside their data, with a journal of how each row was drawn.

Every answer is on the disk when `add` returns. Rows are only added at the end and taken back from there, so what the team
edits in the file stays as they left it.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from rung import files
from rung.data import journal
from rung.data.answers import IMPOSSIBLE
from rung.data.drawn import BY, DRAWN
from rung.data.files import lines, read_rows
from rung.data.formats import text_of
from rung.data.journal import Entry
from rung.data.split import question
from rung.errors import DataError
from rung.task import Task
from rung.types import UNKNOWN, Example, Split

LOCK_SECONDS = 30.0


@dataclass(frozen=True)
class Sheet:
    """One labelled file of a task. It need not exist yet."""

    path: Path
    task: Task
    split: Split | None = None
    """The split that the file is for, where that has files of its own; None if a row's hash says its split."""

    @property
    def label(self) -> str:
        """The path as rung.yaml writes it."""
        return (
            self.path.relative_to(self.task.folder).as_posix() if self.path.is_relative_to(self.task.folder) else str(self.path)
        )

    @property
    def journal(self) -> Path:
        return journal.journal_of(self.path)

    @property
    def columns(self) -> tuple[str, ...]:
        data = self.task.data
        impossible = [IMPOSSIBLE] if self.task.kind in ("answer", "generate") else []
        extra = [name for name in (data.group, data.source) if name]
        return (data.input, data.output, *dict.fromkeys([*impossible, *extra]), DRAWN, BY)

    def rows(self) -> Iterator[Example]:
        """The labelled rows. DataError if the file is not one that `rung label` wrote."""
        for row, where in self._raw():
            data = self.task.data
            group, source = (text_of(row.get(name), where) if name else "" for name in (data.group, data.source))
            extra = {DRAWN: row[DRAWN], BY: row[BY]}
            output = UNKNOWN if row.get(IMPOSSIBLE) == "true" else text_of(row[data.output], where)
            yield Example(text_of(row[data.input], where), output, (), group, where, extra, source)

    def entries(self) -> tuple[Entry, ...]:
        """The entries of the journal that hold."""
        return journal.standing(journal.read(self.journal))

    def add(self, row: Example, entry: Entry) -> bool:
        """Write a label and its entry. False, and nothing is written, if someone else has labelled the row meanwhile."""
        with self._locked():
            if any(question(one) == question(row) for one in self.rows()):
                return False
            before = self._text()
            files.write_text(self.path, (before or _line(self.columns)) + self._line(row, entry))
            self.note(entry)
        return True

    def take_back(self, row: Example, entry: Entry) -> None:
        """Take back a label: its line goes, if it stands as it was written. DataError if the team has edited it."""
        with self._locked():
            text, line = self._text(), self._line(row, entry)
            at = ("\n" + text).rfind("\n" + line)
            if at < 0:
                raise DataError(
                    "the row was edited since, so it is not taken back.",
                    where=self.label,
                    remedy="Correct it in the file.",
                )
            files.write_text(self.path, text[:at] + text[at + len(line) :])
            self.note(replace(entry, did="undo"))

    def note(self, entry: Entry) -> None:
        """Write an entry to the journal only."""
        journal.append(self.journal, replace(entry, at=datetime.now(UTC).isoformat(timespec="seconds")))

    def _raw(self) -> Iterator[tuple[Mapping[str, object], str]]:
        if not self.path.exists():
            return
        head = self._text().partition("\n")[0]
        if head.rstrip("\r") != _line(self.columns).rstrip("\n"):
            raise DataError(
                f"its columns are not those that `rung label` writes ({', '.join(self.columns)}).",
                where=self.label,
                remedy="It is left as it is: name another file with --to.",
            )
        yield from read_rows(self.path, self.label)

    def _text(self) -> str:
        """The file's text with a line end, unchanged otherwise."""
        text = "".join(lines(self.path, self.label)) if self.path.exists() else ""
        return text if not text or text.endswith("\n") else text + "\n"

    def _line(self, row: Example, entry: Entry) -> str:
        data, impossible = self.task.data, entry.did == "unanswerable"
        cells = {
            data.input: row.input,
            data.output: "" if impossible else entry.output,
            IMPOSSIBLE: "true" if impossible else "false",
            DRAWN: entry.drawn,
            BY: entry.by,
        }
        cells |= {data.group: row.group} if data.group else {}
        cells |= {data.source: row.source} if data.source else {}
        return _line([cells[name] for name in self.columns])

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One writer at a time, also of several people on one disk."""
        folder = self.task.folder / ".rung"
        folder.mkdir(exist_ok=True)
        with FileLock(folder / "label.lock", timeout=LOCK_SECONDS):
            files.sweep_beside(self.path)
            yield


def _line(cells: tuple[str, ...] | list[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def sheets(task: Task) -> tuple[Sheet, ...]:
    """The labelled files beside the task's data: the usual ones, which need not exist yet, and others with a journal."""
    usual = [sheet_for(task, split) for split in (None, "dev", "test")]
    others = [path.with_name(path.name.removesuffix(journal.ENDING)) for path in journal.journals(task)]
    return (*usual, *(Sheet(path, task) for path in others if path not in {one.path for one in usual}))


def sheet_for(task: Task, split: Split | None) -> Sheet:
    """The usual labelled file: `labelled.csv`, or `labelled.dev.csv` for a split with files of its own.

    If rung.yaml names a cleaned copy of that file (`rung check --fix`), a new one is begun: `labelled.2.csv`.
    """
    data = task.data
    named = (*data.examples, *data.train, *data.dev, *data.test)
    beside = (task.folder / (*data.examples, *data.train)[0]).parent
    folder = beside if beside.is_relative_to(task.folder) else task.folder
    begun = f"labelled{f'.{split}' if split else ''}"
    stem, number = begun, 2
    while any(Path(name).name.startswith(f"{stem}.clean.") for name in named):
        stem, number = f"{begun}.{number}", number + 1
    return Sheet(folder / f"{stem}.csv", task, split)
