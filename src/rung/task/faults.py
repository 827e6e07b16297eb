"""Messages for invalid task files: each error with line, value and remedy."""

from __future__ import annotations

import reprlib
from types import NoneType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from rung.errors import TaskError
from rung.task.bounds import shorten
from rung.task.reading import Node, line_of

Model = type[BaseModel]
Place = tuple[int | str, ...]

MAX_LISTED = 30
"""Errors listed in one message."""


def all_faults(error: ValidationError, tree: Node, name: str, model: Model) -> TaskError:
    """All of pydantic's errors in a task file as one TaskError, by line. `name`: of the file; `model`: the schema."""
    found = error.errors(include_url=False)
    faults = sorted({(line_of(tree, e["loc"]), *_sentence(e, model)) for e in found[:MAX_LISTED]})
    if len(found) > MAX_LISTED:
        listed = "".join(f"\n  line {line}: {what} {remedy}".rstrip() for line, what, remedy in faults)
        return TaskError(f"{len(found)} errors; the first are:{listed}", where=f"{name} line {faults[0][0]}")
    if len(faults) == 1:
        line, what, remedy = faults[0]
        return TaskError(what, where=f"{name} line {line}", remedy=remedy)
    listed = "".join(f"\n  line {line}: {what} {remedy}".rstrip() for line, what, remedy in faults)
    return TaskError(f"{len(faults)} errors.{listed}", where=f"{name} line {faults[0][0]}")


def _sentence(error: Any, model: Model) -> tuple[str, str]:
    """Message and remedy for one of pydantic's errors."""
    loc, value = error["loc"], error["input"]
    key = shorten(".".join(shorten(str(part)) for part in loc), 200)
    about = f"It means: {_description(loc, model)}"
    match error["type"]:
        case "extra_forbidden":
            return _unknown_key(loc, model)
        case "missing":
            return f"the key '{key}' is missing.", f"Add it. {about}"
        case "value_error":
            what = shorten(str(error["ctx"]["error"]), 500)
            return (f"'{key}': {what}" if key else what), ""
    if value is None:
        return f"'{key}' has no value.", about
    if loc[-1] == "at_least" and isinstance(value, int | float) and 1 < value <= 100:
        return f"'{key}' is {value!r}, but scores are between 0 and 1.", f"Did you mean {value / 100:g}?"
    return f"'{key}' is {_quoted(value)}: {error['msg'].replace('Input', 'it', 1)}.", about


_BRIEF = reprlib.Repr()
_BRIEF.maxlevel, _BRIEF.maxstring, _BRIEF.maxother, _BRIEF.maxlong = 3, 80, 80, 80


def _quoted(value: Any) -> str:
    """A value as written, cut if long."""
    return shorten(_BRIEF.repr(value), 200)


def _unknown_key(loc: Place, top: Model) -> tuple[str, str]:
    from rapidfuzz import fuzz, process

    model = _model_at(loc[:-1], top)
    assert model is not None, loc  # only a model forbids keys
    known = list(model.model_fields)
    place = f" under '{shorten('.'.join(map(str, loc[:-1])), 200)}'" if loc[:-1] else ""
    name = shorten(str(loc[-1]))
    near = process.extractOne(name, known, scorer=fuzz.ratio, score_cutoff=60)
    hint = f"Did you mean '{near[0]}'? " if near else ""
    return f"unknown key '{name}'{place}.", f"{hint}Known keys: {', '.join(known)}."


def section_of(annotation: Any) -> Model | None:
    """The model behind a key, also if it is optional; None for a plain value."""
    inner = [one for one in get_args(annotation) if one is not NoneType] if NoneType in get_args(annotation) else [annotation]
    return inner[0] if isinstance(inner[0], type) and issubclass(inner[0], BaseModel) else None


def _model_at(loc: Place, top: Model) -> Model | None:
    model, parts = top, iter(loc)
    for part in parts:
        field = model.model_fields.get(str(part))
        inner = field.annotation if field else None
        if get_origin(inner) is dict and next(parts, None) is not None:  # prices: a model's name, then its keys
            inner = get_args(inner)[1]
        found = section_of(inner)
        if found is None:
            return None
        model = found
    return model


def _description(loc: Place, top: Model) -> str:
    """The docstring of the innermost field on the path `loc`."""
    for end in range(len(loc), 0, -1):
        model = _model_at(loc[: end - 1], top)
        field = model.model_fields.get(str(loc[end - 1])) if model else None
        if field and field.description:
            return field.description
    return ""
