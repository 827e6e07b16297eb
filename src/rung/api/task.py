"""`rung.Task`: a task given in Python, or read from its folder."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from rung.api import tables, written
from rung.api.notices import notice
from rung.api.tables import Table
from rung.errors import TaskError
from rung.task.loading import load_task
from rung.task.schema import Task as Settings
from rung.task.sections import Data, Goal
from rung.types import Kind

PathLike: TypeAlias = str | os.PathLike[str]
Rows: TypeAlias = Table | PathLike | Sequence[PathLike]

ROWS = ("examples", "train", "dev", "test", "preferences", "unlabelled")
"""Keys of `data` that take a table; all of them take files as well."""
FILES = ("corpus", "general", "documents")


class Task:
    """What is to be done, on which rows, and what is good enough: a task folder, written from Python.

    A climb stores what it measures beside its task, so a task lives in a folder: `rung.yaml`, `data/*.jsonl` and later `.rung/`.
    Every command of the command line works on it. The same task given again finds its folder again, and a climb resumes; with
    other rows or settings the folder is written again, and only what depends on the change is measured again.

    ```python
    rung.Task(task="Name the intent.", kind="classify", examples=frame, input="text", output="intent", goal={"accuracy": 0.8})
    ```
    """

    def __init__(
        self,
        task: str,
        kind: Kind,
        *,
        goal: float | Mapping[str, Any],
        examples: Rows | None = None,
        train: Rows | None = None,
        dev: Rows | None = None,
        test: Rows | None = None,
        folder: PathLike | None = None,
        **settings: Any,
    ):
        """Write the task into its folder and check it.

        Args:
            task: The instruction, as you would give it to a person.
            kind: `classify`, `extract`, `answer` or `generate`.
            goal: What is good enough: `0.8`, `{"accuracy": 0.8}`, or with limits `{"accuracy": 0.8, "latency_ms": 500}`.
            examples: All rows; rung splits them. A DataFrame, a `datasets.Dataset`, a list of dicts, or names of files.
            train: Instead of `examples`: the rows to learn from. Dev and test rows are carved from them where not given.
            dev: The rows to decide on.
            test: The rows that stay sealed until a rung meets the goal.
            folder: Where the task is written; by default `rung-tasks/` and the words of the instruction.
            settings: Any other key of rung.yaml (`base`, `labels`, `rungs`, `budget`, …) or of its `data`
                (`input`, `output`, `documents`, `source`, …). Paths are relative to the working folder.

        Raises:
            TaskError: A setting is wrong, or the folder holds a task that was not written from here.
            DataError: A cell is not text, a number, a date, a list or a dict.
        """
        place = Path(folder) if folder is not None else written.default_folder(task)
        given = {"examples": examples, "train": train, "dev": dev, "test": test} | settings
        data: dict[str, Any] = {}
        found: dict[str, list[dict[str, Any]]] = {}
        for key in [key for key in given if key in Data.model_fields]:
            value = given.pop(key)
            if value is None:
                continue
            if key in ROWS and tables.is_table(value):
                found[key] = tables.rows(value, key)
                value = [f"data/{key}.jsonl"]
            elif key in (*ROWS, *FILES):
                value = _files(value, place)
            data[key] = value
        if "data" in given:
            raise TaskError("`data` is given.", where="rung.Task", remedy="Give its keys by themselves: examples=, input=, …")
        content = {"task": task, "kind": kind, "data": data, "goal": _goal(goal), **_plain(given)}
        self._settings = written.write(place, content, found)
        if folder is None:
            notice(f"The task is in {place}.")

    @classmethod
    def load(cls, folder: PathLike) -> Task:
        """The task in a folder that has a rung.yaml, written by hand or by `rung init`. TaskError where there is none."""
        found = cls.__new__(cls)
        found._settings = load_task(Path(folder))
        return found

    @property
    def folder(self) -> Path:
        """Where rung.yaml, the rows and the records are."""
        return self._settings.folder

    @property
    def settings(self) -> Settings:
        """Everything that rung.yaml says, defaults filled in; frozen."""
        return self._settings

    def __repr__(self) -> str:
        return f"Task({self._settings.task!r}, {self._settings.kind!r}, folder={str(self.folder)!r})"


def _goal(goal: float | Mapping[str, Any]) -> dict[str, Any]:
    """A goal as rung.yaml has it: a metric's name may stand in place of `metric` and `at_least`."""
    if not isinstance(goal, Mapping):
        return {"at_least": goal}
    named = [key for key in goal if key not in Goal.model_fields]
    if len(named) == 1 and not {"metric", "at_least"} & set(goal):
        return {"metric": named[0], "at_least": goal[named[0]]} | {key: goal[key] for key in goal if key != named[0]}
    return dict(goal)


def _plain(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as rung.yaml has them, without those that are not given."""
    return {key: _value(value) for key, value in settings.items() if value is not None}


def _value(value: Any) -> Any:
    """A setting; a folder of the working folder (a model) is named from the root, since the task lies elsewhere."""
    if isinstance(value, os.PathLike) or (isinstance(value, str) and "/" in value and Path(value).is_dir()):
        return str(Path(value).resolve())
    return [_value(one) for one in value] if isinstance(value, list | tuple) else value


def _files(given: PathLike | Sequence[PathLike], folder: Path) -> list[str]:
    """Paths of the working folder as rung.yaml in `folder` names them."""
    paths = [given] if isinstance(given, str | os.PathLike) else given
    return [str(path) if Path(path).is_absolute() else Path(os.path.relpath(path, folder)).as_posix() for path in paths]
