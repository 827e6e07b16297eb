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


# --- servers with ways of their own -----------------------------------------------------------------------------------

Given = tuple[int, Any]
"""A status, and what is sent: JSON-able content, or bytes as they are."""


def right(body: dict[str, Any]) -> str:
    """The last word of the last message."""
    return body["messages"][-1]["content"].split()[-1]


def completion(content: Any, finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    """A chat completion; `content` of ... leaves it out."""
    told = {"role": "assistant", **({} if content is ... else {"content": content}), **message}
    choice = {"index": 0, "message": told, **({} if finish is None else {"finish_reason": finish})}
    usage = {"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 25}
    return {"id": "x", "object": "chat.completion", "choices": [choice], "usage": usage}


def refusal(message: str, status: int = 400, **more: Any) -> Given:
    return status, {"error": {"message": message, "type": "invalid_request_error", **more}}


def no_system(status: int, words: str) -> Callable[[dict[str, Any]], Given]:
    """Refuses the system's role, in these words."""

    def made(body: dict[str, Any]) -> Given:
        if any(m["role"] == "system" for m in body["messages"]):
            return refusal(words, status)
        return 200, completion(right(body))

    return made


def strict_turns(body: dict[str, Any]) -> Given:
    """Wants user and assistant in turns, the user first."""
    roles = [m["role"] for m in body["messages"]]
    if roles != [("user", "assistant")[i % 2] for i in range(len(roles))]:
        return refusal("Conversation roles must alternate user/assistant/user/assistant/...")
    return 200, completion(right(body))


def no_format(status: int, words: str) -> Callable[[dict[str, Any]], Given]:
    """Refuses to be held to a schema, in these words."""

    def made(body: dict[str, Any]) -> Given:
        return refusal(words, status) if "response_format" in body else (200, completion(right(body)))

    return made


def small(words: str, context: int = 120) -> Callable[[dict[str, Any]], Given]:
    """A small context; `words` are what it says of it, with {context}, {used}, {want} and {total}."""

    def made(body: dict[str, Any]) -> Given:
        used, want = sum(len(m["content"]) for m in body["messages"]) // 2, body["max_tokens"]
        if used + want > context:
            return refusal(words.format(context=context, used=used, want=want, total=used + want))
        return 200, completion(right(body))

    return made


def of_content(made: Callable[[str], dict[str, Any]]) -> Callable[[dict[str, Any]], Given]:
    """Answers well, in a shape of its own."""
    return lambda body: (200, made(right(body)))


def labelled(said: str) -> str:
    return json.dumps({"label": said})


def with_logs(logprobs: Any) -> Callable[[str], dict[str, Any]]:
    def made(said: str) -> dict[str, Any]:
        content = completion(said)
        content["choices"][0]["logprobs"] = logprobs
        return content

    return made


ANSWERED: dict[str, Callable[[dict[str, Any]], Given]] = {
    "list of texts": of_content(lambda a: completion([{"type": "text", "text": a}])),
    "list of strings": of_content(lambda a: completion([a])),
    "list with thinking": of_content(
        lambda a: completion(
            [{"type": "thinking", "thinking": [{"type": "text", "text": "left or right"}]}, {"type": "text", "text": a}]
        )
    ),
    "output_text": of_content(lambda a: completion([{"type": "output_text", "text": a}])),
    "one part": of_content(lambda a: completion({"type": "text", "text": a})),
    "JSON that is no text": of_content(lambda a: completion({"label": a})),
    "older interface": of_content(lambda a: {"choices": [{"text": a, "finish_reason": "stop"}]}),
    "bare message": of_content(lambda a: {"message": {"role": "assistant", "content": a}, "done": True}),
    "think": of_content(lambda a: completion(f"<think>\nleft, or right?\n</think>\n\n{a}")),
    "think twice": of_content(lambda a: completion(f"<think>left</think><think>right</think>{a}")),
    "thinking": of_content(lambda a: completion(f"<thinking>left, or right?</thinking>{labelled(a)}")),
    "THINK": of_content(lambda a: completion(f"[THINK]left, or right?[/THINK]{a}")),
    "harmony": of_content(
        lambda a: completion(f"<|channel|>analysis<|message|>left?<|end|><|start|>assistant<|channel|>final<|message|>{a}")
    ),
    "half a think": of_content(lambda a: completion(f"left, or right?\n</think>\n\n{a}")),
    "reasoning_content only": of_content(lambda a: completion("", reasoning_content=f"The answer is {a}.")),
    "reasoning only": of_content(lambda a: completion(None, reasoning=f"So the label is {a}")),
    "reasoning beside": of_content(lambda a: completion(a, reasoning_content="left, or right?")),
    "call of a tool": of_content(
        lambda a: completion(None, "tool_calls", tool_calls=[{"function": {"name": "json", "arguments": labelled(a)}}])
    ),
    "fence": of_content(lambda a: completion(f"```json\n{labelled(a)}\n```")),
    "fence without a name": of_content(lambda a: completion(f"```\n{a}\n```")),
    "another key": of_content(lambda a: completion(json.dumps({"answer": a, "why": "it says so"}))),
    "list of one": of_content(lambda a: completion(json.dumps([{"category": a}]))),
    "capitals": of_content(lambda a: completion(json.dumps({"label": a.upper()}))),
    "announced": of_content(lambda a: completion(f"Sure! The label is **{a}**.")),
    "no finish": of_content(lambda a: completion(a, None)),
    "streamed unasked": lambda body: (200, sse(chunks(right(body)))),
    "byte order mark": lambda body: (200, b"\xef\xbb\xbf" + json.dumps(completion(right(body))).encode()),
    "null logprob": of_content(with_logs({"content": [{"token": "x", "logprob": None}]})),
    "logprobs null": of_content(with_logs(None)),
    "logprobs a list": of_content(with_logs([1, 2])),
    "older logprobs": of_content(with_logs({"tokens": ["left"], "token_logprobs": [-0.1]})),
    "logprob -9999": of_content(with_logs({"content": [{"token": "left", "logprob": -9999.0}]})),
    "logprob NaN": lambda body: (
        200,
        json.dumps(with_logs({"content": [{"token": "l", "logprob": float("nan")}]})(right(body))).encode(),
    ),
    "token ids": of_content(with_logs({"content": [{"token": "token_id:5", "logprob": -0.2}]})),
    "usage null": of_content(lambda a: completion(a) | {"usage": None}),
    "usage of nothing": of_content(lambda a: completion(a) | {"usage": {"prompt_tokens": 0, "completion_tokens": 0}}),
    "usage of nulls": of_content(lambda a: completion(a) | {"usage": {"prompt_tokens": None, "completion_tokens": None}}),
    "usage a text": of_content(lambda a: completion(a) | {"usage": "much", "error": None}),
    "details a list": of_content(lambda a: completion(a) | {"usage": {"prompt_tokens": 5, "prompt_tokens_details": [1]}}),
    "no system, named": no_system(400, "System role not supported"),
    "no system, a template": no_system(400, "Error: chat template raised: Only user and assistant roles are supported!"),
    "no system, 422": no_system(422, "invalid role: system"),
    "no system, 500": no_system(500, "Internal Server Error"),
    "no system, unnamed": no_system(400, "Bad Request"),
    "turns": strict_turns,
    "no response_format": no_format(400, "response_format type json_schema is not supported by this model"),
    "no response_format, unnamed": no_format(400, "Bad Request"),
    "no response_format, 422": no_format(422, "extra inputs are not permitted: response_format"),
    "no response_format, 500": no_format(500, "grammar: failed to parse schema"),
    "no response_format, 501": no_format(501, "not implemented"),
    "vLLM's context": small(
        "'max_tokens' or 'max_completion_tokens' is too large: {want}. This model's maximum context length is {context} tokens "
        "and your request has {used} input tokens ({want} > {context} - {used})."
    ),
    "OpenAI's context": small(
        "This model's maximum context length is {context} tokens. However, you requested {total} tokens ({used} in the messages, "
        "{want} in the completion). Please reduce the length."
    ),
    "llama.cpp's context": small("the request exceeds the available context size ({context} tokens), n_prompt_tokens: {used}"),
    "most of an answer": lambda body: (
        refusal("max_tokens is too large: this model supports at most 30 completion tokens")
        if body["max_tokens"] > 30
        else (200, completion(right(body)))
    ),
}
"""Ways of servers that can be answered for all that; the right label is the last word."""

FAILING: dict[str, Callable[[dict[str, Any]], Given]] = {
    "no content, stopped": of_content(lambda a: completion(...)),
    "null content": of_content(lambda a: completion(None)),
    "cut while thinking": of_content(lambda a: completion(..., "length", reasoning="I think")),
    "cut in a think": of_content(lambda a: completion("<think>I think", "length")),
    "think without an end": of_content(lambda a: completion("<think>I think of left")),
    "filtered": of_content(lambda a: completion("", "content_filter")),
    "no choices": of_content(lambda a: completion(a) | {"choices": []}),
    "choices null": of_content(lambda a: completion(a) | {"choices": None}),
    "choices of numbers": of_content(lambda a: completion(a) | {"choices": [1]}),
    "a choice without a message": of_content(lambda a: {"choices": [{}]}),
    "a page": lambda body: (200, b"<html><title>Sign in</title></html>"),
    "an error with 200": lambda body: (200, {"error": {"message": "model 'm' not found, try pulling it first"}}),
    "an error as a text": lambda body: (200, {"error": "out of memory"}),
    "all refused": lambda body: refusal("no"),
    "all 500": lambda body: refusal("out of order", 500),
    "all 500, not JSON": lambda body: (500, b"\xff\xfe\x00 oops"),
    "a list": lambda body: (200, [1, 2]),
    "nothing": lambda body: (200, b""),
    "deep": lambda body: (200, b"[" * 100_000),
    "deep answer": lambda body: (200, b'{"choices": [{"message": ' + b'{"content": ' * 500 + b'"x"' + b"}" * 500 + b"}]}"),
    "a long number": lambda body: (200, b'{"usage": ' + b"9" * 5000 + b"}"),
    "prompt over the context": small(
        "This model's maximum context length is {context} tokens and your request has {used} input tokens", 5
    ),
}
"""Ways of servers that cannot be answered: every row has an error, and none of the model's."""


class Odd(Server):
    """Answers in one way of its own, whether it is to stream or not."""

    def __init__(self, way: Callable[[dict[str, Any]], Given]):
        super().__init__()
        self.way = way
        self.RequestHandlerClass = _OddHandler


class _OddHandler(_Handler):
    def _play(self, move: str, body: dict[str, Any]) -> None:
        status, given = self.server.way(body)  # type: ignore[attr-defined]
        raw = given if isinstance(given, bytes) else json.dumps(given).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


# --- streams ----------------------------------------------------------------------------------------------------------


def chunks(text: str, finish: str | None = "stop", usage: bool = True) -> list[dict[str, Any]]:
    """The events of a usual stream."""

    def event(delta: Any, reason: str | None = None) -> dict[str, Any]:
        return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

    told = [event({"role": "assistant", "content": ""}), *(event({"content": text[i : i + 3]}) for i in range(0, len(text), 3))]
    told += [event({}, finish)] if finish is not None else []
    return told + ([{"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 3}}] if usage else [])


def sse(events: Sequence[Any], end: str = "data: [DONE]\n\n", data: str = "data: ", gap: str = "\n\n") -> bytes:
    return ("".join(f"{data}{json.dumps(one)}{gap}" for one in events) + end).encode()


def renamed(events: list[dict[str, Any]], made: Callable[[dict[str, Any]], None]) -> list[dict[str, Any]]:
    for event in events:
        for choice in event["choices"]:
            made(choice)
    return events


def _as_message(choice: dict[str, Any]) -> None:
    choice["message"] = choice.pop("delta")


def _as_list(choice: dict[str, Any]) -> None:
    if text := choice["delta"].get("content"):
        choice["delta"]["content"] = [{"type": "text", "text": text}]


def _no_options(status: int, words: str) -> Callable[[dict[str, Any]], Given]:
    return lambda body: refusal(words, status) if "stream_options" in body else (200, sse(chunks("something")))


STREAMS: dict[str, Callable[[dict[str, Any]], Given]] = {
    "usual": lambda body: (200, sse(chunks("something"))),
    "no finish": lambda body: (200, sse(chunks("something", None))),
    "no DONE": lambda body: (200, sse(chunks("something"), "")),
    "no finish, no DONE": lambda body: (200, sse(chunks("something", None, usage=False), "")),
    "no usage": lambda body: (200, sse(chunks("something", usage=False))),
    "finish empty": lambda body: (200, sse(chunks("something", ""))),
    "comments": lambda body: (200, b": WORKING\n\n" + sse(chunks("something"))),
    "events named": lambda body: (200, b"event: message\nid: 1\nretry: 3\n" + sse(chunks("something"))),
    "CRLF": lambda body: (200, sse(chunks("something")).replace(b"\n", b"\r\n")),
    "no blank": lambda body: (200, sse(chunks("something"), data="data:")),
    "lines of JSON": lambda body: (200, sse(chunks("something"), "", data="", gap="\n")),
    "one JSON": lambda body: (200, completion("something")),
    "one JSON over lines": lambda body: (200, json.dumps(completion("something"), indent=1).encode()),
    "one JSON as an event": lambda body: (200, sse([completion("something")])),
    "delta null": lambda body: (200, sse([{"choices": [{"delta": None}]}, *chunks("something")])),
    "choices null": lambda body: (200, sse([{"choices": None}, *chunks("something")])),
    "no choices first": lambda body: (200, sse([{"choices": [], "prompt_filter_results": []}, *chunks("something")])),
    "message for delta": lambda body: (200, sse(renamed(chunks("something"), _as_message))),
    "parts": lambda body: (200, sse(renamed(chunks("something"), _as_list))),
    "reasoning first": lambda body: (200, sse([{"choices": [{"delta": {"reasoning_content": "hm"}}]}, *chunks("something")])),
    "reasoning only": lambda body: (200, sse([{"choices": [{"delta": {"reasoning": "something"}, "finish_reason": "stop"}]}])),
    "think": lambda body: (200, sse(chunks("<think>hm hm</think>\n\nsomething"))),
    "options refused": _no_options(400, "Unrecognized request argument supplied: stream_options"),
    "options refused, 422": _no_options(422, "{'loc': ['body', 'stream_options'], 'msg': 'Extra inputs are not permitted'}"),
    "options refused, unnamed": _no_options(400, "Bad Request"),
    "options refused, 500": _no_options(500, "Internal Server Error"),
    "no system": lambda body: (
        refusal("System role not supported")
        if any(m["role"] == "system" for m in body["messages"])
        else (200, sse(chunks("something")))
    ),
}
"""Ways to stream `something`."""


# --- servers that mean harm -------------------------------------------------------------------------------------------

Harm = Callable[[socket.socket, threading.Event], None]


@contextmanager
def harming(harm: Harm) -> Iterator[str]:
    """The address of a server that does what it likes with each connection, once a request has come."""
    listening = socket.create_server(("127.0.0.1", 0))
    closing = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                harm(connection, closing)
            except OSError:
                pass

    def accept() -> None:
        while not closing.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    finally:
        closing.set()
        listening.close()


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def endless(head: bytes, piece: bytes, wait: float = 0.0) -> Harm:
    """Sends the head, then one piece again and again."""

    def made(connection: socket.socket, closing: threading.Event) -> None:
        connection.sendall(head)
        while not closing.wait(wait):
            connection.sendall(piece)

    return made


def once(raw: bytes) -> Harm:
    return lambda connection, closing: connection.sendall(raw)
