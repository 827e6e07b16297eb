"""Labels, answers from passages and reasoned answers: a Prediction as the outcome of a request."""

from __future__ import annotations

from rung.lm.engine_kinds import can
from rung.rows import UNKNOWN
from rung.serve.answering.asks import Ask
from rung.serve.answering.failures import over_context
from rung.serve.answering.job import Outcome, Piece
from rung.serve.answering.models import Served
from rung.serve.answering.tool_calls import with_calls
from rung.serve.answering.writing import until
from rung.serve.endpoints.refused import Refused
from rung.types import Prediction, Source


def predicted(served: Served, found: Prediction, ask: Ask) -> Outcome | Refused:
    """What the client is given of one prediction; its whole text in one piece where it wants a stream."""
    if found.error:
        return over_context(found.error) if found.wrong else Refused(502, found.error, code="model_error")
    text, stopped = until(found.output or _open(found), ask.job.chat.stop)
    cut = served.writes and not stopped and not found.abstained and found.tokens_out >= ask.decoding.max_new_tokens
    about: dict[str, object] = {}
    if found.confidence is not None:
        about["confidence"] = found.confidence
    if found.guess:
        about |= {"abstained": found.abstained, "guess": found.guess}
    if served.predictor and served.predictor.lookup:
        about |= {
            "abstained": found.abstained or None,
            "citations": [_citation(k, one) for k, one in enumerate(found.sources, 1)],
        }
    if not can(served.model).writes and len(ask.job.chat.messages) > 1:
        about["messages_read"] = 1
    outcome = Outcome(text, "length" if cut else "stop", found.tokens_in, found.tokens_out, found.tokens_cached, about)
    outcome = with_calls(served, ask.job.chat, outcome)
    if ask.job.chat.stream and outcome.content:
        ask.job.tell(Piece(ask.index, outcome.content))
    return outcome


def _open(found: Prediction) -> str:
    """What stands in place of an answer that is not given."""
    if found.guess:
        sure = "" if found.confidence is None else f" ({found.confidence:.0%})"
        return f"Not sure. Best guess: {found.guess}{sure}"
    return UNKNOWN if found.abstained else ""


def _citation(number: int, source: Source) -> dict[str, object]:
    """A passage that was looked up; [number] in the text stands for it."""
    return {
        "number": number,
        "passage": source.id,
        "document": source.path,
        "section": source.section,
        "where": source.where,
        "text": source.text,
        "cited": source.cited,
    }
