"""What an option may be: its type and bounds, checked whenever a method is made, and put into words for docs and errors.

The bounds are those of `annotated_types`, so `Annotated[int, Ge(1), Le(8)]` works as well as the names below.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import TypeAdapter, ValidationError

from rung.errors import TaskError

Count = Annotated[int, Ge(1)]
"""How many, where none makes no sense."""

Natural = Annotated[int, Ge(0)]
"""How many, where 0 has a meaning: none, or a number that the method chooses."""

Rate = Annotated[float, Gt(0)]
"""A factor that changes nothing at 0, such as a learning rate."""

Weight = Annotated[float, Ge(0)]
"""A factor that switches its term off at 0."""

Share = Annotated[float, Ge(0), Le(1)]
"""A part of a whole."""

Part = Annotated[float, Ge(0), Lt(1)]
"""A part of a whole that must leave something over."""

LARGEST = 2**53
"""Whole numbers beyond this have no exact float, and nothing has so many."""


@cache
def types(of: type) -> Mapping[str, Any]:
    """The options of a class of methods, by name, with the types and bounds that they are annotated with."""
    hints = get_type_hints(of, include_extras=True)
    return {field.name: hints[field.name] for field in fields(of)}


def checked(of: type, given: Mapping[str, Any], where: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The values given, each as its option's type: a list as a tuple, a whole number as a float.

    TaskError at `where`.OPTION for a value of another type or outside the bounds.
    """
    found = {}
    for name, value in given.items():
        try:
            found[name] = _value(types(of)[name], value)
        except ValueError as error:
            remedy = f"The default is {shown(defaults[name])}."
            raise TaskError(f"{name} {error}, got {value!r}.", where=f"{where}.{name}", remedy=remedy) from None
    return found


def describe(kind: Any) -> str:
    """What a type with its bounds takes, in words: a whole number of at least 1."""
    if get_origin(kind) is Annotated:
        inner, *marks = get_args(kind)
        bounds = _bounds(marks)
        return f"{describe(inner)}{', ' if get_origin(inner) is tuple else ' of ' if bounds.startswith('at') else ' '}{bounds}"
    if kind in WORDS:
        return WORDS[kind]
    match get_origin(kind):
        case x if x is Literal:
            return _either([repr(one) for one in get_args(kind)])
        case x if x in (Union, UnionType):
            return _either([describe(one) for one in get_args(kind)])
        case x if x is tuple:
            return f"a list, each {describe(get_args(kind)[0])}"
    return getattr(kind, "__name__", str(kind))


WORDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text", NoneType: "nothing"}


def shown(value: Any) -> str:
    """A value as rung.yaml has it, about."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "nothing"}[value]
    return repr(list(value) if isinstance(value, tuple) else value)


def _value(kind: Any, value: Any) -> Any:
    """The value as this type. ValueError that says what it must be."""
    if get_origin(kind) is Annotated:
        inner, *marks = get_args(kind)
        try:
            found = _value(inner, value)
        except ValueError as error:
            of_type = str(error) == f"must be {describe(inner)}"
            raise ValueError(f"must be {describe(kind)}" if of_type else str(error)) from None
        if not all(_within(mark, found) for mark in marks):
            raise ValueError(f"must be {_bounds(marks)}")
        return found
    match get_origin(kind):
        case x if x in (Union, UnionType):
            return _first(kind, value)
        case x if x is tuple:
            if isinstance(value, str) or not isinstance(value, Sequence):
                raise ValueError(f"must be {describe(kind)}")
            return tuple(_value(get_args(kind)[0], one) for one in value)
    return _plain(kind, value)


def _plain(kind: Any, value: Any) -> Any:
    must = ValueError(f"must be {describe(kind)}")
    if kind is int or kind is float:
        return _number(kind, value, must)
    if kind in (bool, str):
        if not isinstance(value, kind):
            raise must
        return value
    if get_origin(kind) is Literal:
        if not any(value == one and type(value) is type(one) for one in get_args(kind)):
            raise must
        return value
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"must be {describe(kind)} ({error.errors()[0]['msg']})") from None


def _number(kind: type[int] | type[float], value: Any, must: ValueError) -> int | float:
    if isinstance(value, bool) or not isinstance(value, Integral if kind is int else Real):
        raise must
    if isinstance(value, Integral) and abs(int(value)) > LARGEST:
        raise ValueError(f"must be at most {LARGEST}")
    if not math.isfinite(value):
        raise ValueError("must be a finite number")
    return int(value) if isinstance(value, Integral) and kind is int else float(value)


def _first(kind: Any, value: Any) -> Any:
    """The value as the first of several types that takes it; the error is that of the closest one."""
    faults = []
    for one in get_args(kind):
        try:
            return _value(one, value)
        except ValueError as error:
            faults.append(error)
    outside = [fault for one, fault in zip(get_args(kind), faults) if str(fault) != f"must be {describe(one)}"]
    number = isinstance(value, Real) and not isinstance(value, bool)
    raise outside[0] if outside and number else ValueError(f"must be {describe(kind)}")


def _within(mark: Any, value: Any) -> bool:
    match mark:
        case Ge(least):
            return bool(value >= least)
        case Gt(floor):
            return bool(value > floor)
        case Le(most):
            return bool(value <= most)
        case Lt(ceiling):
            return bool(value < ceiling)
        case MinLen(least):
            return len(value) >= least
    raise TypeError(f"an option cannot be bounded by {mark!r}")


def _bounds(marks: Sequence[Any]) -> str:
    low = next((one for one in marks if isinstance(one, Ge | Gt)), None)
    high = next((one for one in marks if isinstance(one, Le | Lt)), None)
    if isinstance(low, Ge) and isinstance(high, Le):
        return f"between {low.ge} and {high.le}"
    words = [f"at least {one.ge}" if isinstance(one, Ge) else f"above {one.gt}" for one in (low,) if one]
    words += [f"at most {one.le}" if isinstance(one, Le) else f"below {one.lt}" for one in (high,) if one]
    words += [f"at least {one.min_length} long" for one in marks if isinstance(one, MinLen)]
    return " and ".join(words)


def _either(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}" if len(words) > 1 else words[0]
