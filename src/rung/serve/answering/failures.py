"""What a client learns of a failure."""

from __future__ import annotations

from rung.errors import DataError, ModelError, RungError, TemplateError
from rung.serve.endpoints.refused import Refused


def too_long(tokens: int, context: int) -> Refused:
    """For a prompt of free text that the model's context has no room for."""
    return over_context(f"prompt of {tokens} tokens is over the context of {context}, of which its answer needs 1")


def over_context(why: str) -> Refused:
    """For a prompt that is too long, with the reason."""
    return Refused(400, f"{why}.", param="messages", code="context_length_exceeded")


def failure(error: Exception) -> Refused:
    """What a client learns of an error: of ours that it is one, of what a user can mend what it says."""
    from rung.lm.out_of_memory import ran_out  # late: it imports torch

    if ran_out(error):
        return Refused(503, "memory ran out over this request.", code="out_of_memory", retry_after=5)
    if isinstance(error, DataError | TemplateError):
        return Refused(400, str(error), param="messages")
    if isinstance(error, ModelError):
        return Refused(502, str(error), code="model_error")
    if isinstance(error, RungError):
        return Refused(500, str(error), code="task_error")
    return Refused(500, "an internal error; the server's log has more.", code="internal_error")
