"""The models as MCP tools, asked by the client of the mcp package: over HTTP, under keys, and on standard input and output."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from serving import made, task_of_documents, task_of_labels

from rung.serve.access import keys
from rung.serve.app import application
from rung.store import Store

URL = "http://127.0.0.1:8000/mcp"
INIT = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
HEADERS = {"accept": "application/json, text/event-stream"}


@pytest.fixture
def documents(tmp_path: Path, home: Path, encoder: Path) -> Path:
    return task_of_documents(tmp_path / "staff", encoder)


@asynccontextmanager
async def http(one: Any, **headers: str) -> AsyncIterator[httpx2.AsyncClient]:
    one.worker.start()
    app = application(one)
    async with app.router.lifespan_context(app):
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, headers=headers, timeout=60) as found:
            yield found


@asynccontextmanager
async def tools(one: Any, mode: Any = "auto", **headers: str) -> AsyncIterator[Client]:
    async with http(one, **headers) as found, Client(streamable_http_client(URL, http_client=found), mode=mode) as client:
        yield client


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_labels_are_predicted(tmp_path: Path, home: Path, mode: str) -> None:
    async def asked(one: Any) -> None:
        async with tools(one, mode) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == {"ask", "predict"}
            found = await client.call_tool("predict", {"text": "my parcel delivery"})
            assert found.structured_content and found.structured_content["label"] == "delivery"
            assert 0 < found.structured_content["confidence"] <= 1
            wrong = await client.call_tool("predict", {"text": "x", "model": "fake"})
            assert wrong.is_error and "cannot do this" in str(wrong.content)
            wrong = await client.call_tool("ask", {"question": "x", "model": "nobody"})
            assert wrong.is_error and "support" in str(wrong.content)
            assert (await client.call_tool("ask", {"question": ""})).is_error

    with made(task_of_labels(tmp_path / "support")) as one:
        asyncio.run(asked(one))
        assert 'rung_requests_total{model="support",status="200"} 1' in one.numbers.text()


def test_documents_are_searched_and_cited_under_the_labels_of_the_key(documents: Path) -> None:
    reader, guest = keys.add(Store(documents), "ada", ["hr"]), keys.add(Store(documents), "guest")
    question = "what does the bicycle shop pay mechanics an hour"

    async def asked(one: Any, secret: str) -> tuple[set[str], Any]:
        async with tools(one, authorization=f"Bearer {secret}") as client:
            found = (await client.call_tool("search", {"query": question, "count": 5})).structured_content
            answer = (await client.call_tool("ask", {"question": question})).structured_content
            assert found
            return {hit["document"] for hit in found["passages"]}, answer

    for secret, wanted in ((reader, {"docs/hours.md", "docs/wages.md"}), (guest, {"docs/hours.md"})):
        with made(documents, host="0.0.0.0") as one:
            seen, answer = asyncio.run(asked(one, secret))
        assert seen == wanted
        assert {hit["document"] for hit in answer["citations"]} <= wanted
        assert answer["abstained"] or answer["citations"]


def test_a_request_without_a_key_or_of_another_site_is_turned_away(documents: Path) -> None:
    keys.add(Store(documents), "ada")

    async def asked(one: Any, **headers: str) -> int:
        async with http(one, **HEADERS) as found:
            assert (await found.get(URL)).status_code == 405  # no stream of the server's own
            return (await found.post(URL, json=INIT, headers=headers)).status_code

    with made(documents, host="0.0.0.0") as one:
        assert asyncio.run(asked(one)) == 401
    with made(documents) as one:
        assert asyncio.run(asked(one, host="evil.example")) == 403
    with made(documents) as one:
        assert asyncio.run(asked(one, origin="https://evil.example")) == 403
    with made(documents) as one:
        assert asyncio.run(asked(one)) == 200


@pytest.mark.slow
def test_the_tools_on_standard_input_and_output(documents: Path) -> None:
    async def asked(*words: str) -> set[str]:
        args = ["-m", "rung.cli", "mcp", str(documents), *words]
        line = StdioServerParameters(command=sys.executable, args=args, env=dict(os.environ))
        async with Client(line) as client:
            found = await client.call_tool("search", {"query": "what does the bicycle shop pay mechanics"})
            assert found.structured_content
            return {hit["document"] for hit in found.structured_content["passages"]}

    assert asyncio.run(asked("--access", "hr")) == {"docs/hours.md", "docs/wages.md"}
