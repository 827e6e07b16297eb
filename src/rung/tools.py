"""Tools that a model may call: the task's file of them, the checks of calls, and the JSON schema that calls are written by.

The file is OpenAI's list, `[{"type": "function", "function": {"name": …, "description": …, "parameters": {…}}}]`, where
`parameters` is a JSON schema. Schemas are checked with jsonschema, which is in the extra `json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

from rung import calls, tool_schemas
from rung.errors import DataError, RungError, TaskError
from rung.visible import visible

FORM = '{"type": "function", "function": {"name": …, "parameters": {…}}}'
NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}
NAMED = ("$anchor", "$dynamicAnchor", "$dynamicRef")
"""Keywords of references by name, which do not survive the move into the schema of an answer."""
IN_TEXT = (
    "Answer with tool calls alone, as a JSON list:"
    ' [{"name": "TOOL", "arguments": {"ARGUMENT": "VALUE"}}]. If no tool is to be called, answer []. The tools:'
)


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools of a Predictor."""

    listed: str
    """OpenAI's list, as JSON."""
    in_text: bool = False
    """Whether the prompt lists them and calls are written as plain JSON, because the chat template has no form for them."""

    @property
    def instruction(self) -> str:
        """What the prompt says where the template has no form for tools."""
        return "\n".join([IN_TEXT, *(json.dumps(one["function"], ensure_ascii=False) for one in json.loads(self.listed))])


def load(path: Path, label: str) -> str:
    """The tools of a file, as `Tools.listed`. TaskError for a file that has none, or a tool without a name or a valid schema."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise TaskError(f"the tools cannot be read: {error}.", where=label, remedy="Name a JSON file under `tools`.") from None
    return _listed(text, label)


@lru_cache(maxsize=16)
def _listed(text: str, label: str) -> str:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TaskError(f"this is not JSON: {error}.", where=label, remedy=f"Write a list of {FORM}.") from None
    if not isinstance(found, list) or not found:
        raise TaskError("this is not a list of tools.", where=label, remedy=f"Write a list of {FORM}.")
    tools = [_tool(one, f"{label} tool {number}") for number, one in enumerate(found, 1)]
    names = [one["function"]["name"] for one in tools]
    if twice := [name for name in names if names.count(name) > 1]:
        raise TaskError(f"the tool {twice[0]!r} is there twice.", where=label, remedy="Rename or remove one.")
    return json.dumps(tools, ensure_ascii=False, separators=(",", ":"))


def _tool(given: Any, where: str) -> dict[str, Any]:
    """One tool in OpenAI's form, also where the file has its inner part alone."""
    inner = given.get("function", given) if isinstance(given, dict) else None
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str) or not inner["name"].strip():
        raise TaskError("this is not a tool with a name.", where=where, remedy=f"Write {FORM}.")
    parameters = inner.get("parameters") or NO_PARAMETERS
    if why := _schema_fault(parameters):
        raise TaskError(
            f"the parameters of {inner['name']!r} are no JSON schema of an object: {visible(why)}.",
            where=where,
            remedy='Write {"type": "object", "properties": {…}, "required": […]}.',
        )
    described = {"description": inner["description"]} if isinstance(inner.get("description"), str) else {}
    return {"type": "function", "function": {"name": inner["name"], **described, "parameters": parameters}}


def _schema_fault(parameters: Any) -> str:
    """Why this is no schema of an object; empty if it is one. References must be to places within it."""
    if not isinstance(parameters, dict) or parameters.get("type", "object") != "object":
        return "its type is not object"
    try:
        _validator(parameters).check_schema(parameters)
        for keyword in NAMED:
            if _values(parameters, keyword):
                return f"it has {keyword}; refer to places, by $ref: #/$defs/NAME"
        for reference in _values(parameters, "$ref"):
            _look_up(reference, parameters)
    except Exception as error:  # jsonschema's and referencing's own have no common class
        return str(error).strip().splitlines()[0]
    return ""


def _look_up(reference: str, schema: dict[str, Any]) -> None:
    """Raises referencing's Unresolvable for a reference to a place that is not in the schema. Nothing is fetched."""
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    Registry().with_resource("", DRAFT202012.create_resource(schema)).resolver().lookup(reference)


def _validator(schema: Mapping[str, Any]) -> Any:
    try:
        from jsonschema import Draft202012Validator
        from referencing import Registry
    except ImportError as error:
        raise RungError(
            "tasks with tools need jsonschema, which is not installed.",
            where="rung.yaml tools",
            remedy="pip install 'rung[json]'.",
        ) from error
    return Draft202012Validator(schema, registry=Registry())  # an empty registry: nothing is fetched


