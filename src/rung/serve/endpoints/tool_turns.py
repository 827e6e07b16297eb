"""What a request says of tools: its own list of them, and the turns of a conversation that call one or give its result."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from rung import calls
from rung.rows import Message
from rung.serve.endpoints.reading import invalid


class Function(BaseModel):
    """What is called."""

    model_config = ConfigDict(extra="forbid")
    name: str
    arguments: str
    """JSON."""


class Called(BaseModel):
    """A call of an earlier answer, as it was given."""

    model_config = ConfigDict(extra="ignore")  # clients add an index
    id: str
    type: Literal["function"] = "function"
    function: Function


class Described(BaseModel):
    """A function that may be called."""

    model_config = ConfigDict(extra="forbid")
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(BaseModel):
    """A tool, as /v1/chat/completions has it."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["function"]
    function: Described


class FlatTool(Described):
    """A tool, as /v1/responses has it."""

    type: Literal["function"]


class NamedFunction(BaseModel):
    """The name in a choice."""

    model_config = ConfigDict(extra="forbid")
    name: str


class NamedTool(BaseModel):
    """The choice of one tool, as /v1/chat/completions has it."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["function"]
    function: NamedFunction


class FlatNamedTool(NamedFunction):
    """The choice of one tool, as /v1/responses has it."""

    type: Literal["function"]


Mode = Literal["none", "auto", "required"]


@dataclass(frozen=True, slots=True)
class ToolRequest:
    """What a client asks about tools. The model's own are fixed by its task; they are compared before it is asked."""

    listed: str = ""
    """The client's tools as a JSON list of their inner parts; empty if it sends none."""
    choice: str = ""
    """none, auto or required; empty where a tool is named, or nothing is said."""
    named: str = ""
    """The one tool that is to be called."""
    parallel: bool = True
    """Whether an answer may have several calls."""


def request(
    given: Sequence[Tool] | Sequence[FlatTool] | None, choice: Mode | NamedTool | FlatNamedTool | None, parallel: bool | None
) -> ToolRequest:
    """The tools and their choice, in one form for both endpoints."""
    inner = [one.function if isinstance(one, Tool) else one for one in given or ()]
    listed = json.dumps([one.model_dump(include={"name", "description", "parameters"}) for one in inner]) if inner else ""
    if isinstance(choice, NamedTool):
        return ToolRequest(listed, named=choice.function.name, parallel=parallel is not False)
    if isinstance(choice, FlatNamedTool):
        return ToolRequest(listed, named=choice.name, parallel=parallel is not False)
    return ToolRequest(listed, choice or "", parallel=parallel is not False)


def calling(text: str, called: Sequence[Called]) -> Message:
    """A turn of the assistant that calls tools."""
    return Message("assistant", text, calls.extra_fields({calls.KEY: [one.model_dump() for one in called]}))


def result(text: str, call: str) -> Message:
    """A turn with the result of a call, by the call's id."""
    return Message("tool", text, calls.extra_fields({"tool_call_id": call}))


def check_turns(turns: Sequence[Message], param: str) -> None:
    """Refused where the last message asks for no answer, or a result stands behind no call of its id."""
    if turns[-1].role not in ("user", "tool"):
        raise invalid(param, f"the last of {param!r} must be the user's, or the result of a tool.")
    if all(turn.role != "user" for turn in turns):
        raise invalid(param, f"none of {param!r} is the user's.")
    due: set[str] = set()
    for place, turn in enumerate(turns):
        if turn.role != "tool":
            due = {str(one["id"]) for one in turn.fields.get(calls.KEY, ())}
        elif (call := str(turn.fields.get("tool_call_id"))) not in due:
            raise invalid(param, f"{param}.{place}: the assistant's message before it has no open call with the id {call!r}.")
        else:
            due.discard(call)
