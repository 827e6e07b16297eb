"""rung.yaml: its keys, how it is read, and what is told where something is wrong in it."""

from __future__ import annotations

from rung.task.schema import Data, Task, TaskNeeds, load_task

__all__ = ["Data", "Task", "TaskNeeds", "load_task"]
