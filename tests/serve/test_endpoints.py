"""The other endpoints of OpenAI's API, asked by its own client in this process: completions, responses, embeddings."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError
from serving import client, made, task_of_labels, task_of_texts

from rung.lm.engines import Engines
from rung.rows import Message
from rung.serve.endpoints import completions, responses
from rung.serve.endpoints.refused import Refused


@pytest.fixture
def texts(tmp_path: Path, home: Path, base: Callable[[str], Path], encoder: Path) -> Path:
    return task_of_texts(tmp_path / "letters", base("llama"), rungs="[zero-shot]", encoder=str(encoder))


@asynccontextmanager
async def openai(one: Any, **more: Any) -> AsyncIterator[AsyncOpenAI]:
    async with client(one) as http:
        yield AsyncOpenAI(base_url="http://127.0.0.1:8000/v1", api_key="none", max_retries=0, http_client=http, **more)


def asked(folder: Path, ask: Callable[[AsyncOpenAI, Any], Any]) -> Any:
    async def run(one: Any) -> Any:
        async with openai(one) as api:
            return await ask(api, one)

    with made(folder) as one:
        return asyncio.run(run(one))


# --- completions ------------------------------------------------------------------------------------------------------


def test_a_text_is_a_rows_input_to_a_task_and_is_continued_by_a_base(texts: Path) -> None:
    async def ask(api: AsyncOpenAI, one: Any) -> None:
        base = next(name for name, served in one.models.items() if served.predictor is None)
        row = await api.completions.create(model="letters", prompt="where is it", max_tokens=8)
        turns: Any = [{"role": "user", "content": "where is it"}]
        assert (
            row.choices[0].text
            == (await api.chat.completions.create(model="letters", messages=turns, max_tokens=8)).choices[0].message.content
        )
        raw = await api.completions.create(model=base, prompt="where is it", max_tokens=8)
        chat = await api.chat.completions.create(model=base, messages=turns, max_tokens=8)
        engine = one.models[base].engines.open(one.models[base].model)
        assert (
            raw.usage
            and chat.usage
            and raw.usage.prompt_tokens == len(engine.chat.tokens("where is it")) + len(engine.chat.begin and [1])
        )
        assert chat.usage.prompt_tokens > raw.usage.prompt_tokens  # the chat template
        chunks = [
            part
            async for part in await api.completions.create(
                model=base, prompt="where is it", max_tokens=8, stream=True, stream_options={"include_usage": True}
            )
        ]
        assert "".join(part.choices[0].text for part in chunks if part.choices) == raw.choices[0].text
        assert chunks[-1].usage and chunks[-1].usage.total_tokens == raw.usage.total_tokens
        assert chunks[-2].choices[0].finish_reason == raw.choices[0].finish_reason

    asked(texts, ask)


def test_several_texts_are_answered_in_order(texts: Path) -> None:
    async def ask(api: AsyncOpenAI, one: Any) -> None:
        several = await api.completions.create(
            model="letters", prompt=["where is it", "refund"], n=2, seed=3, temperature=1.5, max_tokens=6
        )
        each = [
            await api.completions.create(model="letters", prompt=text, n=2, seed=3, temperature=1.5, max_tokens=6)
            for text in ("where is it", "refund")
        ]
        assert [choice.index for choice in several.choices] == [0, 1, 2, 3]
        assert [choice.text for choice in several.choices] == [choice.text for found in each for choice in found.choices]
        assert several.usage and several.usage.prompt_tokens == sum(found.usage.prompt_tokens for found in each if found.usage)

    asked(texts, ask)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("echo", True),
        ("suffix", "x"),
        ("best_of", 2),
        ("prompt", ""),
        ("prompt", [[1, 2]]),
        ("prompt", ["a"] * 17),
        ("made_up", 1),
    ],
)
def test_a_text_that_asks_for_more_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(Refused, match=name):
        completions.read(json.dumps({"model": "m", "prompt": "x", name: value}).encode())


# --- responses --------------------------------------------------------------------------------------------------------


def test_a_response_is_the_chats_answer(texts: Path) -> None:
    async def ask(api: AsyncOpenAI, one: Any) -> None:
        turns: Any = [
            {"role": "system", "content": "be kind"},
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": "hi"},
            {"role": "user", "content": "where is my order"},
        ]
        chat = await api.chat.completions.create(model="letters", messages=turns, max_tokens=8)
        found = await api.responses.create(model="letters", input=turns[1:], instructions="be kind", max_output_tokens=8)
        assert found.output_text == chat.choices[0].message.content != ""
        assert found.usage and chat.usage and found.usage.input_tokens == chat.usage.prompt_tokens
        cut = chat.choices[0].finish_reason == "length"
        assert found.status == ("incomplete" if cut else "completed")
        assert (found.incomplete_details and found.incomplete_details.reason) == ("max_output_tokens" if cut else None)
        assert found.id.startswith("resp_") and found.output[0].id and found.output[0].id.startswith("msg_")

    asked(texts, ask)


def test_a_streamed_response_has_the_events_in_order(texts: Path) -> None:
    async def ask(api: AsyncOpenAI, one: Any) -> None:
        more: Any = {"model": "letters", "input": "where is my order", "max_output_tokens": 8}
        whole = await api.responses.create(**more)
        async with api.responses.stream(**more) as stream:  # the client gathers the answer from its events
            events: list[Any] = [event async for event in stream]
        kinds = [event.type for event in events]
        assert kinds[:4] == [
            "response.created",
            "response.in_progress",
            "response.output_item.added",
            "response.content_part.added",
        ]
        assert [event.sequence_number for event in events] == list(range(len(events)))
        deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
        assert "".join(deltas) == whole.output_text and len(deltas) > 1
        assert kinds[-1] == f"response.{whole.status}"
        with pytest.raises(BadRequestError, match="context"):
            await api.responses.create(**more | {"input": "x" * 3000}, stream=True)

    asked(texts, ask)


def test_a_response_gives_the_log_probabilities_of_a_chat(texts: Path) -> None:
    async def ask(api: AsyncOpenAI, one: Any) -> None:
        text, wanted = "where is my order", {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
        chat = await api.chat.completions.create(
            model="letters", messages=[{"role": "user", "content": text}], max_tokens=8, logprobs=True, top_logprobs=2
        )
        more: Any = {"model": "letters", "input": text, "max_output_tokens": 8, **wanted}
        whole = await api.responses.create(**more)
        async with api.responses.stream(**more) as stream:
            [done] = [event async for event in stream if event.type == "response.output_text.done"]
        noted = chat.choices[0].logprobs
        assert noted and noted.content
        for tokens in (whole.output[0].content[0].logprobs, done.logprobs):  # type: ignore[union-attr]
            assert tokens
            assert [token.token for token in tokens] == [token.token for token in noted.content]
            assert [token.logprob for token in tokens] == pytest.approx([token.logprob for token in noted.content], abs=1e-4)
            assert all(len(token.top_logprobs) == 2 for token in tokens)

    asked(texts, ask)


def test_a_label_is_a_completed_response(tmp_path: Path, home: Path) -> None:
    async def ask(api: AsyncOpenAI, one: Any) -> None:
        found = await api.responses.create(model="support", input="my parcel delivery")
        assert (found.status, found.output_text) == ("completed", "delivery")
        assert 0 < found.output[0].rung["confidence"] <= 1  # type: ignore[union-attr]
        async with api.responses.stream(model="support", input="my parcel delivery") as stream:
            assert (await stream.get_final_response()).output_text == "delivery"

    asked(task_of_labels(tmp_path / "support"), ask)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("previous_response_id", "resp_1"),
        ("tools", [{"type": "web_search"}]),
        ("store", True),
        ("background", True),
        ("include", ["reasoning.encrypted_content"]),
        ("top_logprobs", 2),
        ("conversation", "conv_1"),
        ("input", []),
        ("input", [{"type": "function_call_output", "call_id": "1", "output": "x"}]),
        ("input", [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]),
        ("input", [{"role": "assistant", "content": "x"}]),
        ("max_output_tokens", 0),
    ],
)
def test_a_response_that_asks_for_more_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(Refused, match=name) as found:
        responses.read(json.dumps({"model": "m", "input": "x", name: value}).encode())
    assert (found.value.status, found.value.param) == (400, name)


def test_answers_may_be_sent_back_as_they_came() -> None:
    item = {
        "id": "msg_1",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [{"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}],
    }
    read = responses.read(json.dumps({"model": "m", "input": [item, {"role": "user", "content": "x"}]}).encode())
    assert read.chat.messages == (Message("assistant", "hi"), Message("user", "x"))


# --- embeddings -------------------------------------------------------------------------------------------------------


def test_vectors_are_those_of_the_tasks_embedding_model(texts: Path, encoder: Path) -> None:
    words = [f"order {i} is late" for i in range(20)]

    async def ask(api: AsyncOpenAI, one: Any) -> None:
        by_task = await api.embeddings.create(model="letters", input=words)  # base64: the client's default
        by_name = await api.embeddings.create(model=str(encoder), input=words[3], encoding_format="float")
        wanted = Engines(one.models["letters"].engines.machine).embedder(str(encoder)).embed(words)
        assert np.allclose([row.embedding for row in by_task.data], wanted, atol=1e-5)
        assert np.allclose(by_name.data[0].embedding, wanted[3], atol=1e-5) and by_name.model == str(encoder)
        assert by_task.usage.prompt_tokens > by_name.usage.prompt_tokens > 0
        with pytest.raises(NotFoundError, match="embedding model 'ada'"):
            await api.embeddings.create(model="ada", input="x")
        with pytest.raises(BadRequestError, match=r"text 1 of 'input' has \d+ tokens"):
            await api.embeddings.create(model="letters", input=["x", "late order " * 2000])
        with pytest.raises(BadRequestError, match="dimensions"):
            await api.embeddings.create(model="letters", input="x", dimensions=8)
        with pytest.raises(BadRequestError, match="input"):
            await api.embeddings.create(model="letters", input=[1, 2, 3])  # tokens of another tokenizer

    asked(texts, ask)


def test_answers_go_on_between_slices_of_an_errand(
    tmp_path: Path, home: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = task_of_labels(tmp_path / "support", encoder=str(encoder))
    seen: list[str] = []

    async def ask(api: AsyncOpenAI, one: Any) -> None:
        embedder = one.models["support"].engines.embedder(str(encoder))
        plain = embedder.embed
        monkeypatch.setattr(embedder, "embed", lambda texts: seen.append("slice") or plain(texts))
        turns: Any = [{"role": "user", "content": "late"}]
        long = asyncio.create_task(api.embeddings.create(model="support", input=["late"] * 640))
        while not seen:
            await asyncio.sleep(0.001)
        await api.chat.completions.create(model="support", messages=turns)
        seen.append("answer")
        assert len((await long).data) == 640

    asked(labels, ask)
    assert seen.count("slice") == 40 and seen.index("answer") < 40
