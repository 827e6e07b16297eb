"""rung: adapt a language model to your task with the cheapest method that measurably reaches your goal.

```python
import rung

task = rung.Task(task="Name the intent.", kind="classify", examples=frame, input="text", output="intent", goal=0.8)
climb = rung.climb(task)
climb.predictor.predict(["my card has not come"])
```

What is public is in `rung.__all__`; everything else may change.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rung.version import __version__ as __version__

if TYPE_CHECKING:
    from rung.api import (
        Answer,
        BudgetError,
        BusyError,
        DataError,
        ModelError,
        Plan,
        Predictor,
        Result,
        RungError,
        Task,
        TaskError,
        check,
        climb,
        fit,
        load,
        plan,
    )

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


def __getattr__(name: str) -> Any:
    """A public name, imported when it is first used: `import rung` stays fast (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'rung' has no attribute {name!r}")
    return getattr(import_module("rung.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
