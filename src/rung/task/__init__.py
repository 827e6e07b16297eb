"""rung.yaml: its schema, its parser, and its error messages."""

from __future__ import annotations

from rung.task.loading import load_task
from rung.task.schema import Task
from rung.task.sections import Data, TaskNeeds

__all__ = ["Data", "Task", "TaskNeeds", "load_task"]
