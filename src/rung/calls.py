"""Tool calls: stored in messages as JSON, recognised in outputs, and parsed from model text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rung.message import WEIGHT

KEY = "tool_calls"
TOOLS = "tools"
"""Role of a message with the available tools as JSON; chat templates take them separately from the turns."""
FIELDS = (KEY, "tool_call_id", "name")
"""Message fields besides role and content, in OpenAI's form."""

FENCE = "```"
_WRAPPED = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
_MARKS = re.compile(r"^\s*(?:\[TOOL_CALLS\]|<\|python_tag\|>|<\|?tool_calls?\|?>)\s*")


def extra_fields(message: Mapping[str, Any]) -> str:
    """A message's further fields as JSON; empty if it has none."""
    found = {name: message[name] for name in FIELDS if message.get(name)}
    if isinstance(old := message.get("function_call"), Mapping):  # the older form of a single call
        found.setdefault(KEY, [{"type": "function", "function": dict(old)}])
    if message.get(WEIGHT) == 0 and message.get("role") == "assistant":
        found[WEIGHT] = 0
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"), default=str) if found else ""


def as_output(called: Sequence[Any]) -> str:
    """Calls in the canonical form of row outputs, independent of templates. ValueError for an invalid call."""
    plain = [{"name": name, "arguments": arguments} for name, arguments in map(_parts, called)]
    return json.dumps({KEY: plain}, ensure_ascii=False, separators=(",", ":"), default=str)


def parse_output(output: str) -> list[dict[str, Any]]:
    """The calls in an output of `as_output`, each with `name` and `arguments`; empty for other text."""
    if not output.startswith(f'{{"{KEY}":'):
        return []
    try:
        found = json.loads(output)
        return [{"name": name, "arguments": given} for name, given in map(_parts, found[KEY])] if len(found) == 1 else []
    except (ValueError, TypeError, RecursionError):
        return []


def as_message(called: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Calls in message form."""
    return [{"type": "function", "function": dict(one)} for one in called]


def normalise_output(text: str) -> str:
    """Model text in the form of `as_output` if it consists only of tool calls; otherwise unchanged.

    Recognises JSON with `name` and `arguments` (or `parameters`), one, a list, or each within <tool_call>.
    """
    wrapped = _WRAPPED.findall(text)
    bare = [text] if not wrapped and not _WRAPPED.search(text) else wrapped
    if wrapped and _WRAPPED.sub("", text).strip():
        return text
    try:
        return as_output([one for part in bare for one in _listed(json.loads(_MARKS.sub("", part)))])
    except (ValueError, TypeError, RecursionError):
        return text


def read(text: str) -> list[dict[str, Any]] | None:
    """The calls in a text, each with `name` and `arguments`; empty for `[]`, and None for a text that is none.

    Also in a code fence, or in a message with `tool_calls`.
    """
    bare = text.strip()
    if len(bare) > 2 * len(FENCE) and bare.startswith(FENCE) and bare.endswith(FENCE):
        bare = bare[len(FENCE) : -len(FENCE)].removeprefix("json").strip()
    try:
        found = json.loads(bare)
    except (ValueError, RecursionError):
        found = None
    if isinstance(found, dict) and isinstance(found.get(KEY), list):
        found = found[KEY]
        bare = json.dumps(found)
    return [] if found == [] else parse_output(normalise_output(bare)) or None


def written(text: str) -> str:
    """An answer in the form of `as_output`; the text itself where it is no call."""
    found = read(text)
    return text if found is None else as_output(found)


def as_text(output: str) -> str:
    """The calls in an output as a plain JSON list, for a model whose template has no form for them."""
    return json.dumps(parse_output(output), ensure_ascii=False)


def shown(output: str) -> str:
    """The calls in an output as a person reads them, one a line; another text unchanged."""
    found = read(output) if output.startswith(f'{{"{KEY}":') else None
    if found is None:
        return output
    return "\n".join(f"{one['name']}({_arguments(one['arguments'])})" for one in found) or "no tool is called"


def _arguments(given: Any) -> str:
    if not isinstance(given, dict):
        return str(given)
    return ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in given.items())


def tools_of(extra: Mapping[str, Any]) -> list[Any]:
    """The tools in a row's column `tools`, given as a list or JSON text."""
    given = extra.get("tools")
    try:
        given = json.loads(given) if isinstance(given, str) else given
    except ValueError:
        return []
    return [one for one in given if isinstance(one, Mapping)] if isinstance(given, list) else []


def names(called: Sequence[Any]) -> Iterator[str]:
    """Names of the called tools. ValueError for an invalid call."""
    for one in called:
        yield _parts(one)[0]


def with_arguments(called: Sequence[Any], as_text: bool) -> list[Any]:
    """A message's calls with arguments as objects (for most templates) or as JSON text."""
    out = []
    for one in called:
        name, arguments = _parts(one)
        said = json.dumps(arguments, ensure_ascii=False) if as_text else arguments
        rest = {key: value for key, value in one.items() if key not in ("function", "name", "arguments", "parameters")}
        out.append({"type": "function", **rest, "function": {"name": name, "arguments": said}})
    return out


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """A value of decoded JSON with each of its texts changed, keys too. RecursionError where it is nested too deep."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(name): with_texts(one, change) for name, one in value.items()}
    return [with_texts(one, change) for one in value] if isinstance(value, list) else value


def for_api(message: Mapping[str, Any]) -> dict[str, Any]:
    """A message for an API, where call arguments are JSON text."""
    return {**message, **({KEY: with_arguments(message[KEY], as_text=True)} if KEY in message else {})}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) and value else [value]


def _parts(one: Any) -> tuple[str, Any]:
    """Name and arguments of a call, in OpenAI's form or bare. ValueError if it is invalid.

    Arguments that are JSON text are decoded until they are none, so that no later reader finds other text in them.
    """
    inner = one.get("function", one) if isinstance(one, Mapping) else None
    given = inner.get("arguments", inner.get("parameters")) if isinstance(inner, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(inner.get("name"), str) or not inner["name"]:
        raise ValueError("a tool call needs a name")
    if given is None and not ({"arguments", "parameters"} & inner.keys()) and "function" not in one:
        raise ValueError("a tool call needs arguments")
    while isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            return inner["name"], given  # not JSON: unchanged
    return inner["name"], {} if given is None else given
