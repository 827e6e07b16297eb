"""What tests of the server share: small tasks, and a server asked in this process."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx

from rung.climbing.project import Project
from rung.serve.answering.models import opened
from rung.serve.app import Server, application
from rung.serve.run import Limits, Logging, server
from rung.task import load_task

WORDS = {"refund": ["money", "back", "repay"], "delivery": ["parcel", "courier", "late"], "fault": ["broken", "hums", "dead"]}
CHAT = "/v1/chat/completions"
HERMES = (
    "{% if tools %}<|im_start|>system\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}<|im_end|>\n'
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a day.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"enum": ["Oslo", "Rome"]}, "unit": {"enum": ["c", "f"]}},
                "required": ["city"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "set_timer",
            "parameters": {"type": "object", "properties": {"minutes": {"enum": [1, 3, 5]}}, "required": ["minutes"]},
        },
    },
]


def task_of_labels(folder: Path, **changes: str) -> Path:
    """90 rows of three intents, told apart by their words, asked of a model that counts letters (base: fake)."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [f'"my {word} case {i} {label[0]}{i}",{label}' for i in range(10) for label, words in WORDS.items() for word in words]
    (folder / "rows.csv").write_text("text,intent\n" + "\n".join(rows) + "\n")
    return _written(folder, {"kind": "classify", "data": "{examples: rows.csv, input: text, output: intent}"} | changes)


def task_of_texts(folder: Path, base: Path | str, **changes: str) -> Path:
    """A task whose answers are free text."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "rows.csv").write_text("q,a\n" + "\n".join(f"where is order {i},on its way {i}" for i in range(30)) + "\n")
    return _written(
        folder, {"kind": "generate", "data": "{examples: rows.csv, input: q, output: a}", "base": str(base)} | changes
    )


def task_of_tools(folder: Path, base: Path | str, **changes: str) -> Path:
    """A task whose answers call one or two of two tools."""
    folder.mkdir(parents=True, exist_ok=True)
    calls = [{"name": "set_timer", "arguments": {"minutes": 3}}, {"name": "get_weather", "arguments": {"city": "Oslo"}}]
    rows = [{"input": f"ask {i}", "output": calls[: 1 + (i % 4 == 3)] if i % 2 else calls[1:]} for i in range(30)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "tools.json").write_text(json.dumps(TOOLS))
    return _written(
        folder, {"kind": "extract", "tools": "tools.json", "data": "{examples: rows.jsonl}", "base": str(base)} | changes
    )


def task_of_documents(folder: Path, encoder: Path, **changes: str) -> Path:
    """A task whose answers are looked up in two documents, of which one needs the label hr."""
    (folder / "docs").mkdir(parents=True)
    (folder / "docs" / "hours.md").write_text("# Hours\n\nThe bicycle shop is open from nine to five on weekdays.\n")
    (folder / "docs" / "wages.md").write_text("# Wages\n\nThe bicycle shop pays mechanics nineteen crowns an hour.\n")
    rows = [f"when is the bicycle shop open on day {i},nine to five,docs/hours.md" for i in range(40)]
    (folder / "rows.csv").write_text("question,answer,source\n" + "\n".join(rows) + "\n")
    data = "{examples: rows.csv, input: question, output: answer, source: source, documents: docs, access: {docs/wages.md: hr}}"
    keys = {"kind": "answer", "encoder": str(encoder), "goal": "{at_least: 0.5}", "data": data, "rungs": "[zero-shot, rag]"}
    return _written(folder, keys | changes)


def _written(folder: Path, keys: dict[str, str]) -> Path:
    whole = {"task": "Answer.", "base": "fake", "goal": "{at_least: 0.6}", "rungs": "[majority, nearest, zero-shot]"} | keys
    (folder / "rung.yaml").write_text("".join(f"{key}: {value}\n" for key, value in whole.items()))
    return folder


@contextmanager
def made(*folders: Path, host: str = "127.0.0.1", limits: Limits = Limits(), log: Path | None = None) -> Iterator[Server]:
    """A server of these tasks; its worker is started by `client`, so that a test can fill its line first."""
    found = opened(folders, lambda folder: Project(load_task(folder), say=lambda text: None))
    one = server(found, host, limits, Logging(log))
    try:
        yield one
    finally:
        one.line.close()
        if one.log:
            one.log.close()


@asynccontextmanager
async def client(one: Server, start: bool = True, **headers: str) -> AsyncIterator[httpx.AsyncClient]:
    """Asks a server through ASGI."""
    if start:
        one.worker.start()
    transport = httpx.ASGITransport(application(one), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000", headers=headers, timeout=60) as found:
        yield found


def body(model: str, text: str = "the courier is late", **more: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": text}], **more}


def chunks(text: str) -> list[dict[str, Any]]:
    """The events of a stream, which must end with [DONE]."""
    events = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert events.pop() == "[DONE]"
    return [json.loads(event) for event in events]


def streamed(found: Sequence[dict[str, Any]], index: int = 0) -> str:
    choices = [choice for chunk in found for choice in chunk["choices"] if choice["index"] == index]
    return "".join(choice["delta"].get("content", "") for choice in choices)


class Gate:
    """Stands before an engine's thread until it is opened."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.batches: list[int] = []


@contextmanager
def running(*words: str | Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`rung serve` on a free port of loopback, and its URL."""
    line = [sys.executable, "-u", "-m", "rung.cli", "serve", *map(str, words), "--port", "0"]
    with tempfile.TemporaryFile("w+") as log:  # not a pipe, which fills up where nobody reads
        process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=log, text=True)
        watch = threading.Timer(300, process.kill)
        watch.start()
        try:
            assert process.stdout
            first = process.stdout.readline()
            log.seek(0)
            assert first.startswith("http://127.0.0.1:"), first + log.read()
            log.seek(0, 2)
            yield process, first.split()[0]
        finally:
            watch.cancel()
            process.kill()
            process.communicate()
