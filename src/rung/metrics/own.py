"""Custom metrics: a function in a Python file of the task folder, named as `metrics.py:score`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from rung.errors import TaskError
from rung.types import Example, digest

ALLOW_OUTSIDE = "RUNG_CODE_OUTSIDE"
"""Environment variable; `1` allows code outside the task folder."""

PerRow = Callable[[str, str, Example], float]


def load(name: str, folder: Path) -> PerRow:
    """The function named by `file.py:function`, the file relative to the task folder, wrapped so that errors are reported.

    The function is called as `function(output, reference, row)`, where row is a dict of the row's columns with `input` and
    `output`, and returns a number from 0 to 1 or a bool. It is called once per right answer (`output` is that one,
    `references` are all), and the best score counts. The file is executed: it is the team's code.
    """
    attribute, path = name.rpartition(":")[2], locate(name, folder)
    function = getattr(_module(name, path), attribute, None)
    if not callable(function):
        raise _fault(f"there is no function {attribute!r} in {path}.", "Name an existing function.")

    def per_row(output: str, reference: str, example: Example) -> float:
        several = {"references": list(example.references)} if example.references else {}
        row = {**several, **example.extra, "input": example.input, "output": reference}
        try:
            value = function(output, reference, row)
        except Exception as error:
            message = f"{name} raised {type(error).__name__}: {error}{_at(example)}."
            raise _fault(message, f"It was given the output {output[:80]!r} and the reference {reference[:80]!r}.") from error
        return _checked(value, name, example)

    return per_row


def content_digests(name: str, folder: Path) -> list[str]:
    """Digest of the file of a custom metric or reward; empty for built-in names."""
    if ":" not in name:
        return []
    path = locate(name, folder)
    return [digest(path.read_text(encoding="utf-8"))] if path.is_file() else []


def locate(name: str, folder: Path) -> Path:
    """The file of `file.py:function`. TaskError if it is outside the task folder, also through a link.

    Code inside a received task folder can be inspected; a path that leads out would run a file that nobody inspected.
    `RUNG_CODE_OUTSIDE=1` allows it.
    """
    path = folder / name.rpartition(":")[0]
    real = path.resolve()
    if not real.is_relative_to(folder.resolve()) and os.environ.get(ALLOW_OUTSIDE) != "1":
        raise _fault(
            f"{name!r} names code outside the task folder: {real}.",
            f"Put the file into {folder}, or set {ALLOW_OUTSIDE}=1 if you know what it holds.",
        )
    return path


def _module(name: str, path: Path) -> ModuleType:
    if not path.is_file():
        raise _fault(f"{name!r} names a missing file: {path}.", "Write it relative to the task folder.")
    unique = f"rung_own_{digest(str(path.resolve()))}"
    if path.suffix != ".py":
        raise _fault(f"{path} is not a Python file.", "Its name must end in .py.")
    module = ModuleType(unique)
    module.__file__ = str(path)
    sys.modules[unique] = module  # dataclasses look up their module during execution
    try:
        # importing could run unreadable compiled code from __pycache__
        exec(compile(path.read_bytes(), str(path), "exec"), module.__dict__)
    except Exception as error:
        del sys.modules[unique]
        raise _fault(f"{path} cannot be run: {type(error).__name__}: {error}.", "Fix the file.") from error
    return module


def _checked(value: Any, name: str, example: Example) -> float:
    number = value.item() if isinstance(value, np.generic) else value
    if not isinstance(number, bool | int | float) or not 0 <= number <= 1:  # also catches NaN
        raise _fault(f"{name} returned {value!r}{_at(example)}.", "Return a number from 0 to 1, or True or False.")
    return float(number)


def _at(example: Example) -> str:
    return f" on {example.where}" if example.where else ""


def _fault(what: str, remedy: str) -> TaskError:
    return TaskError(what, where="rung.yaml goal.metric", remedy=remedy)
