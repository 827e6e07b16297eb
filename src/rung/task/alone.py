"""A task made of documents alone: no rung.yaml, no rows, and so nothing that could be measured."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from rung.errors import TaskError
from rung.task.loading import FILE_NAME
from rung.task.schema import Task

INSTRUCTION = "Answer the question from the documents in a few words."


def is_task(folder: Path) -> bool:
    """Whether a path is a task: a folder with a rung.yaml, or such a file."""
    return (folder / FILE_NAME).is_file() or (folder.is_file() and folder.suffix in (".yaml", ".yml"))


def documents_alone(place: Path, base: str = "") -> Task:
    """The task of answering from a folder of documents, or from one document.

    `base`: the model that answers, by default the usual one. TaskError where there is neither.
    """
    if not place.exists():
        raise TaskError("there is no such folder.", where=str(place), remedy="Name a task's folder, or a folder of documents.")
    whole = place.is_dir()
    data = {"documents": "." if whole else place.name, "examples": "none"}
    given = {"task": INSTRUCTION, "kind": "answer", "goal": {"at_least": 0}, "data": data, **({"base": base} if base else {})}
    try:
        task = Task.model_validate(given)
    except ValidationError as error:
        raise TaskError(f"{error.errors()[0]['msg']}", where=base or str(place), remedy="Name another one.") from None
    task = task.model_copy(update={"data": task.data.model_copy(update={"examples": ()})})  # a task file must name rows
    task._folder = (place if whole else place.parent).resolve()
    return task
