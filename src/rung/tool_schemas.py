"""What the JSON schemas of tools say about objects: the fields that one may have, and the order in which they are written.

OpenAI's files rarely say that an object has no further fields, so one that lists its fields is closed here. A schema that is a
part of a larger one (in `allOf`, or beside other keywords) stays open: the whole is closed to the fields of all its parts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

OPEN = ("additionalProperties", "patternProperties", "unevaluatedProperties", "if", "then", "else", "dependentSchemas")
"""Keywords that say themselves which further fields an object has."""
EITHER = ("anyOf", "oneOf")
PARTS = ("$ref", "allOf", *EITHER)
NAMED = ("properties", "patternProperties", "$defs", "definitions")
"""Keywords whose value has a schema of its own under each name."""
LISTED = ("allOf", *EITHER, "prefixItems")
SINGLE = ("items", "additionalProperties")


def closed(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its objects closed to the fields that it names, unless it says otherwise itself."""
    parts: set[int] = set()
    _mark(schema, False, schema, parts, set())
    found: dict[str, Any] = _closed(schema, schema, parts)
    return found


def ordered(schema: Any, value: Any, fits: Callable[[Any, Any], bool], root: Any = None) -> Any:
    """A value with the fields of its objects in the order of their schema, which constrained decoding keeps to.

    `fits`: whether a value follows a schema; of alternatives, the first that it follows gives the order.
    """
    root = schema if root is None else root
    if isinstance(value, list):
        return [ordered(_items(schema, root), one, fits, root) for one in value]
    if not isinstance(value, dict):
        return value
    shapes: dict[str, Any] = {}
    for name, shape in _fields(schema, root, lambda branches: [one for one in branches if fits(one, value)][:1]):
        if shapes.get(name) in (None, True):  # closing adds a bare name to what a part says of it
            shapes[name] = shape
    names = [*(name for name in shapes if name in value), *(name for name in value if name not in shapes)]
    return {name: ordered(shapes.get(name), value[name], fits, root) for name in names}


def moved(schema: Any, to: str) -> Any:
    """The schema with its references to itself, for another place in a larger one."""
    if isinstance(schema, list):
        return [moved(one, to) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: to + value[1:] if key == "$ref" and isinstance(value, str) and value.startswith("#") else moved(value, to)
        for key, value in schema.items()
    }


def _closed(schema: Any, root: Any, parts: set[int]) -> Any:
    if not isinstance(schema, dict):
        return schema
    inner = {}
    for key, value in schema.items():
        if key in NAMED and isinstance(value, dict):
            value = {name: _closed(one, root, parts) for name, one in value.items()}
        elif key in LISTED and isinstance(value, list):
            value = [_closed(one, root, parts) for one in value]
        elif key in SINGLE:
            value = _closed(value, root, parts)
        inner[key] = value
    if id(schema) in parts or (_single(schema) and not any(id(one) in parts for one in _below(schema, root))):
        return inner  # the whole closes it, or what it consists of is closed itself
    every = list(_every(schema, root))
    if any(key in one for one in every for key in OPEN) or not any("properties" in one for one in every):
        return inner
    own, names = inner.get("properties", {}), dict.fromkeys((name for name, _ in _fields(schema, root)), True)
    return {**inner, "properties": own | names | own, "additionalProperties": False}  # its own first, in their order


def _mark(schema: Any, part: bool, root: Any, parts: set[int], seen: set[tuple[int, bool]]) -> None:
    """Collect the schemas that are parts of others, whose objects may have fields that stand elsewhere."""
    if not isinstance(schema, dict) or (id(schema), part) in seen:
        return
    seen.add((id(schema), part))
    if part:
        parts.add(id(schema))
    beside = part or not _single(schema)
    for one in _below(schema, root):
        _mark(one, beside, root, parts, seen)
    for key in NAMED:
        for one in schema[key].values() if isinstance(schema.get(key), dict) else ():
            _mark(one, False, root, parts, seen)
    for one in [*(schema.get(key) for key in SINGLE), *(schema.get("prefixItems") or ())]:
        _mark(one, False, root, parts, seen)


def _single(schema: dict[str, Any]) -> bool:
    """Whether one reference, or one of several alternatives, is all that it says about fields."""
    keys = [key for key in ("properties", *OPEN, *PARTS) if key in schema]
    return len(keys) == 1 and keys[0] in PARTS and (keys[0] != "allOf" or len(schema["allOf"]) == 1)


def _below(schema: dict[str, Any], root: Any) -> list[Any]:
    """The schemas that it consists of."""
    listed = [one for key in ("allOf", *EITHER) for one in schema.get(key) or ()]
    return [*listed, *([_at(root, schema["$ref"])] if "$ref" in schema else [])]


def _every(schema: Any, root: Any, within: tuple[int, ...] = ()) -> Iterator[dict[str, Any]]:
    """The schema and all that it consists of."""
    if isinstance(schema, dict) and id(schema) not in within:
        yield schema
        for one in _below(schema, root):
            yield from _every(one, root, (*within, id(schema)))


def _fields(
    schema: Any, root: Any, either: Callable[[Any], Any] = lambda branches: branches, within: tuple[int, ...] = ()
) -> Iterator[tuple[str, Any]]:
    """Fields with their schemas, in the order in which decoding writes them. `either`: the alternatives that are taken."""
    if not isinstance(schema, dict) or id(schema) in within:
        return
    for key, value in schema.items():
        if key == "properties":
            yield from value.items()
        some = [_at(root, value)] if key == "$ref" else either(value) if key in EITHER else value if key == "allOf" else ()
        for one in some:
            yield from _fields(one, root, either, (*within, id(schema)))


def _items(schema: Any, root: Any) -> Any:
    return next((one["items"] for one in _every(schema, root) if "items" in one), None)


def _at(root: Any, reference: str) -> Any:
    """The place that a reference names; None for one outside, which is an error elsewhere."""
    found = root
    for step in unquote(reference).split("/")[1:] if reference.startswith("#") else ():
        step = step.replace("~1", "/").replace("~0", "~")
        found = found[int(step)] if isinstance(found, list) else found[step]
    return found if reference.startswith("#") else None
