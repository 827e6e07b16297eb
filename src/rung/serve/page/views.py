"""The pages, one function for each: from who looks and what he asks for to a response."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, Response

from rung import report as reports
from rung.lm.engine_kinds import can
from rung.retrieve.lookup import Lookup
from rung.retrieve.store import Allow
from rung.serve.access.askers import Asker
from rung.serve.answering.models import Served
from rung.serve.endpoints.refused import Refused
from rung.serve.page import board, render
from rung.serve.page.parts import Parts


async def ask(parts: Parts, request: Request, asker: Asker) -> Response:
    """The conversation. Its script learns of each model its labels and how it reads messages."""
    models = [_choice(served) for served in parts.models.values() if asker.may_ask(served)]
    return render.page(parts.sessions, request, "ask.html", models=models)


async def leaderboard(parts: Parts, request: Request, asker: Asker) -> Response:
    """The last climb of a task, and the one that runs."""
    served, values = _task(parts, request, asker)
    found = await run_in_threadpool(board.standing, served.project)
    return render.page(parts.sessions, request, "leaderboard.html", board=found, drawn=board.drawn(request, found), **values)


async def report(parts: Parts, request: Request, asker: Asker) -> Response:
    """The whole report, for administrators: it shows rows. It brings its own policy along, which names its one script."""
    served, _ = _task(parts, request, asker)
    if not asker.admin:
        raise Refused(403, "the whole report needs a key with the role admin.", code="role")
    response = HTMLResponse(await run_in_threadpool(reports.rendered, served.project))
    response.headers.update({name: value for name, value in render.HEADERS.items() if name != "content-security-policy"})
    return response


async def knowledge(parts: Parts, request: Request, asker: Asker) -> Response:
    """A task's documents and their index, and a search."""
    served, values = _task(parts, request, asker)
    question = request.query_params.get("q", "").strip()
    found = searched = None
    if model := next((one for one in parts.of_task(served.project) if _lookup(one)), None):
        how, allow = _lookup(model), asker.allow(model)
        assert how
        found = await parts.library.run(parts.library.overview, model.project, how.index, allow, asker.admin)
        if question:
            searched = await parts.library.run(parts.library.search, model.project, how, question, allow)
    values |= {"model": model.name if model else "", "question": question, "overview": found, "hits": searched}
    return render.page(parts.sessions, request, "knowledge.html", **values)


async def document(parts: Parts, request: Request, asker: Asker) -> Response:
    """One document with a passage marked. One that he may not see does not exist for him."""
    query = request.query_params
    path, passage, model = query.get("path", ""), query.get("passage", ""), parts.models.get(query.get("model", ""))
    found = None
    if model and asker.may_ask(model) and (how := _lookup(model)):
        allow: Allow = asker.allow(model)
        found = await parts.library.run(parts.library.document, model.project, how.index, path, passage, allow)
    if found is None:
        raise Refused(404, f"there is no document {path!r}.", param="path")
    return render.page(parts.sessions, request, "document.html", reading=found, asked=bool(passage))


def _task(parts: Parts, request: Request, asker: Asker) -> tuple[Served, dict[str, Any]]:
    """The task that is asked for, and what every page about a task shows."""
    served = parts.task(asker, request.query_params.get("task", ""))
    return served, {"tasks": list(parts.tasks(asker)), "task": served.project.task.folder.name, "admin": asker.admin}


def _choice(served: Served) -> dict[str, Any]:
    predictor = served.predictor
    return {
        "id": served.name,
        "task": served.project.task.folder.name,
        "rung": served.rung,
        "base": served.model.name,
        "notice": served.notice,
        "labels": list(predictor.labels) if predictor else [],
        "reads_all": can(served.model).writes,
    }


def _lookup(served: Served) -> Lookup | None:
    return served.predictor.lookup if served.predictor else None
