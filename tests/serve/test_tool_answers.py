"""Calls of a task's tools over HTTP, as OpenAI's own client reads them; and tools, choices and results that requests send."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, BadRequestError
from serving import HERMES, TOOLS, client, made, task_of_texts, task_of_tools

from rung import calls, tools
from rung.climbing.project import Project
from rung.serve.endpoints import chat, responses
from rung.serve.endpoints.refused import Refused
from rung.serve.feedback.rows import write
from rung.task import load_task

USER: dict[str, Any] = {"role": "user", "content": "what is the weather in Oslo"}
STRICT: list[Any] = [{**one, "function": {**one["function"], "strict": True}} for one in TOOLS]
FLAT: list[Any] = [{"type": "function", **one["function"]} for one in TOOLS]


@pytest.fixture(params=["template", "text"])
def folder(request: Any, tmp_path: Path, home: Path, base: Callable[[str], Path]) -> Path:
    """A task with tools on a base whose template has a form for calls, and on one whose template has none."""
    model = base("llama")
    if request.param == "template":
        model = shutil.copytree(model, tmp_path / "hermes")
        (model / "chat_template.jinja").write_text(HERMES)
    return task_of_tools(tmp_path / "agent", model, rungs="[zero-shot]")


def asking(folder: Path, ask: Callable[[AsyncOpenAI, httpx.AsyncClient, Any], Awaitable[None]]) -> None:
    async def run(one: Any) -> None:
        async with client(one) as http:
            api = AsyncOpenAI(base_url="http://127.0.0.1:8000/v1", api_key="none", max_retries=0, http_client=http)
            await ask(api, http, one)

    with made(folder) as one:
        asyncio.run(run(one))


def told(found: Any) -> list[tuple[str, str]]:
    return [(one.function.name, one.function.arguments) for one in found]


def test_calls_are_in_openais_form_at_each_endpoint(folder: Path) -> None:
    async def ask(api: AsyncOpenAI, http: httpx.AsyncClient, one: Any) -> None:
        model: Any = {"model": "agent"}
        choice = (await api.chat.completions.create(**model, messages=[USER])).choices[0]
        assert choice.finish_reason == "tool_calls" and choice.message.content is None and choice.message.tool_calls
        assert all(len(one.id) == 9 and one.type == "function" for one in choice.message.tool_calls)
        want = told(choice.message.tool_calls)
        text = calls.as_output([{"name": name, "arguments": json.loads(given)} for name, given in want])
        assert tools.checked(one.models["agent"].tools.listed, text, "here") == text
        async with api.chat.completions.stream(**model, messages=[USER], tools=STRICT) as stream:
            kinds = [event.type async for event in stream]
            last = await stream.get_final_completion()
        assert told(last.choices[0].message.tool_calls) == want and last.choices[0].finish_reason == "tool_calls"
        assert "content.delta" not in kinds and "tool_calls.function.arguments.done" in kinds
        response = await api.responses.create(**model, input="what is the weather in Oslo", tools=FLAT, tool_choice="auto")
        assert [(item.name, item.arguments) for item in response.output] == want and response.output_text == ""
        assert response.output[0].type == "function_call" and response.tools[0].name == "get_weather"
        async with api.responses.stream(**model, input="what is the weather in Oslo") as events:
            kinds = [event.type async for event in events]
            final = await events.get_final_response()
        assert [(item.name, item.arguments) for item in final.output] == want and final.status == "completed"
        assert "response.function_call_arguments.done" in kinds and "response.output_text.delta" not in kinds
        line = await api.completions.create(**model, prompt="what is the weather in Oslo")
        assert (line.choices[0].text, line.choices[0].finish_reason) == (text, "stop")
        parts = [part async for part in await api.completions.create(**model, prompt=USER["content"], stream=True)]
        assert "".join(part.choices[0].text for part in parts) == text
        assert (await http.get("/v1/models/agent")).json()["rung"]["tools"] == json.loads(one.models["agent"].tools.listed)

    asking(folder, ask)


def test_a_result_reaches_the_model_through_the_template(folder: Path) -> None:
    async def ask(api: AsyncOpenAI, http: httpx.AsyncClient, one: Any) -> None:
        first = (await api.chat.completions.create(model="agent", messages=[USER])).choices[0].message
        results: Any = [
            {"role": "tool", "tool_call_id": call.id, "content": "rain, 4 degrees"} for call in first.tool_calls or ()
        ]
        turns = [USER, first, *results]
        assert (await api.chat.completions.create(model="agent", messages=turns)).choices[0].message.tool_calls
        sent = chat.read(json.dumps({"model": "agent", "messages": [USER, first.to_dict(), *results]}).encode())
        served = one.models["agent"]
        [prompt] = served.predictor.prompts([sent.example], served.engines)
        shown = served.engines.chat(served.model).text(prompt.messages)
        assert sent.example.input == USER["content"] and shown.index("weather in Oslo") < shown.index("rain, 4 degrees")
        assert first.tool_calls and first.tool_calls[0].function.name in shown[shown.index("weather in Oslo") :]
        response: Any = await api.responses.create(model="agent", input="what is the weather in Oslo")
        given = [{"type": "function_call_output", "call_id": item.call_id, "output": "rain"} for item in response.output]
        more = await api.responses.create(model="agent", input=[USER, *response.output, *given])  # type: ignore[list-item]
        assert more.usage and more.usage.input_tokens > response.usage.input_tokens

    asking(folder, ask)


def changed(**more: Any) -> list[Any]:
    found: list[Any] = deepcopy(TOOLS)
    found[0]["function"] |= more
    return found


def test_tools_of_a_client_are_the_tasks_or_refused(tmp_path: Path, home: Path, base: Callable[[str], Path]) -> None:
    folder = task_of_tools(tmp_path / "agent", base("llama"), rungs="[zero-shot]")
    one = {"type": "function", "function": {"name": "set_timer"}}
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"tools": changed(name="get_wether")}, "fixed by its task: it has no 'get_wether', but get_weather, set_timer"),
        ({"tools": TOOLS[:1]}, "it also has 'set_timer'"),
        ({"tools": changed(description="The wind.")}, "'get_weather' has another description or other parameters"),
        ({"tools": changed(parameters={"type": "object", "properties": {}})}, "'get_weather' has another description"),
        ({"tool_choice": "none"}, "fixes that an answer calls any of its tools, 1 to 2 times"),
        ({"tool_choice": one}, "calls any of its tools"),
        ({"parallel_tool_calls": False}, "has up to 2 calls"),
    ]

    async def ask(api: AsyncOpenAI, http: httpx.AsyncClient, server: Any) -> None:
        right = {"tools": [*changed(strict=True)[::-1]], "tool_choice": "required", "parallel_tool_calls": True}
        assert (await api.chat.completions.create(model="agent", messages=[USER], **right)).choices[0].message.tool_calls  # type: ignore[call-overload]
        for more, what in wrong:
            with pytest.raises(BadRequestError, match=what) as caught:
                await api.chat.completions.create(model="agent", messages=[USER], **more)  # type: ignore[call-overload]
            assert caught.value.param == next(iter(more))
        form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"enum": ["yes"]}}}
        free = (await api.chat.completions.create(model="agent", messages=[USER], response_format=form)).choices[0]
        assert (free.message.content, free.message.tool_calls, free.finish_reason) == ('"yes"', None, "stop")
        cut = (await api.chat.completions.create(model="agent", messages=[USER], max_tokens=2)).choices[0]
        assert cut.finish_reason == "length" and cut.message.content and not cut.message.tool_calls

    asking(folder, ask)
    letters = task_of_texts(tmp_path / "letters", base("llama"), rungs="[zero-shot]")

    async def bare(api: AsyncOpenAI, http: httpx.AsyncClient, server: Any) -> None:
        for more in ({"tools": TOOLS}, {"tool_choice": "required"}):
            with pytest.raises(BadRequestError, match="the model 'letters' calls no tools"):
                await api.chat.completions.create(model="letters", messages=[USER], **more)  # type: ignore[call-overload]

    asking(letters, bare)


def test_no_call_is_an_empty_message(tmp_path: Path, home: Path, base: Callable[[str], Path]) -> None:
    folder = task_of_tools(tmp_path / "agent", base("llama"), rungs="[zero-shot]")
    (folder / "rows.jsonl").write_text("\n".join(json.dumps({"input": f"ask {i}", "output": []}) for i in range(30)))

    async def ask(api: AsyncOpenAI, http: httpx.AsyncClient, one: Any) -> None:
        choice = (await api.chat.completions.create(model="agent", messages=[USER])).choices[0]
        assert (choice.message.content, choice.message.tool_calls, choice.finish_reason) == ("", None, "stop")
        response = await api.responses.create(model="agent", input="x")
        assert response.output_text == "" and response.output[0].type == "message"
        wrong = {"id": response.id, "correction": '[{"name": "set_timer", "arguments": {"minutes": 2}}]'}
        refused = await http.post("/v1/feedback", json=wrong)
        assert refused.status_code == 400 and "2 is not one of [1, 3, 5]" in refused.json()["error"]["message"]
        assert (await http.post("/v1/feedback", json={**wrong, "correction": wrong["correction"].replace("2", "3")})).is_success

    asking(folder, ask)
    project = Project(load_task(folder), say=lambda text: None)
    assert write(project, folder / "more.jsonl", folder / "pairs.jsonl").examples == 1
    assert "set_timer" in (folder / "more.jsonl").read_text()


CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "a", "content": "x"}


@pytest.mark.parametrize(
    ("turns", "what"),
    [
        ([USER, RESULT], "messages.1: the assistant's message before it has no open call with the id 'a'"),
        ([USER, CALLING, RESULT, RESULT], "messages.3"),
        ([USER, CALLING], "must be the user's, or the result of a tool"),
        ([CALLING, RESULT], "none of 'messages' is the user's"),
        ([{"role": "assistant"}, USER], "neither content nor tool_calls"),
        ([{**USER, "tool_calls": [CALL]}], "'messages.0.tool_calls' is not supported"),
        ([USER, CALLING, {**RESULT, "tool_call_id": 3}], "tool_call_id"),
    ],
)
def test_turns_of_tools_that_fit_nowhere_are_refused(turns: list[Any], what: str) -> None:
    with pytest.raises(Refused, match=what) as caught:
        chat.read(json.dumps({"model": "m", "messages": turns}).encode())
    assert caught.value.status == 400 and caught.value.param == "messages"


def test_items_of_a_response_are_turns() -> None:
    call = {"type": "function_call", "id": "fc_a", "call_id": "a", "name": "f", "arguments": "{}", "status": "completed"}
    out = {"type": "function_call_output", "call_id": "a", "output": "x"}
    found = responses.read(json.dumps({"model": "m", "input": [USER, call, {**call, "call_id": "b"}, out]}).encode()).chat
    assert [turn.role for turn in found.messages] == ["user", "assistant", "tool"]
    assert found.example.after == found.messages[1:]
    assert [one["id"] for one in found.messages[1].fields["tool_calls"]] == ["a", "b"] and found.example.after == found.messages[
        1:
    ]
