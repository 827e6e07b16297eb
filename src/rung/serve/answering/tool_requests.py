"""What requests ask about tools, compared with what the task fixes."""

from __future__ import annotations

import json

from rung import tools
from rung.serve.endpoints.chat import Chat
from rung.serve.endpoints.refused import Refused
from rung.tools import Tools


def check(name: str, known: Tools | None, schema: str, chat: Chat) -> None:
    """Refused with 400 where a request has other tools than the model `name`, or wants other calls of them.

    `known`: the model's tools; `schema`: of its calls, with the fewest and the most of an answer.
    """
    asked = chat.tools
    if known is None:
        if asked.listed or asked.named or asked.choice == "required":
            raise _refused("tools" if asked.listed else "tool_choice", f"the model {name!r} calls no tools; leave it out.")
        return
    if asked.listed and (why := tools.unlike(known.listed, json.loads(asked.listed))):
        raise _refused("tools", f"the tools of {name!r} are fixed by its task: {why}. Leave 'tools' out, or send the task's.")
    least, most = tools.counts(schema)
    none = asked.choice == "none" and most > 0
    some = asked.choice == "required" and least == 0
    if none or some or (asked.named and (least == 0 or tools.names(known.listed) != [asked.named])):
        fixed = f"the task of {name!r} fixes that an answer calls any of its tools, {least} to {most} times."
        raise _refused("tool_choice", f"{fixed} Leave it out, or send 'auto'.")
    if not asked.parallel and most > 1:
        raise _refused("parallel_tool_calls", f"an answer of {name!r} has up to {most} calls. Leave it out.")


def _refused(param: str, why: str) -> Refused:
    return Refused(400, f"{param!r} cannot be followed: {why}", param=param, code="unsupported_value")
