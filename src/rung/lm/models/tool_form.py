"""How a chat template writes calls of tools, found by rendering some; and the grammar that such answers follow."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from rung import calls
from rung.errors import TemplateError

_TOOL = {
    "type": "function",
    "function": {"name": "TOOLMARK", "description": "x", "parameters": {"type": "object", "properties": {}}},
}
_CALL = {"name": "TOOLMARK", "arguments": {"k": "VALUEMARK"}}
_WRITTEN = re.compile(r'\{"name": "TOOLMARK", "(arguments|parameters)": \{"k": "VALUEMARK"\}\}')


@dataclass(frozen=True, slots=True)
class ToolForm:
    """The text around calls, each `{"name": …, "arguments": {…}}`."""

    before: str
    after: str
    between: str | None
    """None where the template writes one call an answer."""
    arguments: str = "arguments"
    """The name of the arguments: some templates write `parameters`."""

    def grammar(self, schema: str, special: Collection[str], spacing: dict[str, Any]) -> str:
        """A grammar of llguidance for a list of calls by this JSON schema (`rung.tools.schema`).

        `special`: tokens that stand for a text of their own, such as `<tool_call>`.
        """
        shape = json.loads(schema)
        least, most = shape["minItems"], shape["maxItems"] if self.between is not None else min(1, shape["maxItems"])
        each = [self._named(one) for one in shape["items"]["anyOf"]]
        item = json.dumps({"anyOf": each, "$defs": shape["$defs"], "x-guidance": spacing})
        some = "item" if most <= 1 else f"item ({_quoted(self.between or '', special)} item){{{max(0, least - 1)},{most - 1}}}"
        whole = " ".join(filter(None, [_quoted(self.before, special), some, _quoted(self.after, special)]))
        none = ' | "[]"' if least == 0 else ""
        return f"%llguidance {{}}\nstart: {whole if most else ''}{none}\nitem: %json {item}"

    def _named(self, call: dict[str, Any]) -> dict[str, Any]:
        fields = {self.arguments if name == "arguments" else name: value for name, value in call["properties"].items()}
        return {**call, "properties": fields, "required": list(fields)}


def _quoted(text: str, special: Collection[str]) -> str:
    """A text as a grammar's terminals."""
    marks = sorted((mark for mark in special if mark in text), key=len, reverse=True)
    parts = re.split(f"({'|'.join(map(re.escape, marks))})", text) if marks else [text]
    return " ".join(part if part in marks else json.dumps(part) for part in parts if part)


def read(
    text: Callable[[list[dict[str, Any]], list[dict[str, Any]]], str], write: Callable[[list[dict[str, Any]]], str]
) -> ToolForm | None:
    """A template's form; None where it shows no tools, writes no calls, or writes them in a way that is not read back.

    `text`: turns and tools as the template renders them. `write`: calls as it renders them as an answer.
    """
    try:
        if "TOOLMARK" not in text([{"role": "user", "content": "x"}], [_TOOL]):
            return None
        one = write([_CALL])
    except TemplateError:
        return None
    found = _WRITTEN.split(one)
    if len(found) != 3 or calls.normalise_output(one.strip()) != calls.as_output([_CALL]):
        return None
    before, arguments, after = found
    return ToolForm(before, after, _between(write, before, after), arguments)


def _between(write: Callable[[list[dict[str, Any]]], str], before: str, after: str) -> str | None:
    try:
        two = write([_CALL, _CALL])
    except TemplateError:
        return None
    found = _WRITTEN.split(two)
    if len(found) != 5 or (found[0], found[4]) != (before, after):
        return None
    return found[2] if calls.normalise_output(two.strip()) == calls.as_output([_CALL, _CALL]) else None
