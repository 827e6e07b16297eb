"""The team's own metric: a function in a Python file beside the task, named as `metrics.py:score`."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from rung.errors import TaskError
from rung.types import Example, digest

PerRow = Callable[[str, str, Example], float]


def load(name: str, folder: Path) -> PerRow:
    """The function named by `file.py:function`, the file relative to the task folder, wrapped so that faults are told.

    The function is called as `function(output, reference, row)`, row being a dict of the row's columns with `input` and
    `output`, and returns a number from 0 to 1 or a bool. The file is run as it stands: it is the team's code.
    """
    file, _, attribute = name.rpartition(":")
    function = getattr(_module(name, folder / file), attribute, None)
    if not callable(function):
        raise _fault(f"there is no function {attribute!r} in {folder / file}.", "Name one that is there.")

    def per_row(output: str, reference: str, example: Example) -> float:
        row = {**example.extra, "input": example.input, "output": example.output}
        try:
            value = function(output, reference, row)
        except Exception as error:
            told = f"{name} raised {type(error).__name__}: {error}{_at(example)}."
            raise _fault(told, f"It was given the output {output[:80]!r} and the reference {reference[:80]!r}.") from error
        return _checked(value, name, example)

    return per_row


def contents(name: str, folder: Path) -> list[str]:
    """Content name of the file that holds a metric or a reward of the team's own; empty for a name of the table."""
    file, own, _ = name.rpartition(":")
    return [digest((folder / file).read_text(encoding="utf-8"))] if own and (folder / file).is_file() else []


def _module(name: str, path: Path) -> ModuleType:
    if not path.is_file():
        raise _fault(f"{name!r} names a file that is not there: {path}.", "Write it relative to the task folder.")
    unique = f"rung_own_{digest(str(path.resolve()))}"
    spec = importlib.util.spec_from_file_location(unique, path)
    if spec is None or spec.loader is None:
        raise _fault(f"{path} is no Python file.", "Its name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[unique] = module  # dataclasses look their module up here while it is being run
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[unique]
        raise _fault(f"{path} cannot be run: {type(error).__name__}: {error}.", "Mend the file.") from error
    return module


def _checked(value: Any, name: str, example: Example) -> float:
    number = value.item() if isinstance(value, np.generic) else value
    if not isinstance(number, bool | int | float) or not 0 <= number <= 1:  # NaN is caught too: it compares false
        raise _fault(f"{name} returned {value!r}{_at(example)}.", "Return a number from 0 to 1, or True or False.")
    return float(number)


def _at(example: Example) -> str:
    return f" on {example.where}" if example.where else ""


def _fault(what: str, remedy: str) -> TaskError:
    return TaskError(what, where="rung.yaml goal.metric", remedy=remedy)
