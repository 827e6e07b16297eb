"""`POST /v1/feedback`: what an asker says of an answer that he was given."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rung import label_sets, tools
from rung.errors import DataError
from rung.predictor import Predictor
from rung.serve.access.askers import Asker, Askers
from rung.serve.answering.recent import Answered, Recent
from rung.serve.endpoints.refused import Refused
from rung.serve.feedback.notes import Notes, Said

CORRECTION, COMMENT = 20_000, 2_000
"""Most characters of each."""


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")
    id: Annotated[str, Field(min_length=1, max_length=128)]
    index: Annotated[int, Field(ge=0, strict=True)] = 0
    rating: Literal["up", "down"] | None = None
    correction: Annotated[str, Field(max_length=CORRECTION)] | None = None
    comment: Annotated[str, Field(max_length=COMMENT)] | None = None


def mount(app: FastAPI, askers: Askers, recent: Recent) -> None:
    """Add the route to an application."""

    @app.post("/v1/feedback")
    async def feedback(request: Request) -> Response:
        asker = askers.of(request.headers.get("authorization"))
        return JSONResponse(await asyncio.to_thread(_take, asker, recent, await request.body()))


def _take(asker: Asker, recent: Recent, raw: bytes) -> dict[str, object]:
    """Keep what is said, and repeat what is kept."""
    body = _read(raw)
    about = _about(asker, recent.get(body.id), body)
    correction = body.correction.strip() if body.correction is not None else None
    if correction and about.served.predictor:
        correction = _as_answer(correction, about.served.predictor)
    notes = Notes(about.served.project.store.folder)
    kept = notes.say(about, body.index, Said(body.rating, correction, body.comment))
    said = {"rating": kept.rating or None, "correction": kept.correction or None, "comment": kept.comment or None}
    return {"object": "feedback", "id": kept.id, "index": kept.choice, "model": kept.model, **said}


def _as_answer(correction: str, predictor: Predictor) -> str:
    """A correction in the form of an answer; refused where it names a label or calls a tool that the task does not have."""
    labels = predictor.labels or predictor.label_set
    if predictor.tools:
        try:
            return tools.checked(predictor.tools.listed, correction, "correction")
        except DataError as error:
            raise Refused(400, str(error), param="correction", code="invalid_value") from None
    said = label_sets.split(correction, labels) if predictor.label_set else (correction,)
    for one in said if labels else ():
        if one not in labels:
            shown = ", ".join(labels[:20]) + (", …" if len(labels) > 20 else "")
            raise Refused(400, f"{one!r} is none of the labels: {shown}.", param="correction", code="invalid_value")
    return label_sets.dump(said, labels) if predictor.label_set else correction


def _read(raw: bytes) -> _Body:
    try:
        body = _Body.model_validate_json(raw)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        top = str(first["loc"][0]) if first["loc"] else None
        what = f"{place}: {first['msg']}." if place else f"{first['msg']}."
        raise Refused(400, what, param=top, code="invalid_value") from None
    if body.rating is None and body.correction is None and body.comment is None:
        raise Refused(
            400, "there is neither a 'rating' nor a 'correction' nor a 'comment'.", param="rating", code="invalid_value"
        )
    return body


def _about(asker: Asker, found: Answered | None, body: _Body) -> Answered:
    """The answer that is meant. One that another key was given does not exist for this one."""
    key = asker.key(found.served) if found else None
    if found is None or found.owner != (key.digest if key else "") or not asker.may_ask(found.served):
        raise Refused(
            404,
            f"there is no answer {body.id!r}: a server remembers its last answers alone, and those of this key.",
            param="id",
            code="answer_not_found",
        )
    if body.index >= len(found.outcomes):
        raise Refused(400, f"the answer has {len(found.outcomes)} choices.", param="index", code="invalid_value")
    return found
