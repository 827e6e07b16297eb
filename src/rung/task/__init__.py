"""rung.yaml: its schema, its parser, and its error messages."""

from __future__ import annotations

from rung.task.schema import Data, Task, TaskNeeds, load_task

__all__ = ["Data", "Task", "TaskNeeds", "load_task"]
