"""A task from its folder: rung.yaml is read, checked against the schema, and the files that it names are looked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from rung.errors import TaskError
from rung.task import limits
from rung.task.bounds import shorten
from rung.task.faults import all_faults
from rung.task.reading import line_of, read_yaml
from rung.task.schema import Task
from rung.task.sections import Data

FILE_NAME = "rung.yaml"


def load_task(folder: Path) -> Task:
    """Load the task in `folder` (or a YAML file). All errors are reported in one TaskError."""
    path = Path(folder)
    path = path / FILE_NAME if path.is_dir() else path
    tree, raw = read_yaml(path)
    try:
        task = Task.model_validate(raw)
    except ValidationError as error:
        raise all_faults(error, tree, path.name, Task) from None
    task._folder = path.parent.resolve()
    for loc, names in _files(task):
        for name, what in limits.plain_files(task._folder, names):
            where = f"{path.name} line {line_of(tree, loc)}"
            raise TaskError(
                f"'{'.'.join(loc)}': {shorten(name)!r} {what}.", where=where, remedy="Name a regular file or a folder."
            )
    return task


def _files(task: Task) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Keys that name files, with the names."""
    for key in Data.model_fields:
        value = getattr(task.data, key)
        if isinstance(value, tuple):
            yield ("data", key), value
    if task.tools:
        yield ("tools",), (task.tools,)
    if task.judge:
        yield ("judge", "marked"), task.judge.marked
        yield ("judge", "rubric_file"), tuple(filter(None, [task.judge.rubric_file]))
