"""Loads a task's Examples from files and folders, checks them, and reports all row errors at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rung import label_sets, metrics, tools
from rung.data.answers import answers, with_alternatives
from rung.data.conversations import join_conversations
from rung.data.drawn import refuse_chosen
from rung.data.files import READERS, read_rows
from rung.data.finding import Finding
from rung.data.folders import shards
from rung.data.formats import Form, example, form_of
from rung.data.journal import journal_of
from rung.data.json_rows import refuse_repeated_keys
from rung.data.rejected import refuse_rejected
from rung.data.rows import MAX_FAULTS, Row, combine, file_of
from rung.data.spelling import is_missing, join_groups, join_labels, match_label
from rung.errors import DataError
from rung.task import Task
from rung.types import Example, Kind, Split


@dataclass(frozen=True, slots=True)
class Loaded:
    """The rows as given. A split of None is taken from `train` later."""

    train: tuple[Example, ...]
    dev: tuple[Example, ...] | None = None
    test: tuple[Example, ...] | None = None
    findings: tuple[Finding, ...] = ()
    """Corrections made while loading."""


@dataclass(frozen=True, slots=True)
class DataFile:
    """One file with rows."""

    path: Path
    label: str
    """The path as rung.yaml writes it."""


def load(task: Task) -> Loaded:
    """All rows of the task. DataError names file, line, value and remedy; several bad rows are one error."""
    files = data_files(task)
    faults: list[DataError] = []
    parts = [_examples(part, task, faults) if part else None for part in files.values()]
    if faults:
        raise combine(faults, ", ".join(dict.fromkeys(file_of(fault.where) for fault in faults)))
    refuse_chosen(parts[1], "dev")
    refuse_chosen(parts[2], "test")
    parts, labels = join_labels(parts, task.labels, task.multilabel) if task.kind == "classify" else (parts, ())
    parts, groups = join_groups(parts)
    parts, talks = join_conversations(parts)
    return Loaded(parts[0] or (), parts[1], parts[2], (*labels, *groups, *talks))


def data_files(task: Task) -> dict[Split, list[DataFile]]:
    """The files of train, dev and test; an empty list for a split that is taken from train. DataError without train files."""
    if task.data.examples:
        files = _by_split(task, task.data.examples)
        files["train"] = files.pop(None, []) + files.get("train", [])
    else:
        files = {key: _for_split(task, key) for key in ("train", "dev", "test")}
    if not files["train"]:
        raise DataError(
            f"no file is for training; there are files for {', '.join(str(key) for key, some in files.items() if some)}.",
            where=", ".join(task.data.examples),
            remedy="Name the files under data.train, data.dev and data.test.",
        )
    return {"train": files["train"], "dev": files.get("dev", []), "test": files.get("test", [])}


def _by_split(task: Task, given: Iterable[str]) -> dict[Split | None, list[DataFile]]:
    found: dict[Split | None, list[DataFile]] = {}
    for label in given:
        path = task.folder / label
        if not path.is_dir():
            found.setdefault(None, []).append(DataFile(path, label))
            continue
        for split, paths in shards(path, READERS).items():
            files = [DataFile(p, str(Path(label) / p.relative_to(path))) for p in paths]
            found.setdefault(split, []).extend(files)
    return found


def _for_split(task: Task, key: Split) -> list[DataFile]:
    given: tuple[str, ...] = getattr(task.data, key)
    found = _by_split(task, given)
    files = found.get(None, []) + found.get(key, [])
    if given and not files:
        raise DataError(
            f"the folder has files for {', '.join(map(str, found))}, none for {key}.",
            where=f"data.{key}: {', '.join(given)}",
            remedy="Name the file itself.",
        )
    return files


def _examples(files: Iterable[DataFile], task: Task, faults: list[DataError]) -> tuple[Example, ...]:
    """The usable rows; errors of the others are added to `faults`."""
    return tuple(one for file in files for one in _file_examples(file, task, faults))


def _file_examples(file: DataFile, task: Task, faults: list[DataError]) -> Iterator[Example]:
    any_row = False
    before = len(faults)
    try:
        for one in read_file(file, task):
            any_row = True
            if isinstance(one.found, Example):
                yield one.found
                continue
            faults.append(one.found)
            if len(faults) - before >= MAX_FAULTS:
                return
    except DataError as fault:  # of the file, or of rows its reader could not parse
        faults.append(fault)
    begun = journal_of(file.path).exists()  # by `rung label`, and every row taken back
    if not any_row and len(faults) == before and not begun:
        faults.append(DataError("there are no rows.", where=file.label, remedy="Use a file with rows."))


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row as its file has it, and what it was read as."""

    row: Row
    where: str
    form: Form
    found: Example | DataError
    """The Example, or why the row is unusable."""