def _values(schema: Any, keyword: str) -> list[str]:
    """The texts that a keyword has in a schema and in its parts."""
    inner = schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ()
    own = [schema[keyword]] if isinstance(schema, dict) and isinstance(schema.get(keyword), str) else []
    return own + [one for part in inner for one in _values(part, keyword)]


def names(listed: str) -> list[str]:
    """The names of tools."""
    return [one["function"]["name"] for one in json.loads(listed)]


def without_description(listed: str) -> list[str]:
    """The names of tools that have no description."""
    return [one["function"]["name"] for one in json.loads(listed) if not one["function"].get("description")]


def unlike(listed: str, given: Sequence[Mapping[str, Any]]) -> str:
    """How other tools, each the inner part of OpenAI's form, differ from these; empty if they are the same in any order."""
    own = {name: _parts_of(one["function"]) for name, one in zip(names(listed), json.loads(listed))}
    theirs = {str(one["name"]): _parts_of(one) for one in given}
    if strange := sorted(theirs.keys() - own.keys()):
        return f"it has no {strange[0]!r}, but {', '.join(own)}"
    if missing := sorted(own.keys() - theirs.keys()):
        return f"it also has {missing[0]!r}"
    if other := [name for name, parts in own.items() if theirs[name] != parts]:
        return f"{other[0]!r} has another description or other parameters"
    return ""


def _parts_of(inner: Mapping[str, Any]) -> tuple[str, Any]:
    return inner.get("description") or "", inner.get("parameters") or NO_PARAMETERS


# --- calls of a row ---------------------------------------------------------------------------------------------------


def checked(listed: str, output: str, where: str) -> str:
    """A row's calls in one form, with arguments in the order of their schema. DataError names the call and the argument.

    `output`: one call, a list of calls, `[]` for none, or a message with `tool_calls`.
    """
    found = calls.read(output)
    if found is None:
        raise DataError(
            f"the output {output[:80]!r} is not a list of tool calls.",
            where=where,
            remedy='Write [{"name": …, "arguments": {…}}], or [] where no tool is to be called.',
        )
    known = _parameters(listed)
    for number, one in enumerate(found, 1):
        name, which = one["name"], f"call {number}, " if len(found) > 1 else ""
        if name not in known:
            near = [f"Did you mean {close!r}? " for close in get_close_matches(name, known, 1)]
            raise DataError(
                f"{which}there is no tool {name!r}.",
                where=where,
                remedy=f"{''.join(near)}The file of tools has {', '.join(known)}.",
            )
        if why := _fault(known[name], one["arguments"]):
            raise DataError(
                f"{which}{name}: {visible(why)}.",
                where=where,
                remedy="Fix the row, or the tool's parameters in the file of tools.",
            )
    return calls.as_output([{**one, "arguments": _ordered(known[one["name"]], one["arguments"])} for one in found])


def _ordered(schema: dict[str, Any], arguments: Any) -> Any:
    """Arguments in the order in which decoding writes them."""
    whole = _validator(schema)
    return tool_schemas.ordered(schema, arguments, lambda part, value: bool(whole.evolve(schema=part).is_valid(value)))


@lru_cache(maxsize=16)
def _parameters(listed: str) -> dict[str, dict[str, Any]]:
    """The schema of each tool's arguments, closed."""
    return {one["function"]["name"]: tool_schemas.closed(one["function"]["parameters"]) for one in json.loads(listed)}


def _fault(schema: Mapping[str, Any], arguments: Any) -> str:
    """Why arguments break a schema: the place, and what is wrong there; empty if they follow it."""
    from jsonschema.exceptions import best_match

    error = best_match(_validator(schema).iter_errors(arguments))
    return f"{error.json_path.replace('$', 'arguments', 1)}: {error.message}".rstrip(".") if error else ""


# --- the schema of an answer ------------------------------------------------------------------------------------------


def schema(listed: str, outputs: Sequence[str]) -> str:
    """The JSON schema, as text, of a list with at least as few and at most as many calls as one of these outputs has."""
    counts = [len(calls.parse_output(one)) for one in outputs] or [0, 8]
    shapes, known = {}, _parameters(listed)
    for number, parameters in enumerate(known.values()):
        shapes[f"tool{number}"] = tool_schemas.moved(parameters, f"#/$defs/tool{number}")
    each = [_call(name, f"#/$defs/tool{number}") for number, name in enumerate(known)]
    whole = {"type": "array", "items": {"anyOf": each}, "minItems": min(counts), "maxItems": max(counts), "$defs": shapes}
    return json.dumps(whole, ensure_ascii=False)


def counts(schema: str) -> tuple[int, int]:
    """The fewest and the most calls that a schema of calls allows."""
    whole = json.loads(schema)
    return whole["minItems"], whole["maxItems"]


def _call(name: str, arguments: str) -> dict[str, Any]:
    fields = {"name": {"const": name}, "arguments": {"$ref": arguments}}
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
