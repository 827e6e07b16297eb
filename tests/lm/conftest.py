"""Tiny models in memory, each opened once for the whole run."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from rung.lm.base import Prompt
from rung.lm.models.load import Loaded, load
from rung.machine import Machine
from rung.types import Message


@pytest.fixture(scope="session")
def loaded(base: Callable[[str], Path], machine: Machine) -> Callable[[str], Loaded]:
    """`loaded("gemma3")`: opened as users open it, float32, evaluating. Not to be trained: it is shared."""
    return cache(lambda kind: load(base(kind), machine))


@pytest.fixture
def fresh(base: Callable[[str], Path], machine: Machine) -> Callable[[str], Loaded]:
    """A model of one's own, to train."""
    return lambda kind: load(base(kind), machine)


@pytest.fixture(scope="session")
def exact(loaded: Callable[[str], Loaded]) -> Callable[[str], tuple]:
    """The model in float64 over trees, and the same weights with plain attention: what is left is logic, not rounding."""

    @cache
    def made(kind: str) -> tuple:
        tree = copy.deepcopy(loaded(kind).model).double()
        plain = copy.deepcopy(tree)
        plain.set_attn_implementation("sdpa")  # eager softmax is in float32, where float64 masks overflow
        return tree, plain

    return made


@pytest.fixture(scope="session")
def ask() -> Callable[..., Prompt]:
    def made(text: str, system: str = "answer with one of these labels") -> Prompt:
        return Prompt((Message("system", system), Message("user", text)), text)

    return made
