"""Templates to responses, with the headers that every page has."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse, Response
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from rung.report import numbers
from rung.serve.endpoints.refused import Refused
from rung.serve.page.session import Sessions, language, remember_language
from rung.serve.page.words import LANGUAGES, WORDS, Language, text
from rung.visible import json_text, visible

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""What a page may load: its own files alone, and nothing inline."""
HEADERS: Mapping[str, str] = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",
}

WRAP = re.compile(r"(?<=[^\n]{50}[^\n|])\n(?=[^\s|*+>#=-])(?!\d+[.)])")
"""The end of a long line that goes on in the next one."""
HERE = Path(__file__).parent
STATIC: Mapping[str, tuple[Path, str]] = {
    "report.css": (HERE.parents[1] / "report" / "report.css", "text/css"),
    "page.css": (HERE / "static" / "page.css", "text/css"),
    "page.js": (HERE / "static" / "page.js", "text/javascript"),
    "ask.js": (HERE / "static" / "ask.js", "text/javascript"),
    "board.js": (HERE / "static" / "board.js", "text/javascript"),
}
"""Files that pages load. The report's stylesheet is the page's too: one look."""


def static(name: str) -> Response:
    """One of the page's files. Refused with 404 for any other name."""
    if name not in STATIC:
        raise Refused(404, f"there is no file {name!r}.")
    path, kind = STATIC[name]
    headers = {"cache-control": "no-cache", "x-content-type-options": "nosniff"}
    return Response(path.read_bytes(), media_type=f"{kind}; charset=utf-8", headers=headers)


def page(sessions: Sessions, request: Request, name: str, status: int = 200, **values: Any) -> HTMLResponse:
    """A page of a template."""
    response = HTMLResponse(fragment(request, name, here=request.url.path, **values, **_frame(sessions, request)), status)
    response.headers.update(HEADERS)
    remember_language(request, response)
    return response


def fragment(request: Request, name: str, **values: Any) -> str:
    """A template without a frame, in the reader's language."""
    spoken = language(request)
    return templates().get_template(name).render(t=words(spoken), language=spoken, **values)


def words(spoken: Language) -> Callable[..., str]:
    """From a key and what fills its places to a text."""
    return partial(text, spoken)


def _frame(sessions: Sessions, request: Request) -> dict[str, Any]:
    def spoken_in(one: Language) -> str:
        return str(request.url.replace(scheme="", netloc="").include_query_params(lang=one)).removeprefix("//")

    return {
        "token": sessions.token(request),
        "signed_in": bool(sessions.key(request)),
        "languages": [(one, name, spoken_in(one)) for one, name in LANGUAGES.items()],
        "words": {key: both[language(request) == "zh"] for key, both in WORDS.items()},
    }


def unwrapped(prose: str) -> str:
    """Prose without the line ends of its source's columns; lists, tables and short lines keep theirs."""
    return WRAP.sub(" ", prose)


def _visible(value: Any) -> Any:
    """Printed values made safe to show; our own markup is unchanged."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def templates() -> Environment:
    """The page's templates; those of the report are found too."""
    env = Environment(
        loader=ChoiceLoader([PackageLoader("rung.serve.page"), PackageLoader("rung.report", ".")]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters |= {**numbers.FILTERS, "unwrapped": unwrapped}
    env.policies |= {"json.dumps_function": json_text, "json.dumps_kwargs": {"compact": True}}
    return env
