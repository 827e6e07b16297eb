"""What comes over a connection, within bounds of bytes and of time: no answer is without end."""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import httpcore2
import httpx2

MOST_BYTES = 64 << 20
"""Of an answer with the log-probability of every token, far above what a model writes."""
MOST_ERROR = 64 << 10
"""Bytes that are read of an error, or of anything else that is only quoted."""
MOST_LINE = 8 << 20
"""Bytes of one line of a stream."""
TRIES = 100
"""Times that loose lines are tried as one JSON."""
PATIENCE = 5
"""A whole answer may take so many times the longest silence."""


class TooMuchError(Exception):
    """More bytes than any answer has."""


class Clock:
    """The time by which the request of each thread must be answered in full, its first line and its headers included.

    The library's own time-outs bound a silence: a server that sends a byte now and then would be heard for ever.
    """

    def __init__(self) -> None:
        self._local = threading.local()

    def start(self, seconds: float) -> None:
        """Begin to count, for this thread."""
        self._local.end = time.monotonic() + seconds

    def left(self, silence: float | None) -> float:
        """Seconds that the next bytes may take. httpcore2.ReadTimeout where none are left."""
        left = getattr(self._local, "end", float("inf")) - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("the whole answer took too long")
        return min(left, silence if silence is not None else 3600.0)

    def watch(self, client: httpx2.Client) -> None:
        """Have all connections of a client read by this clock, those through proxies too."""
        ways: list[Any] = [client._transport, *client._mounts.values()]
        for pool in (way._pool for way in ways if way is not None):
            pool._network_backend = _Network(self, pool._network_backend)


class _Network(httpcore2.NetworkBackend):
    def __init__(self, clock: Clock, inner: Any):
        self._clock, self._inner = clock, inner

    def connect_tcp(self, *args: Any, **more: Any) -> httpcore2.NetworkStream:
        return _Stream(self._clock, self._inner.connect_tcp(*args, **more))

    def connect_unix_socket(self, *args: Any, **more: Any) -> httpcore2.NetworkStream:
        return _Stream(self._clock, self._inner.connect_unix_socket(*args, **more))

    def sleep(self, seconds: float) -> None:
        self._inner.sleep(seconds)


class _Stream(httpcore2.NetworkStream):
    def __init__(self, clock: Clock, inner: Any):
        self._clock, self._inner = clock, inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._clock.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._clock.left(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(self, *args: Any, **more: Any) -> httpcore2.NetworkStream:
        return _Stream(self._clock, self._inner.start_tls(*args, **more))

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


def parts(response: Any, most: int) -> Iterator[bytes]:
    """The body of a response, unpacked, piece by piece. TooMuchError beyond `most` bytes.

    What is packed is unpacked step by step: a kilobyte may hold a gigabyte, and a packed pack far more.
    """
    packing = response.headers.get("content-encoding", "").strip().lower()
    if packing in ("", "identity"):
        unpacked = response.iter_raw()
    elif packing in ("gzip", "x-gzip", "deflate"):
        unpacked = _unzipped(response.iter_raw(), most)
    else:
        raise httpx2.DecodingError(f"packed as {packing[:40]!r}, which was not asked for")
    size = 0
    for part in unpacked:
        size += len(part)
        if size > most:
            raise TooMuchError(f"an answer of over {most >> 10} KiB")
        yield part


def _unzipped(raw: Iterator[bytes], most: int) -> Iterator[bytes]:
    opened = zlib.decompressobj(47)  # gzip or zlib, as its head says
    for part in raw:
        while part:
            try:
                yield opened.decompress(part, min(most + 1, 1 << 20))
            except zlib.error as error:
                raise httpx2.DecodingError(f"packed wrongly: {error}") from None
            part = b"" if opened.eof else opened.unconsumed_tail


def body(response: Any, most: int = MOST_BYTES) -> str:
    """The whole body as text. TooMuchError where it is longer."""
    return b"".join(parts(response, most)).decode("utf-8-sig", errors="replace")


def beginning(response: Any, most: int = MOST_ERROR) -> str:
    """The body of an error as text, as far as it is read."""
    read = bytearray()
    try:
        for part in parts(response, most):
            read += part
    except TooMuchError:
        pass
    return bytes(read).decode("utf-8-sig", errors="replace")


def lines(response: Any, most: int = MOST_BYTES) -> Iterator[str]:
    """The lines of a body without their ends, as they come. TooMuchError for a line or a body without end."""
    held = b""
    for part in parts(response, most):
        *whole, held = (held + part).replace(b"\r\n", b"\n").split(b"\n")
        if len(held) > MOST_LINE:
            raise TooMuchError(f"a line of over {MOST_LINE >> 20} MiB")
        yield from (line.rstrip(b"\r").decode("utf-8-sig", errors="replace") for line in whole)
    if held:
        yield held.decode("utf-8-sig", errors="replace")


def events(given: Iterator[str]) -> Iterator[str]:
    """The data of each event of a stream: lines after `data:`, or JSON of its own a line, or one JSON over all lines.

    https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream; an event of several lines of data
    is not used by any server of models, and lines of one JSON without `data:` are joined.
    """
    loose: list[str] = []
    tries = 0
    for line in given:
        name, _, value = line.partition(":")
        if name == "data":
            yield value.strip()
        elif line[:1] in ("{", "}", "[", "]", " ", "\t") or loose:
            loose.append(line)
            if tries < TRIES and line.rstrip().endswith(("}", "]")):
                tries += 1
                if whole := _closed("\n".join(loose)):
                    yield whole
                    loose, tries = [], 0
    if loose:
        yield "\n".join(loose)


def _closed(text: str) -> str:
    """The text, where it is one whole JSON; else empty."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return ""
    return text
