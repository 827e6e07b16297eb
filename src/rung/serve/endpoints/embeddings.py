"""/v1/embeddings: vectors of texts, from the embedding model of a task's index.

https://platform.openai.com/docs/api-reference/embeddings
"""

from __future__ import annotations

import base64
import time
from collections.abc import Generator, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import Request
from fastapi.responses import JSONResponse, Response
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from rung.serve.access.askers import Asker
from rung.serve.answering.models import Served
from rung.serve.endpoints import asking, reading
from rung.serve.endpoints.reading import User, invalid
from rung.serve.endpoints.refused import Refused
from rung.serve.server import Server

TEXTS = 2048
"""Most texts of one request, as OpenAI has it."""
SLICE = 16
"""Texts embedded at once; answers go on in between."""

Vectors = NDArray[np.float32]
Text = Annotated[str, Field(min_length=1)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="allow")
    model: str
    input: Text | Annotated[list[Text], Field(min_length=1, max_length=TEXTS)]
    encoding_format: Literal["float", "base64"] | None = None
    user: User | None = None


async def embed(server: Server, request: Request) -> Response:
    """Vectors of length one, one for each text."""
    started = time.monotonic()
    try:
        asker = server.asker(request)
        body = read(await request.body())
        served, name = embedding_model(server, asker, body.model)
        texts = [body.input] if isinstance(body.input, str) else body.input
        charge = server.rates.admit(asker.key(served), 0)
        vectors, tokens = await asking.run(server, _slices(served, name, texts), request)
    except Refused as why:
        server.numbers.request("", why.status, time.monotonic() - started)
        raise
    except asking.ClientGone:
        server.numbers.request("", 499, time.monotonic() - started)
        return Response(status_code=499)
    server.numbers.request(served.name, 200, time.monotonic() - started, tokens)
    server.rates.settle(charge, tokens)
    return JSONResponse(_response(name, vectors, tokens, body.encoding_format == "base64"))


def read(raw: bytes) -> _Body:
    """A body of /v1/embeddings. Refused with 400, naming the parameter, where it asks for what is not there."""
    return reading.read(raw, _Body, {})


def embedding_model(server: Server, asker: Asker, name: str) -> tuple[Served, str]:
    """A model whose engines embed, and the embedding model: that of a task's index, or one by its own name."""
    if name in server.models:
        served = server.served(asker, name)
        return served, embedder(served)
    for served in server.models.values():
        if asker.may_ask(served) and embedder(served) == name:
            return served, name
    known = {embedder(served): None for served in server.models.values() if asker.may_ask(served)}
    why = f"there is no embedding model {name!r}. Models: {', '.join(known)}, or a task's name for that of its index."
    raise Refused(404, why, param="model", code="model_not_found")


def embedder(served: Served) -> str:
    """The embedding model of a task: that of its rung's index, else the one that the task names."""
    predictor, task = served.predictor, served.project.task
    return predictor.lookup.embedder if predictor and predictor.lookup else task.place(task.encoder)


def _slices(served: Served, name: str, texts: Sequence[str]) -> Generator[None, None, tuple[Vectors, int]]:
    """The vectors and the tokens read, after a slice at a time."""
    model = served.engines.embedder(name)
    tokens = 0
    for k, text in enumerate(texts):
        size = model.count(text)
        if size > model.max_length:
            raise invalid("input", f"text {k} of 'input' has {size} tokens; {name} reads {model.max_length}.")
        tokens += size
        if k % SLICE == SLICE - 1:
            yield
    parts = []
    for at in range(0, len(texts), SLICE):
        parts.append(model.embed(texts[at : at + SLICE]))
        yield
    return np.concatenate(parts), tokens


def _response(name: str, vectors: Vectors, tokens: int, packed: bool) -> dict[str, Any]:
    data = [
        {"object": "embedding", "index": k, "embedding": _packed(vector) if packed else vector.tolist()}
        for k, vector in enumerate(vectors)
    ]
    return {"object": "list", "data": data, "model": name, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}


def _packed(vector: Vectors) -> str:
    """Little-endian float32 in base64, which OpenAI's Python client asks for by default."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
