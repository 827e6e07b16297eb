"""An answer's tokens as text."""

from __future__ import annotations

from collections.abc import Sequence

from rung import calls
from rung.lm.base import Completion, Decoding, TokenLogprob
from rung.lm.inference.sample import Seen
from rung.lm.models.chat import Chat


def so_far(chat: Chat, tokens: Sequence[int]) -> str:
    """An answer while it is written: without half a character, whose rest follows."""
    return chat.decode(tokens).strip().rstrip("\ufffd")


def completion(
    chat: Chat,
    prompt: Sequence[int],
    tokens: Sequence[int],
    decoding: Decoding,
    cached: int = 0,
    seen: Sequence[Seen] = (),
) -> Completion:
    """A whole answer. `cached`: tokens of the prompt that were not computed again; `seen`: what its sampler noted."""
    finished = bool(tokens) and tokens[-1] in chat.stops
    text = chat.decode(tokens[:-1] if finished else tokens).strip()
    text = calls.normalise_output(text) if decoding.calls else text
    noted = tuple(_noted(chat, one) for one in seen if one[0] not in chat.stops)
    return Completion(text, len(prompt), len(tokens), finished, cached, logprobs=noted)


def _noted(chat: Chat, one: Seen) -> TokenLogprob:
    token, logprob, top = one
    return TokenLogprob(chat.spelled(token), logprob, tuple((chat.spelled(other), log) for other, log in top))
