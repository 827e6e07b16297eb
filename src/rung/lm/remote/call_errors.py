"""How a call to an endpoint fails: errors that end a row or one try, and what a library raises between the two ends."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

from rung.errors import RungError
from rung.lm.remote.bounded import TooMuchError


class CallError(RungError):
    """One row's request was refused, or failed at every try; other rows continue."""


class Refused(CallError):
    """The server refuses this request; it may accept it without some of its parameters."""


class RetryableError(Exception):
    """A try failed and another may not."""

    def __init__(self, what: str, *, billed: bool = False, after: float = 0.0, unreachable: bool = False, status: int = 0):
        super().__init__(what)
        self.what = what
        self.billed = billed
        """Whether the provider may have billed it: it was sent, and no complete answer arrived."""
        self.after = after
        """The server's Retry-After, in seconds."""
        self.unreachable = unreachable
        self.status = status
        """Of the answer, where it is one that tells a failure."""


FAULTS = (
    httpx2.HTTPError,
    httpx2.InvalidURL,
    httpx2.StreamError,
    TooMuchError,
    # parts of the reply are missing, or have the wrong type
    KeyError,
    TypeError,
    AttributeError,
    ValueError,
    OverflowError,
    RecursionError,
)
"""Errors between a request and its parsed reply."""


def retry_after(headers: httpx2.Headers) -> float:
    """Seconds of the Retry-After header, a number or a date; 0 without one. RFC 9110, section 10.2.3."""
    given = headers.get("retry-after", "")
    try:
        seconds = float(given)
        return max(0.0, seconds) if seconds == seconds else 0.0
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(given) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return 0.0
