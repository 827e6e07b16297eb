"""A request that is not answered: its status and the error in OpenAI's shape."""

from __future__ import annotations

from typing import Any

from rung.visible import visible

TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
}


class Refused(Exception):
    """Why a request is not answered. Its text is shown to the client."""

    def __init__(self, status: int, what: str, *, param: str | None = None, code: str | None = None, retry_after: int = 0):
        """`param`: the part at fault; `retry_after`: seconds after which another try may succeed, 0 for unknown."""
        self.status, self.what, self.param, self.code, self.retry_after = status, visible(what), param, code, retry_after
        super().__init__(self.what)

    @property
    def body(self) -> dict[str, Any]:
        """https://platform.openai.com/docs/guides/error-codes"""
        kind = TYPES.get(self.status, "server_error")
        return {"error": {"message": self.what, "type": kind, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        """Seconds to wait, and the scheme of keys where one is missing."""
        found = {"Retry-After": str(self.retry_after)} if self.retry_after else {}
        return found | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})
