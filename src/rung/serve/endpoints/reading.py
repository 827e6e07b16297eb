"""Bodies of requests, read strictly: what is not supported is refused by name, never ignored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from rung.serve.endpoints.refused import Refused

CHOICES = 16
"""Most answers to one request (`n`)."""
STOPS, STOP_LENGTH = 4, 256
"""Most stop texts, as OpenAI has it, and characters of one."""

Tokens = Annotated[int, Field(ge=1, strict=True)]
Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)]
TopP = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]
Choices = Annotated[int, Field(ge=1, le=CHOICES, strict=True)]
Seed = Annotated[int, Field(ge=-(2**63), lt=2**63, strict=True)]
StopText = Annotated[str, Field(min_length=1, max_length=STOP_LENGTH)]
Stop = StopText | Annotated[list[StopText], Field(max_length=STOPS)]
TopLogprobs = Annotated[int, Field(ge=0, le=20, strict=True)]
User = Annotated[str, Field(max_length=512)]

Neutral = Mapping[str, tuple[Any, ...]]
"""Values of unsupported parameters that ask for nothing; null is one for each parameter."""

Body = TypeVar("Body", bound=BaseModel)


def read(raw: bytes, shape: type[Body], neutral: Neutral) -> Body:
    """A body of this shape. Refused with 400, naming the parameter, where it asks for what is not there."""
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Refused(400, f"the body is no JSON: {error}.", code="invalid_json") from error
    if not isinstance(content, dict):
        raise Refused(400, "the body is no JSON object.", code="invalid_json")
    try:
        body = shape.model_validate(content)
    except ValidationError as error:
        raise _fault(error) from None
    for name, value in (body.model_extra or {}).items():
        if value is not None and not any(value == one and type(value) is type(one) for one in neutral.get(name, ())):
            raise Refused(400, f"{name!r} is not supported here; leave it out.", param=name, code="unsupported_parameter")
    return body


def invalid(param: str, why: str) -> Refused:
    """A parameter whose value cannot be followed."""
    return Refused(400, why, param=param, code="invalid_value")


def stops(stop: str | list[str] | None) -> tuple[str, ...]:
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


def _fault(error: ValidationError) -> Refused:
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    top = str(first["loc"][0]) if first["loc"] else None
    return Refused(400, f"{place}: {first['msg']}.", param=top, code="invalid_value")
