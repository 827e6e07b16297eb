"""Answers in the form that a client asks for: JSON of a schema, any JSON object, and log-probabilities."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from serving import CHAT, body, chunks, client, made, streamed, task_of_documents, task_of_labels, task_of_texts

from rung.lm.inference.fake import FakeEngine

SHAPE = {
    "type": "object",
    "properties": {"ok": {"type": "boolean"}, "kind": {"enum": ["late", "lost"]}},
    "required": ["ok", "kind"],
    "additionalProperties": False,
}
FORM = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SHAPE}}


@pytest.fixture
def texts(tmp_path: Path, home: Path, base: Callable[[str], Path]) -> Path:
    return task_of_texts(tmp_path / "letters", base("llama"), rungs="[zero-shot]")


def asked(folder: Path, *calls: tuple[str, dict[str, Any]]) -> list[Any]:
    async def run(one: Any) -> list[Any]:
        async with client(one) as http:
            return await asyncio.gather(*(http.post(path, json=content) for path, content in calls))

    with made(folder) as one:
        return asyncio.run(run(one))


def test_an_answer_follows_the_schema_at_each_endpoint(texts: Path) -> None:
    more = {"max_tokens": 60, "temperature": 1.5, "seed": 3}
    chat, stream, response, free = asked(
        texts,
        (CHAT, body("letters", **more, n=4, response_format=FORM)),
        (CHAT, body("letters", max_tokens=60, response_format=FORM, stream=True)),
        (
            "/v1/responses",
            {
                "model": "letters",
                "input": "x",
                "max_output_tokens": 60,
                "text": {"format": {"type": "json_schema", "name": "answer", "schema": SHAPE}},
            },
        ),
        (CHAT, body("letters", **more)),
    )
    said = [choice["message"]["content"] for choice in chat.json()["choices"]]
    said += [streamed(chunks(stream.text)), response.json()["output"][0]["content"][0]["text"]]
    found = [json.loads(text) for text in said]
    assert all(set(one) == {"ok", "kind"} and one["kind"] in ("late", "lost") and isinstance(one["ok"], bool) for one in found)
    assert len({json.dumps(one) for one in found}) > 1  # the schema is followed, not one answer given
    assert not free.json()["choices"][0]["message"]["content"].startswith("{")


def test_any_object(texts: Path) -> None:
    [found] = asked(texts, (CHAT, body("letters", max_tokens=300, response_format={"type": "json_object"})))
    choice = found.json()["choices"][0]
    assert choice["message"]["content"].startswith("{")
    if choice["finish_reason"] == "stop":
        assert isinstance(json.loads(choice["message"]["content"]), dict)


def test_a_schema_that_only_decoding_finds_empty_is_the_clients_fault(texts: Path) -> None:
    empty = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": empty}}
    bad, good = asked(texts, (CHAT, body("letters", response_format=form)), (CHAT, body("letters", max_tokens=4)))
    assert bad.status_code == 400 and "JSON schema" in bad.json()["error"]["message"]
    assert good.status_code == 200


def test_a_model_that_cannot_follow_a_form_says_so(tmp_path: Path, home: Path, encoder: Path) -> None:
    labels, documents = task_of_labels(tmp_path / "support"), task_of_documents(tmp_path / "staff", encoder)
    for folder in (labels, documents):
        form, logs = asked(
            folder,
            (CHAT, body(folder.name, response_format={"type": "json_object"})),
            (CHAT, body(folder.name, logprobs=True)),
        )
        assert (form.status_code, form.json()["error"]["param"]) == (400, "response_format")
        assert (logs.status_code, logs.json()["error"]["param"]) == (400, "logprobs")


def test_a_label_comes_with_the_log_probabilities_of_all(tmp_path: Path, home: Path, base: Callable[[str], Path]) -> None:
    labels = task_of_labels(tmp_path / "support", base=str(base("llama")), rungs="[zero-shot]")
    whole, stream, plain = asked(
        labels,
        (CHAT, body("support", logprobs=True, top_logprobs=3)),
        (CHAT, body("support", logprobs=True, top_logprobs=2, stream=True)),
        (CHAT, body("support")),
    )
    choice = whole.json()["choices"][0]
    [found] = choice["logprobs"]["content"]
    shares = {one["token"]: math.exp(one["logprob"]) for one in found["top_logprobs"]}
    assert set(shares) == {"refund", "delivery", "fault"} and math.isclose(sum(shares.values()), 1.0, abs_tol=1e-5)
    assert found["token"] == choice["message"]["content"] == max(shares, key=lambda label: shares[label])
    assert math.isclose(shares[found["token"]], choice["rung"]["confidence"], abs_tol=1e-3)
    assert bytes(found["bytes"]).decode() == found["token"]
    last = chunks(stream.text)[-1]["choices"][0]
    assert math.isclose(last["logprobs"]["content"][0]["logprob"], found["logprob"], abs_tol=1e-5)
    assert len(last["logprobs"]["content"][0]["top_logprobs"]) == 2
    assert plain.json()["choices"][0]["logprobs"] is None
    assert not hasattr(FakeEngine, "weigh")  # so the test above needs a model that gives them


def test_free_text_comes_with_the_log_probabilities_of_its_tokens(texts: Path) -> None:
    more = {"max_tokens": 8, "logprobs": True, "top_logprobs": 3}
    whole, stream, legacy, drawn, stopped = asked(
        texts,
        (CHAT, body("letters", **more)),
        (CHAT, body("letters", **more, stream=True)),
        ("/v1/completions", {"model": "letters", "prompt": "the courier is late", "max_tokens": 8, "logprobs": 3}),
        (CHAT, body("letters", **more, temperature=1.8, seed=1)),
        (CHAT, body("letters", **more, response_format=FORM)),
    )
    choice = whole.json()["choices"][0]
    found = choice["logprobs"]["content"]
    joined = re.sub("\ufffd+", "\ufffd", "".join(one["token"] for one in found)).strip()  # tokens are parts of characters here
    assert joined == choice["message"]["content"] and 1 < len(found) <= 8
    for one in found:  # greedy: each token is the likeliest
        assert one["top_logprobs"][0]["token"] == one["token"] and one["logprob"] == one["top_logprobs"][0]["logprob"] <= 0
        assert len(one["top_logprobs"]) == 3 and one["top_logprobs"][0]["logprob"] >= one["top_logprobs"][2]["logprob"]
    said = chunks(stream.text)
    streamed_found = [one for chunk in said for one in (chunk["choices"][0]["logprobs"] or {"content": []})["content"]]
    assert [one["token"] for one in streamed_found] == [one["token"] for one in found]
    old = legacy.json()["choices"][0]["logprobs"]
    assert old["tokens"] == [one["token"] for one in found] and old["text_offset"][:2] == [0, len(found[0]["token"])]
    assert all(math.isclose(a, one["logprob"], abs_tol=1e-4) for a, one in zip(old["token_logprobs"], found))
    free = drawn.json()["choices"][0]["logprobs"]["content"]
    assert any(one["token"] != one["top_logprobs"][0]["token"] for one in free)
    masked = stopped.json()["choices"][0]["logprobs"]["content"]
    assert masked[0]["token"].startswith("{") and masked[0]["logprob"] < masked[0]["top_logprobs"][0]["logprob"]


def test_the_tokens_after_a_stop_text_are_left_out(texts: Path) -> None:
    [whole] = asked(texts, (CHAT, body("letters", max_tokens=12)))
    text = whole.json()["choices"][0]["message"]["content"]
    stop = text[2:4]
    [cut] = asked(texts, (CHAT, body("letters", max_tokens=12, stop=stop, logprobs=True)))
    choice = cut.json()["choices"][0]
    joined = "".join(one["token"] for one in choice["logprobs"]["content"]).lstrip()
    assert joined.startswith(choice["message"]["content"]) and len(joined) < len(choice["message"]["content"]) + len(stop) + 1
