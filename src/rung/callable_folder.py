"""Folders of the code that are functions of the API as well: `rung.climb(task)` and `rung.plan(task)`.

Importing `rung.climb.fit` binds the name `climb` of `rung` to the folder, whatever stood there before. So the folder itself
can be called, and does what the function of its name in `rung.api` does.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from importlib import import_module
from types import ModuleType
from typing import Any


class CallableFolder(ModuleType):
    """A package that can be called."""

    def __call__(self, *given: Any, **named: Any) -> Any:
        return _function(self)(*given, **named)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(_function(self))


def make_callable(package: str) -> None:
    """Let a package of `rung` be called; its own `__init__` says so."""
    sys.modules[package].__class__ = CallableFolder


def _function(package: ModuleType) -> Callable[..., Any]:
    return getattr(import_module("rung.api"), package.__name__.rpartition(".")[2])
