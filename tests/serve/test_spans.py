"""OpenTelemetry: what is recorded of a request, and what is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from serving import CHAT, body, client, made, task_of_documents, task_of_texts

from rung.serve import spans
from rung.serve.spans import Spans

pytest.importorskip("opentelemetry.sdk")


@pytest.fixture
def task(base: Callable[[str], Path], home: Path, tmp_path: Path) -> Path:
    return task_of_texts(tmp_path / "orders", base("llama"), rungs="[zero-shot]")


async def recorded(task: Path, *bodies: dict[str, Any], content: bool = False, **headers: str) -> list[Any]:
    """The spans of these requests, asked one after the other."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    with made(task) as server:
        async with client(replace(server, spans=Spans(provider, content)), **headers) as ask:
            for one in bodies:
                await ask.post(CHAT, json=one)
    return list(kept.get_finished_spans())


@pytest.mark.anyio
async def test_a_request_has_its_stages_and_no_text(task: Path) -> None:
    parent = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
    asked = body("orders", "where is order 3", max_tokens=5, temperature=0.5, seed=1, stream=True)
    *stages, whole = await recorded(task, asked, **parent)
    assert [one.name for one in stages] == ["queue", "prefill", "decode"] and whole.name == "chat orders"
    assert all(one.parent.span_id == whole.context.span_id for one in stages)
    assert whole.context.trace_id == int("0af7651916cd43dd8448eb211c80319c", 16) and whole.parent.span_id == int(
        "b7ad6b7169203331", 16
    )
    times = [whole.start_time, *(time for one in stages for time in (one.start_time, one.end_time)), whole.end_time]
    assert times == sorted(times)
    found = dict(whole.attributes)
    assert found["gen_ai.request.model"] == "orders" and found["gen_ai.request.max_tokens"] == 5
    assert found["gen_ai.usage.output_tokens"] in range(1, 6) and found["gen_ai.usage.input_tokens"] > 10
    assert found["gen_ai.response.finish_reasons"][0] in ("stop", "length") and found["http.response.status_code"] == 200
    assert "where is order 3" not in whole.to_json() and whole.status.is_unset


@pytest.mark.anyio
async def test_texts_are_recorded_where_that_is_switched_on(task: Path) -> None:
    *_, whole = await recorded(task, body("orders", "where is order 3", max_tokens=4), content=True)
    assert "where is order 3" in whole.attributes["gen_ai.input.messages"]
    assert '"role": "assistant"' in whole.attributes["gen_ai.output.messages"]


@pytest.mark.anyio
async def test_a_refused_request_is_an_error(task: Path) -> None:
    [*_, whole] = await recorded(task, body("orders", "x" * 5000))
    assert whole.attributes["error.type"] == "400" and not whole.status.is_ok and whole.status.description in (None, "")
    assert "gen_ai.usage.input_tokens" not in whole.attributes


@pytest.mark.anyio
async def test_a_search_is_a_stage(base: Callable[[str], Path], encoder: Path, home: Path, tmp_path: Path) -> None:
    task = task_of_documents(tmp_path / "shop", encoder, base=str(base("llama")), rungs="[rag]")
    found = await recorded(task, body("shop", "when is the bicycle shop open?", max_tokens=4))
    assert {one.name for one in found} >= {"queue", "retrieval", "chat shop"}


def test_nothing_is_sent_without_an_address_or_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in spans.ADDRESSES:
        monkeypatch.delenv(name, raising=False)
    assert spans.from_environment() == (None, "")
    monkeypatch.setenv(spans.ADDRESSES[0], "http://127.0.0.1:1")
    monkeypatch.setattr(spans, "_installed", lambda name: False)
    assert spans.from_environment() == (None, f"{spans.ADDRESSES[0]} is set, but no spans are sent: pip install 'rung[otel]'")
    monkeypatch.undo()
    monkeypatch.setenv(spans.ADDRESSES[0], "http://127.0.0.1:1")
    monkeypatch.setenv(spans.CONTENT, "true")
    sender, note = spans.from_environment()
    assert sender and sender.content and note == "spans go to http://127.0.0.1:1, with messages and answers"
    sender.close()
