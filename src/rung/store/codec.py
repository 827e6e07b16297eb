"""Stored values from their JSON. pydantic reads the types as they are declared; a missing key takes its default."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from rung.decisions import Decision
from rung.types import Forgetting, Prediction, Record, Scores

T = TypeVar("T")


def adapter(kind: type[T]) -> TypeAdapter[T]:
    """The cached reader of a type; building one takes milliseconds."""
    found: TypeAdapter[T] = _adapter(kind)  # type: ignore[arg-type]
    return found


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def from_lines(kind: type[T], lines: Sequence[bytes]) -> list[T | None]:
    """A value from each line of JSON; None for an invalid line, or one with a lone surrogate, which only Python's parser reads.

    All lines are parsed as one list, in two thirds of the time; line by line only if one is invalid.
    """
    try:
        return _adapter(list[kind]).validate_json(b"[" + b",".join(lines) + b"]")  # type: ignore[valid-type]
    except ValidationError:
        return [_from_line(kind, line) for line in lines]


def _from_line(kind: type[T], line: bytes) -> T | None:
    try:
        return adapter(kind).validate_json(line)
    except ValidationError:
        return None


def decision(content: dict[str, Any]) -> Decision:
    """A Decision from its JSON. ValueError if it is none."""
    return adapter(Decision).validate_python(content)


def record(content: dict[str, Any]) -> Record:
    """A Record from its JSON. ValueError if it is none."""
    return adapter(Record).validate_python(content)


def forgetting(content: dict[str, Any]) -> Forgetting:
    """Forgetting from its JSON. ValueError if it is none."""
    return adapter(Forgetting).validate_python(content)


def prediction(content: dict[str, Any]) -> Prediction:
    """A Prediction from its JSON. ValueError if it is none."""
    return adapter(Prediction).validate_python(content)


def scores(content: dict[str, Any]) -> Scores:
    """Scores from their JSON. ValueError if they are none."""
    return adapter(Scores).validate_python(content)
