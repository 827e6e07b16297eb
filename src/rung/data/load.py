"""From a task's paths to its Examples: files and folders read, rows checked, all faults of the rows told at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rung.data.answers import answers
from rung.data.files import READERS, read_rows
from rung.data.finding import Finding
from rung.data.folders import shards
from rung.data.formats import Form, example, form_of
from rung.data.json_rows import refuse_repeated_keys
from rung.data.rows import FAULTS_READ, Row, together
from rung.data.spelling import is_missing, join_groups, join_labels, known
from rung.errors import DataError
from rung.task import Task
from rung.types import Example, Kind, Split


@dataclass(frozen=True, slots=True)
class Loaded:
    """The rows as the team gave them. A split of None was not given and is carved from `train`."""

    train: tuple[Example, ...]
    dev: tuple[Example, ...] | None = None
    test: tuple[Example, ...] | None = None
    findings: tuple[Finding, ...] = ()
    """What was evened out on the way."""


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    label: str
    """The path as rung.yaml writes it."""


def load(task: Task) -> Loaded:
    """All rows of the task. DataError names file, line, value and remedy; several bad rows come in one error."""
    if task.data.examples:
        files = _by_split(task, task.data.examples)
        files["train"] = files.pop(None, []) + files.get("train", [])
    else:
        files = {key: _for_split(task, key) for key in ("train", "dev", "test")}
    if not files["train"]:
        raise DataError(
            f"no file is named for training; there are {', '.join(str(key) for key, some in files.items() if some)}.",
            where=", ".join(task.data.examples),
            remedy="Name the files under data.train, data.dev and data.test.",
        )
    dev, test = files.get("dev"), files.get("test")
    faults: list[DataError] = []
    parts = [_examples(part, task, faults) if part else None for part in (files["train"], dev, test)]
    if faults:
        raise together(
            faults, ", ".join(dict.fromkeys(fault.where.partition(" line ")[0].partition(" row ")[0] for fault in faults))
        )
    parts, labels = join_labels(parts, task.labels) if task.kind == "classify" else (parts, ())
    parts, groups = join_groups(parts)
    return Loaded(parts[0] or (), parts[1], parts[2], (*labels, *groups))


def _by_split(task: Task, given: Iterable[str]) -> dict[Split | None, list[_File]]:
    found: dict[Split | None, list[_File]] = {}
    for label in given:
        path = task.folder / label
        if not path.is_dir():
            found.setdefault(None, []).append(_File(path, label))
            continue
        for split, paths in shards(path, READERS).items():
            files = [_File(p, str(Path(label) / p.relative_to(path))) for p in paths]
            found.setdefault(split, []).extend(files)
    return found


def _for_split(task: Task, key: Split) -> list[_File]:
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


def _examples(files: Iterable[_File], task: Task, faults: list[DataError]) -> tuple[Example, ...]:
    """The rows that can be used; `faults` takes those of the others."""
    return tuple(one for file in files for one in _file_examples(file, task, faults))


def _file_examples(file: _File, task: Task, faults: list[DataError]) -> Iterator[Example]:
    form = None
    before = len(faults)
    try:
        for row, where in read_rows(file.path, file.label):
            form = form or form_of(row.keys(), task.data, where)
            try:
                yield _example(row, where, form, task)
            except DataError as fault:
                faults.append(fault)
                if len(faults) - before >= FAULTS_READ:
                    return
    except DataError as fault:  # of the file itself, or of rows that its reader could not take apart
        faults.append(fault)
    if form is None and len(faults) == before:
        faults.append(DataError("there are no rows.", where=file.label, remedy="Give a file with at least some rows."))


def _example(row: Row, where: str, form: Form, task: Task) -> Example:
    several = answers(row, form.output, task, where) if form.output else None
    found = example(row, where, form, task.data.group, task.data.source, several)
    return _FITTED.get(task.kind, lambda found, task: found)(found, task)


def _with_label(found: Example, task: Task) -> Example:
    label = found.output.strip()
    if task.labels is not None and known(label, task.labels) is None:
        raise _unknown_label(label, task.labels, found.where)
    if task.labels is None and is_missing(label):
        raise DataError(
            f"the output is {label!r}, which data frames write for a missing value.",
            where=found.where,
            remedy="Fill the cell, or delete the row. Where it is a label, name all labels under `labels` in rung.yaml.",
        )
    if label == found.output:
        return found
    return replace(found, output=label)


def _with_fields(found: Example, task: Task) -> Example:
    """An answer of kind extract, which is compared field by field."""
    from rung.metrics.extract import fields

    for output in found.accepted:
        if fields(output) is None:
            raise DataError(
                f"the output {output[:80]!r} is no JSON, and kind is extract.",
                where=found.where,
                remedy="Write it as a JSON object, or say kind: answer.",
            )
        refuse_repeated_keys(output, found.where)
    return found


_FITTED: dict[Kind, Callable[[Example, Task], Example]] = {"classify": _with_label, "extract": _with_fields}
"""What an answer of a kind is held to."""


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
