"""Reads HTTP responses within limits of bytes and time: no answer is endless."""

from __future__ import annotations

import json
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import httpcore2
import httpx2

MAX_BYTES = 64 << 20
"""Bytes of an answer with every token's log-probability; far above what a model generates."""
MAX_ERROR_BYTES = 64 << 10
"""Bytes read of an error, or of anything else that is only quoted."""
MAX_LINE_BYTES = 8 << 20
"""Bytes of one line of a stream."""
MAX_JOINS = 100
"""Attempts to parse lines without `data:` as one JSON document."""
TOTAL_TIMEOUT_FACTOR = 5
"""Most seconds of a whole answer, as a multiple of the timeout for silence."""


class TooMuchError(Exception):
    """More bytes than any real answer has."""


class Clock:
    """Per thread, the deadline for the complete response to its request, status line and headers included.

    The library's own timeouts limit only silence: a server that sends a byte now and then would never time out.
    """

    def __init__(self) -> None:
        self._local = threading.local()

    def start(self, seconds: float) -> None:
        """Start the clock for this thread."""
        self._local.end = time.monotonic() + seconds

    def left(self, silence: float | None) -> float:
        """Seconds until the next bytes must arrive. httpcore2.ReadTimeout if none remain."""
        left = getattr(self._local, "end", float("inf")) - time.monotonic()
        if left <= 0:
            raise httpcore2.ReadTimeout("the whole answer took too long")
        return min(left, silence if silence is not None else 3600.0)

    def watch(self, client: httpx2.Client) -> None:
        """Apply this clock to all connections of a client, including those through proxies."""
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
    """The decompressed body of a response, piece by piece. TooMuchError beyond `most` bytes.

    Decompression is incremental: a kilobyte can contain a gigabyte.
    """
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        unpacked = response.iter_raw()
    elif encoding in ("gzip", "x-gzip", "deflate"):
        unpacked = _unzipped(response.iter_raw(), most)
    else:
        raise httpx2.DecodingError(f"content-encoding {encoding[:40]!r}, which was not requested")
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
                raise httpx2.DecodingError(f"invalid compression: {error}") from None
            part = b"" if opened.eof else opened.unconsumed_tail


def body(response: Any, most: int = MAX_BYTES) -> str:
    """The whole body as text. TooMuchError if it is longer than `most` bytes."""
    return b"".join(parts(response, most)).decode("utf-8-sig", errors="replace")


def beginning(response: Any, most: int = MAX_ERROR_BYTES) -> str:
    """The first `most` bytes of a body as text."""
    read = bytearray()
    try:
        for part in parts(response, most):
            read += part
    except TooMuchError:
        pass
    return bytes(read).decode("utf-8-sig", errors="replace")


def lines(response: Any, most: int = MAX_BYTES) -> Iterator[str]:
    """The lines of a body without line endings, as they arrive. TooMuchError for an endless line or body."""
    held = b""
    for part in parts(response, most):
        *whole, held = (held + part).replace(b"\r\n", b"\n").split(b"\n")
        if len(held) > MAX_LINE_BYTES:
            raise TooMuchError(f"a line of over {MAX_LINE_BYTES >> 20} MiB")
        yield from (line.rstrip(b"\r").decode("utf-8-sig", errors="replace") for line in whole)
    if held:
        yield held.decode("utf-8-sig", errors="replace")


def events(given: Iterator[str]) -> Iterator[str]:
    """The data of each event of a stream: lines after `data:`, or one JSON document per line, or one over several lines.

    https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream; an event of several lines of data
    is not sent by any model server, and lines of one JSON document without `data:` are joined.
    """
    loose: list[str] = []
    tries = 0
    for line in given:
        name, _, value = line.partition(":")
        if name == "data":
            yield value.strip()
        elif line[:1] in ("{", "}", "[", "]", " ", "\t") or loose:
            loose.append(line)
            if tries < MAX_JOINS and line.rstrip().endswith(("}", "]")):
                tries += 1
                if whole := _complete_json("\n".join(loose)):
                    yield whole
                    loose, tries = [], 0
    if loose:
        yield "\n".join(loose)


def _complete_json(text: str) -> str:
    """The text if it is one complete JSON document; else empty."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return ""
    return text
