"""A server as a process of its own: streams over a socket, the openai client, signals."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from serving import CHAT, TOOLS, body, running, task_of_documents, task_of_labels, task_of_texts, task_of_tools

from rung import tools

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"


def test_the_openai_client_is_served_until_sigterm_and_its_last_answer_to_the_end(
    tmp_path: Path, home: Path, base: Callable[[str], Path]
) -> None:
    labels = task_of_labels(tmp_path / "tickets")
    texts = task_of_texts(tmp_path / "letters", base("llama"), rungs="[zero-shot]")
    agent = task_of_tools(tmp_path / "agent", base("llama"), rungs="[zero-shot]")
    with running(labels, texts, agent, "--no-log") as (process, url):
        client = OpenAI(base_url=url, api_key="none", max_retries=0)
        assert {"tickets", "letters", "letters:few-shot", "fake"} <= {model.id for model in client.models.list()}
        assert client.models.retrieve("letters").owned_by == "rung"
        asked = [{"role": "user", "content": "my bike was supposed to be here on Friday"}]
        whole = client.chat.completions.create(model="letters", messages=asked, max_completion_tokens=10)
        stream = client.chat.completions.create(
            model="letters", messages=asked, max_tokens=10, stream=True, stream_options={"include_usage": True}
        )
        chunks = list(stream)
        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert said == whole.choices[0].message.content and chunks[-1].usage.total_tokens == whole.usage.total_tokens > 10
        with pytest.raises(BadRequestError, match="logit_bias"):
            client.chat.completions.create(model="letters", messages=asked, logit_bias={"5": 1})
        with pytest.raises(NotFoundError, match="tickets"):
            client.chat.completions.create(model="gpt", messages=asked)
        calls_and_results(client)
        [program] = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        exec(program.replace("http://127.0.0.1:8000/v1", url), {})  # prints a label and its confidence
        assert (
            subprocess.run(
                [sys.executable, "-m", "rung.cli", "serve", str(labels), "--port", url.split(":")[2].split("/")[0]]
            ).returncode
            == 2
        )
        root = url.removesuffix("/v1")
        more = body("letters", "where is my order", max_tokens=400, stream=True)
        with httpx.Client(timeout=60) as http, http.stream("POST", root + CHAT, json=more) as response:
            lines = response.iter_lines()
            assert next(lines).startswith("data: {")
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            with pytest.raises(httpx.ConnectError):
                httpx.get(f"{root}/healthz")
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert json.loads(rest[-2].removeprefix("data: "))["choices"][0]["finish_reason"] in ("stop", "length")
        assert process.wait(30) == 0
    assert not (texts / ".rung" / "requests.sqlite").exists()


def calls_and_results(client: OpenAI) -> None:
    """A loop of an agent over the socket: a call, whole and streamed, and the next one after its result."""
    turns: list[Any] = [{"role": "user", "content": "what is the weather in Oslo"}]
    asked: dict[str, Any] = {"model": "agent", "tools": TOOLS, "messages": turns}
    first = client.chat.completions.create(**asked).choices[0]
    assert first.finish_reason == "tool_calls" and first.message.tool_calls
    tools.checked(json.dumps(TOOLS), first.message.model_dump_json(), "the answer")
    deltas = [one.choices[0].delta for one in client.chat.completions.create(**asked, stream=True) if one.choices]
    parts = [call.function for delta in deltas for call in delta.tool_calls or ()]
    assert "".join(part.arguments or "" for part in parts) == "".join(one.function.arguments for one in first.message.tool_calls)
    results = [{"role": "tool", "tool_call_id": call.id, "content": "rain"} for call in first.message.tool_calls]
    turns += [first.message, *results]
    assert client.chat.completions.create(**asked).choices[0].message.tool_calls


@pytest.mark.slow
def test_a_changed_document_is_answered_from_within_seconds(tmp_path: Path, home: Path, encoder: Path) -> None:
    folder = task_of_documents(tmp_path / "staff", encoder)
    question = body("staff", "what does the bicycle shop charge for a puncture")
    with running(folder, "--watch") as (process, url), httpx.Client(timeout=60) as http:
        (folder / "docs" / "prices.md").write_text("# Prices\n\nThe bicycle shop charges twelve crowns for a puncture.\n")
        for _ in range(60):
            found = http.post(url.removesuffix("/v1") + CHAT, json=question).json()["choices"][0]
            if "docs/prices.md" in {cited["document"] for cited in found["rung"]["citations"]}:
                break
            time.sleep(1)
        else:
            pytest.fail("the new document was never cited")
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
