"""Who looks at a page: the key in his cookie, his language, and the token that his posts must carry.

A key goes into a cookie that no script can read and that other sites' pages never send. A post needs a token beside it, which
stands in the page: a page of another site can read neither.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import Request
from fastapi.responses import Response

from rung.serve.access.askers import Asker, Askers
from rung.serve.endpoints.refused import Refused
from rung.serve.page.words import LANGUAGES, Language, preferred

LANGUAGE = "rung-language"
TOKEN_HEADER = "x-rung-token"
YEAR = 365 * 86400


@dataclass(frozen=True)
class Sessions:
    """The cookies of one server. Cookies do not know ports, so their name is the server's own."""

    askers: Askers
    folders: tuple[Path, ...]
    """Of the tasks served."""
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    @property
    def cookie(self) -> str:
        """Name of the cookie that holds a key."""
        names = "\0".join(map(str, self.folders))
        return f"rung-key-{hashlib.sha256(names.encode('utf-8', 'surrogateescape')).hexdigest()[:10]}"

    def key(self, request: Request) -> str:
        """The key that a browser sends; empty for none."""
        return request.cookies.get(self.cookie, "")

    def asker(self, request: Request) -> Asker:
        """Who looks. Refused with 401 where a key is needed and none that is valid is there."""
        key = self.key(request)
        return self.askers.of(f"Bearer {key}" if key else None)

    def token(self, request: Request) -> str:
        """What a post from this browser must carry."""
        return hmac.new(self.secret, self.key(request).encode(), hashlib.sha256).hexdigest()

    def check(self, request: Request) -> None:
        """Refused with 403 for a post without the token of its page."""
        if not hmac.compare_digest(request.headers.get(TOKEN_HEADER, "").encode(), self.token(request).encode()):
            raise Refused(403, "the page's token is missing or out of date: reload the page.", code="page_token")

    def sign_in(self, response: Response, key: str, secure: bool) -> None:
        """Keep a key until the browser closes. `secure`: whether the page came over TLS."""
        response.set_cookie(self.cookie, key, path="/", httponly=True, samesite="strict", secure=secure)

    def sign_out(self, response: Response) -> None:
        response.delete_cookie(self.cookie, path="/", httponly=True, samesite="strict")


def language(request: Request) -> Language:
    """The language that was chosen, else the one that the browser prefers."""
    chosen = request.query_params.get("lang") or request.cookies.get(LANGUAGE, "")
    known: Iterable[Language] = LANGUAGES
    return next((one for one in known if one == chosen), None) or preferred(request.headers.get("accept-language", ""))


def remember_language(request: Request, response: Response) -> None:
    """Keep a language that was chosen by a link."""
    if request.query_params.get("lang") in LANGUAGES:
        response.set_cookie(LANGUAGE, language(request), path="/", max_age=YEAR, samesite="strict", httponly=True)