def read_file(file: DataFile, task: Task) -> Iterator[RawRow]:
    """All rows of a file, unusable ones with the reason. DataError where the file itself, or a row's format, cannot be read."""
    form = None
    for row, where in read_rows(file.path, file.label):
        form = form or form_of(row.keys(), task.data, where)
        try:
            yield RawRow(row, where, form, _example(row, where, form, task))
        except DataError as fault:
            yield RawRow(row, where, form, fault)


def _example(row: Row, where: str, form: Form, task: Task) -> Example:
    refuse_rejected(row, form.output, where)
    several = answers(row, form.output, task, where) if form.output else None
    found = example(row, where, form, task.data.group, task.data.source, several)
    found = with_alternatives(found, row, task.data.alternatives)
    found = _FITTED.get(task.kind, lambda found, task: found)(found, task)
    _check_scorable(found, task)
    return found


def _check_scorable(found: Example, task: Task) -> None:
    """DataError where the goal's metric cannot score a right answer."""
    metric = metrics.find(task.goal.metric, task.folder)
    if metric is None or found.unanswerable:
        return
    for right in found.accepted:
        if why := metric.fault(right):
            raise DataError(
                f"the output {right[:80]!r} {why}, so {task.goal.metric} cannot score it.",
                where=found.where,
                remedy="Fix the row, or take another goal.metric.",
            )


def _with_label(found: Example, task: Task) -> Example:
    several = label_sets.split(found.output, task.labels or ()) if task.multilabel else None
    label = found.output.strip()
    for one in (label,) if several is None else several:
        _check_label(one, task, found.where)
    output = label if several is None else label_sets.dump(several, tuple(task.labels or ()))
    return found if output == found.output else replace(found, output=output)


def _check_label(label: str, task: Task, where: str) -> None:
    if task.labels is not None and match_label(label, task.labels) is None:
        raise _unknown_label(label, task.labels, where)
    if task.labels is None and is_missing(label):
        raise DataError(
            f"the output is {label!r}, which data frames use for missing values.",
            where=where,
            remedy="Fill the cell, or delete the row. If it is a label, name all labels under `labels` in rung.yaml.",
        )


def _with_fields(found: Example, task: Task) -> Example:
    """Check an answer of kind extract, which is compared field by field, or call by call."""
    if task.tools:
        return _with_calls(found, tools.load(task.folder / task.tools, task.tools))
    from rung.metrics.extract import fields

    for output in found.accepted:
        if fields(output) is None:
            raise DataError(
                f"the output {output[:80]!r} is not valid JSON, but kind is extract.",
                where=found.where,
                remedy="Write it as a JSON object, or use kind: answer.",
            )
        refuse_repeated_keys(output, found.where)
    return found


def _with_calls(found: Example, listed: str) -> Example:
    """The row with its calls in one form. DataError for a tool that is not in the file, and arguments that break its schema."""
    output, *others = (tools.checked(listed, one, found.where) for one in found.accepted)
    return replace(found, output=output, references=(output, *others) if others else ())


_FITTED: dict[Kind, Callable[[Example, Task], Example]] = {"classify": _with_label, "extract": _with_fields}
"""Checks of answers by kind."""


def _unknown_label(label: str, labels: Iterable[str], where: str) -> DataError:
    from rapidfuzz import fuzz, process, utils

    known = list(labels)
    near = process.extractOne(label, known, scorer=fuzz.ratio, processor=utils.default_process, score_cutoff=60)
    hint = f"Did you mean {near[0]!r}? " if near else ""
    shown = ", ".join(known[:12]) + (f" and {len(known) - 12} more" if len(known) > 12 else "")
    return DataError(
        f"label {label!r} is not one of {shown}.",
        where=where,
        remedy=f"{hint}Fix the line or add the label to rung.yaml.",
    )
