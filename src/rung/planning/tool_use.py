"""How a base is shown the tools of a task, and how its calls of them are constrained."""

from __future__ import annotations

from dataclasses import replace

from rung import calls, tools
from rung.lm.base import Decoding, ModelRef
from rung.lm.engine_kinds import can
from rung.lm.engines import Engines
from rung.task import Task
from rung.tools import Tools
from rung.types import TrainData


def tools_for(task: Task, model: ModelRef, data: TrainData, engines: Engines) -> Tools | None:
    """The tools of the task; None of another task. Says where the model's chat template has no form for them."""
    if not task.tools:
        return None
    listed, chat = tools.load(task.folder / task.tools, task.tools), engines.chat(model)
    if not chat:
        return Tools(listed, in_text=can(model).local)
    form, most = chat.tool_form, max((len(calls.parse_output(row.output)) for row in data.examples), default=1)
    if form and (most <= 1 or form.between is not None):
        return Tools(listed)
    why = "writes one call an answer, and rows have several" if form else "has no form for tools"
    engines.say(f"the chat template of {model.name} {why}: the prompt lists the tools, and calls are written as a JSON list.")
    return Tools(listed, in_text=True)


def constrained(decoding: Decoding, known: Tools | None, data: TrainData) -> Decoding:
    """The decoding held to calls of the tools, at least as few and at most as many as a train row has."""
    if known is None:
        return decoding
    schema = tools.schema(known.listed, [row.output for row in data.examples])
    return replace(decoding, schema=schema, calls=True, template_calls=not known.in_text)
