"""The form of an answer that a client asks for: any text, any JSON object, or JSON of a schema."""

from __future__ import annotations

import importlib.util
import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rung.serve.endpoints.reading import invalid
from rung.serve.endpoints.refused import Refused

CHARACTERS = 16_384
"""Longest schema, as JSON."""


class Text(BaseModel):
    """Any text."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["text"]


class AnyObject(BaseModel):
    """Any JSON object."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["json_object"]


class Shape(BaseModel):
    """A schema with its name. Answers always follow it, `strict` or not."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(max_length=64)] | None = None
    description: str | None = None
    strict: bool | None = None
    value: Annotated[dict[str, Any], Field(alias="schema")] = {}


class Schema(BaseModel):
    """JSON of a schema, as /v1/chat/completions has it."""

    model_config = ConfigDict(extra="forbid")
    type: Literal["json_schema"]
    json_schema: Shape


class FlatSchema(Shape):
    """JSON of a schema, as /v1/responses has it."""

    type: Literal["json_schema"]


Form = Annotated[Text | AnyObject | Schema, Field(discriminator="type")]
FlatForm = Annotated[Text | AnyObject | FlatSchema, Field(discriminator="type")]


def schema(form: Text | AnyObject | Schema | FlatSchema | None, param: str) -> str:
    """The JSON schema of a form, as text; empty for free text. Refused with 400 for one that cannot be followed."""
    if form is None or isinstance(form, Text):
        return ""
    if importlib.util.find_spec("llguidance") is None:
        why = f"{param!r} cannot be followed: this server lacks llguidance (pip install 'rung[json]')."
        raise Refused(400, why, param=param, code="unsupported_value")
    if isinstance(form, AnyObject):
        return json.dumps({"type": "object"})
    text = json.dumps(form.json_schema.value if isinstance(form, Schema) else form.value, ensure_ascii=False)
    if len(text) > CHARACTERS:
        raise invalid(param, f"the schema of {param!r} has {len(text)} characters; {CHARACTERS} are allowed.")
    from rung.lm.models.json_guide import fault

    if why := fault(text):
        raise invalid(param, f"the schema of {param!r} cannot be followed: {why.rstrip('.')}.")
    return text
