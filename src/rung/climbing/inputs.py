"""The inputs of a climb: documents, split rows and training data, read from the task's files without opening a model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rung.data import preferences, unlabelled
from rung.data.conversations import TEXTS, is_conversation
from rung.data.corpus import find_texts
from rung.data.formats import text_of
from rung.data.split import Sealed, Splits, make_splits, question
from rung.evaluate import forgetting
from rung.planning.steps import labels
from rung.retrieve.knowledge import documents, is_open, is_open_file, open_to_all, with_sources
from rung.task import Task
from rung.types import Example, Preference, Texts, TrainData


@dataclass(frozen=True, slots=True)
class Inputs:
    """The content of a task's files, read once."""

    documents: Texts
    """Documents to retrieve from, including those with an access label."""
    splits: Splits
    """The rows; their sources are spelled as in citations."""
    data: TrainData
    """What methods may learn from. Rows, preferences, inputs and texts of labelled documents are left out."""


def read_inputs(task: Task) -> Inputs:
    """Read the task's files. DataError or TaskError if one is missing or malformed."""
    found = read_documents(task)
    splits = read_splits(task, found)
    return Inputs(found, splits, train_data(task, splits, found))


def read_documents(task: Task) -> Texts:
    """The task's documents; every file is read once and hashed."""
    return documents(task.folder, task.data.documents, tuple(task.data.access.items()))


def read_splits(task: Task, found: Texts) -> Splits:
    """The task's rows in train, dev and test; none of a task of documents alone.

    `found`: the documents, needed only if rows name their source.
    """
    if not (task.data.examples or task.data.train):
        return Splits((), (), Sealed(()))
    if not (task.data.source and task.data.documents):
        return make_splits(task)
    return make_splits(task, lambda row: with_sources(row, found))


def open_dev_rows(task: Task) -> tuple[Example, ...]:
    """The dev rows that anyone may read, for a report. Documents are read only if rows or labels refer to them."""
    given = task.data
    found = read_documents(task) if given.access or given.source else Texts()
    rows = read_splits(task, found).dev
    return open_to_all(rows, found) if given.access else rows


def train_data(task: Task, splits: Splits, found: Texts) -> TrainData:
    """What methods may learn from; documents with an access label are left out."""
    given, folder = task.data, task.folder
    train = open_to_all(splits.train, found)
    known = labels(task, train)

    def keep(file: Path) -> bool:
        return is_open_file(file, found)

    return TrainData(
        train,
        () if task.multilabel else known,
        _preferences(task, splits, found),
        corpus=find_texts(folder, given.corpus, keep),
        general=forgetting.replay_text(folder, given.general, keep),
        documents=found,
        unlabelled=_unlabelled(task, splits, found) if given.unlabelled else (),
        label_set=known if task.multilabel else (),
        every_answer=task.kind in TEXTS and any(map(is_conversation, train)),
    )


def _preferences(task: Task, splits: Splits, documents: Texts) -> tuple[Preference, ...]:
    """Preferences whose source has no access label and whose question is not that of a closed row."""
    given = task.data
    found = preferences.load(task.folder, given.preferences, given.source)
    rows = _all_rows(splits) if found and given.access else ()
    left = {row.id for row in open_to_all(rows, documents)}
    closed = {question(row) for row in rows if row.id not in left}
    return tuple(one for one in found if is_open(one.source, documents) and question(preferences.as_example(one)) not in closed)


def _unlabelled(task: Task, splits: Splits, documents: Texts) -> tuple[str, ...]:
    """Inputs without an answer. No input that has one, sealed rows included, is sent to a teacher."""
    given = task.data

    def keep(row: Mapping[str, Any]) -> bool:
        source = given.source
        return not source or source not in row or is_open(text_of(row[source], "").strip(), documents)

    files = [name for name in given.unlabelled if is_open_file(task.folder / name, documents)]
    return unlabelled.load(task.folder, files, given.input, [row.input for row in _all_rows(splits)], keep)


def _all_rows(splits: Splits) -> tuple[Example, ...]:
    return (*splits.train, *splits.dev, *splits.test.open(), *splits.unused)
