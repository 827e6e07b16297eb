"""The Python API: everything public, reached as `rung.NAME`."""

from __future__ import annotations

from rung.api.predictor import Answer, Predictor
from rung.api.result import Plan, Result
from rung.api.run import check, climb, fit, load, plan
from rung.api.task import Task
from rung.errors import BudgetError, BusyError, DataError, ModelError, RungError, TaskError

__all__ = [
    "Answer",
    "BudgetError",
    "BusyError",
    "DataError",
    "ModelError",
    "Plan",
    "Predictor",
    "Result",
    "RungError",
    "Task",
    "TaskError",
    "check",
    "climb",
    "fit",
    "load",
    "plan",
]
