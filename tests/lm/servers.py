"""OpenAI-compatible servers on loopback: one that follows a script of good and bad answers, one that asks a real engine."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = Callable[[dict[str, Any]], tuple[str, int, int]]
"""From a request's body to the answer's text, its tokens read and written."""

HANG_SECONDS = 30.0


def echo(body: dict[str, Any]) -> tuple[str, int, int]:
    """The last word of the question."""
    words = body["messages"][-1]["content"].split()
    return words[-1] if words else "nothing", sum(len(m["content"].split()) for m in body["messages"]), 2


class Server(ThreadingHTTPServer):
    """Each request takes the next move of the script, and is answered well once the script is at its end.

    Moves: ok, 400 to 504 (a status; `429:2` with Retry-After: 2), garbage, html, empty (no text), nothing (no bytes),
    half (a body cut short), hang, error (200 with an error in it), no-usage, thought (cut before the answer begins). Dollars of
    nothing but whole answers count.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, script: Iterator[str] | Sequence[str] = (), answer: Answer = echo, refuses: Sequence[str] = ()):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script, self.answer, self.refuses = iter(script), answer, set(refuses)
        self.lock, self.closing = threading.Lock(), threading.Event()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.moves: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        """Whole answers by the text of the question."""
        self.tokens_in = self.tokens_out = 0
        self.busy = self.busiest = 0
        self.log_probability: float | None = None
        self.model_facts: dict[str, Any] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, *args: Any) -> None:
        """Silent."""

    def do_GET(self) -> None:
        self._send(200, json.dumps({"data": [{"id": "m", **self.server.model_facts}]}))

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server = self.server
        with server.lock:
            move = next(server.script, "ok")
            server.moves[move] += 1
            server.bodies.append(body)
            server.headers.append(dict(self.headers))
            server.busy += 1
            server.busiest = max(server.busiest, server.busy)
        try:
            self._play(move, body)
        finally:
            with server.lock:
                server.busy -= 1

    def _play(self, move: str, body: dict[str, Any]) -> None:
        if refused := self.server.refuses & body.keys():
            self._error(400, f"Unsupported parameter: {sorted(refused)[0]!r} is not supported with this model.")
        elif move[:3].isdigit():
            status, _, after = move.partition(":")
            key = self.headers.get("Authorization", "no key")
            self._error(int(status), f"scripted {status}, you sent {key}", {"Retry-After": after} if after else {})
        elif move == "garbage":
            self._send(200, '{"choices": [{"mess')
        elif move == "html":
            self._send(200, "<html>a proxy's page</html>", {"Content-Type": "text/html"})
        elif move == "error":
            self._error(200, "overloaded")
        elif move == "nothing":
            self.close_connection = True
        elif move == "hang":
            self.server.closing.wait(HANG_SECONDS)
            self.close_connection = True
        elif body.get("stream"):
            self._stream(move, body)
        else:
            self._whole(move, body)

    def _whole(self, move: str, body: dict[str, Any]) -> None:
        text, read, written = ("", 0, 0) if move == "empty" else self._said(move, body)
        finish = "length" if move == "thought" else "stop"
        choice: dict[str, Any] = {"message": {"role": "assistant", "content": text}, "finish_reason": finish}
        if body.get("logprobs") and self.server.log_probability is not None:
            choice["logprobs"] = {"content": [{"token": text, "logprob": self.server.log_probability}]}
        content: dict[str, Any] = {"choices": [choice]}
        if move != "no-usage":
            content["usage"] = {"prompt_tokens": read, "completion_tokens": written}
        if move == "half":
            self._send(200, json.dumps(content), cut=20)
            self.close_connection = True
            return
        if move != "empty":
            self._count(body, read, written)
        self._send(200, json.dumps(content))

    def _said(self, move: str, body: dict[str, Any]) -> tuple[str, int, int]:
        text, read, written = self.server.answer(body)
        return ("", read, body.get("max_completion_tokens") or body["max_tokens"]) if move == "thought" else (text, read, written)

    def _stream(self, move: str, body: dict[str, Any]) -> None:
        text, read, written = self._said(move, body)
        pieces = [text[i : i + 3] for i in range(0, len(text), 3)]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for k, piece in enumerate(pieces):
            if move == "half" and k == 1:
                return
            self._event({"choices": [{"delta": {"content": piece}, "finish_reason": None}]})
        if move == "half":
            return
        self._event({"choices": [{"delta": {}, "finish_reason": "length" if move == "thought" else "stop"}]})
        self._event({"choices": [], "usage": {"prompt_tokens": read, "completion_tokens": written}})
        self.wfile.write(b"data: [DONE]\n\n")
        self._count(body, read, written)

    def _event(self, content: dict[str, Any]) -> None:
        self.wfile.write(b"data: " + json.dumps(content).encode() + b"\n\n")

    def _count(self, body: dict[str, Any], read: int, written: int) -> None:
        with self.server.lock:
            self.server.answered[body["messages"][-1]["content"]] += 1
            self.server.tokens_in += read
            self.server.tokens_out += written

    def _error(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps({"error": {"message": message, "code": None}}), headers)

    def _send(self, status: int, text: str, headers: dict[str, str] | None = None, cut: int = 0) -> None:
        raw = text.encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(raw)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw[: len(raw) - cut])


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """The server at work in a thread."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


def slow(answer: Answer, seconds: float) -> Answer:
    """The same answers, each after some time."""

    def made(body: dict[str, Any]) -> tuple[str, int, int]:
        time.sleep(seconds)
        return answer(body)

    return made


def of_engine(engine: Any) -> Answer:
    """Answers of one of rung's own engines, asked one at a time."""
    from rung.lm.base import Decoding, Prompt
    from rung.types import Message

    lock = threading.Lock()

    def made(body: dict[str, Any]) -> tuple[str, int, int]:
        turns = tuple(Message(m["role"], m["content"]) for m in body["messages"])
        decoding = Decoding(max_new_tokens=body["max_tokens"], temperature=body["temperature"], seed=body["seed"])
        with lock:
            [found] = engine.generate([Prompt(turns, turns[-1].content)], decoding)
        return found.text, found.tokens_in, found.tokens_out

    return made
