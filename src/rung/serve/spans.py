"""OpenTelemetry: each request for text as a span with its stages under it, after the conventions for generative AI.

https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-spans/. The packages are an extra; without an address to send to,
nothing is recorded.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rung.rows import Message
from rung.serve.answering.job import Job, Outcome
from rung.version import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

ADDRESSES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
STAGES = (
    ("queue", "asked", "taken"),
    ("retrieval", "searched", "found"),
    ("prefill", "joined", "first"),
    ("decode", "first", "ended"),
)
"""Spans under a request, each from one time of a job (`Job.times`) to another."""


@dataclass(frozen=True)
class Spans:
    """Writes spans. `content`: with the messages and answers, too."""

    provider: TracerProvider
    content: bool = False

    def record(
        self,
        operation: str,
        jobs: Sequence[Job],
        outcomes: Sequence[Sequence[Outcome]],
        named: Mapping[str, Any],
        error: str,
        headers: Mapping[str, str],
    ) -> None:
        """One request that ended. `named`: its attributes beyond those of its jobs; `headers`: of the client, with its trace."""
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        tracer = self.provider.get_tracer("rung.serve", __version__)
        parent = TraceContextTextMapPropagator().extract(dict(headers))
        chat = jobs[0].chat
        attributes, began = _attributes(operation, jobs, outcomes) | dict(named), jobs[0].times["asked"]
        whole = tracer.start_span(f"{operation} {chat.model}", parent, trace.SpanKind.SERVER, attributes, start_time=began)
        if error:
            whole.set_status(trace.StatusCode.ERROR, error if self.content else "")
        if self.content:
            whole.set_attribute("gen_ai.input.messages", _shown(chat.messages))
            answers = [Message("assistant", one.text) for each in outcomes for one in each]
            whole.set_attribute("gen_ai.output.messages", _shown(answers))
        for job in jobs:
            for name, begin, end in STAGES:
                if begin in job.times and end in job.times:
                    part = tracer.start_span(name, trace.set_span_in_context(whole), start_time=job.times[begin])
                    part.end(job.times[end])
        whole.end()

    def close(self) -> None:
        """Send what is left."""
        self.provider.shutdown()


def from_environment() -> tuple[Spans | None, str]:
    """Spans sent where OpenTelemetry's variables say, and what to tell the user: where they go, or why none do."""
    address = next((os.environ[name] for name in ADDRESSES if os.environ.get(name)), "")
    if not address or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None, ""
    if not all(map(_installed, ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"))):
        return None, f"{ADDRESSES[0]} is set, but no spans are sent: pip install 'rung[otel]'"
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "rung"}
    provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    content = os.environ.get(CONTENT, "").lower() in ("true", "1", "span_only", "span_and_event")
    return Spans(provider, content), f"spans go to {address}" + (", with messages and answers" if content else "")


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of the package that it lies in
        return False


def _attributes(operation: str, jobs: Sequence[Job], outcomes: Sequence[Sequence[Outcome]]) -> dict[str, Any]:
    chat = jobs[0].chat
    found: dict[str, Any] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": "rung",
        "gen_ai.request.model": chat.model,
        "gen_ai.request.max_tokens": chat.max_tokens,
        "gen_ai.request.temperature": chat.temperature,
        "gen_ai.request.top_p": chat.top_p,
        "gen_ai.request.seed": chat.seed,
        "gen_ai.request.choice.count": chat.n if chat.n > 1 else None,
        "gen_ai.request.stop_sequences": chat.stop or None,
        "gen_ai.output.type": "json" if chat.schema else "text",
    }
    if outcomes:
        found |= {
            "gen_ai.usage.input_tokens": sum(max((one.tokens_in for one in each), default=0) for each in outcomes),
            "gen_ai.usage.output_tokens": sum(one.tokens_out for each in outcomes for one in each),
            "gen_ai.usage.cache_read.input_tokens": sum(max((one.tokens_cached for one in each), default=0) for each in outcomes),
            "gen_ai.response.finish_reasons": [one.finish for each in outcomes for one in each],
        }
    return {name: value for name, value in found.items() if value is not None}


def _shown(turns: Sequence[Message]) -> str:
    """Messages in the conventions' JSON."""
    found = [{"role": turn.role, "parts": [{"type": "text", "content": turn.content or turn.extra}]} for turn in turns]
    return json.dumps(found, ensure_ascii=False)
