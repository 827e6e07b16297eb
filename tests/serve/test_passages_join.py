"""Answers from documents are written in the running batch, like all others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from serving import CHAT, body, client, made, task_of_documents

from rung.lm.base import Completion
from rung.lm.inference.causal import CausalEngine
from rung.predictor import Predictor
from rung.retrieve import rewrite
from rung.rows import Message
from rung.types import Example, Prediction

QUESTIONS = ["when is the bicycle shop open?", "what does the bicycle shop pay?", "when is it open on day 3?"]


@pytest.fixture
def task(base: Callable[[str], Path], encoder: Path, home: Path, tmp_path: Path) -> Path:
    return task_of_documents(tmp_path / "shop", encoder, base=str(base("llama")), rungs="[rag]")


def choice(found: Any) -> tuple[str, Any, list[str]]:
    assert found.status_code == 200, found.text
    one = found.json()["choices"][0]
    return one["message"]["content"], one["rung"]["abstained"], [cited["passage"] for cited in one["rung"]["citations"]]


@pytest.mark.anyio
async def test_they_are_those_of_the_rung_and_no_call_of_their_own(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = [{"role": "user", "content": "how long is the guarantee?"}, {"role": "assistant", "content": "five years"}]
    turns = tuple(Message(turn["role"], turn["content"]) for turn in before)
    rows = [Example(text, "") for text in QUESTIONS] + [Example("and on wheels?", "", turns)]
    with made(task) as server:
        served = server.models["shop"]
        assert served.predictor
        wanted = replace(served.predictor, decoding=replace(served.decoding, max_new_tokens=8)).predict(rows, served.engines)

        def alone(*words: Any) -> Any:
            raise AssertionError("a call beside the running batch")

        monkeypatch.setattr(CausalEngine, "generate", alone)
        async with client(server) as ask:
            asked = [body("shop", text, max_tokens=8) for text in QUESTIONS]
            asked.append({"model": "shop", "messages": [*before, {"role": "user", "content": "and on wheels?"}], "max_tokens": 8})
            asked.append(body(next(name for name in server.models if ":" not in name and name != "shop"), "a", max_tokens=8))
            found = await asyncio.gather(*(ask.post(CHAT, json=one) for one in asked))
    assert found[-1].status_code == 200
    for one, row in zip(found, wanted):
        text, abstained, passages = choice(one)
        assert (text, abstained) == (row.output or "I don't know.", row.abstained or None)
        assert passages == [source.id for source in row.sources]


@pytest.mark.anyio
async def test_answers_are_checked_and_rights_and_failures_are_each_asks_own(task: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(self: Predictor, answer: Completion) -> Prediction:
        return Prediction(
            "", "The bicycle shop is open from nine to five on weekdays [1].", None, answer.tokens_in, answer.tokens_out
        )

    monkeypatch.setattr(Predictor, "written", said)
    with made(task) as server:
        async with client(server) as ask:
            text, abstained, passages = choice(await ask.post(CHAT, json=body("shop", QUESTIONS[0], max_tokens=4)))
            assert "nine to five" in text and abstained is None and not any("wages" in one for one in passages)
            piece = await ask.post(CHAT, json=body("shop", QUESTIONS[0], max_tokens=4, stream=True))
            assert "nine to five" in piece.text and piece.text.strip().endswith("[DONE]")
            over = await ask.post(CHAT, json=body("shop", "open " * 3000))
            assert over.status_code == 400 and over.json()["error"]["code"] == "context_length_exceeded"
            monkeypatch.setattr(rewrite, "checked", lambda row, text: 1 / 0)
            turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
            both = await asyncio.gather(
                ask.post(CHAT, json={"model": "shop", "messages": turns}), ask.post(CHAT, json=body("shop", QUESTIONS[0]))
            )
            assert both[0].status_code == 500 and both[1].status_code == 200
