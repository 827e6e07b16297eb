"""Writing held to a JSON schema: tokens after which no such JSON could follow are never drawn.

The grammar is llguidance's (https://github.com/guidance-ai/llguidance, MIT), the extra `json`: it works on the bytes of
any tokenizer, where a mask of one's own over tokens that hold several signs of JSON is easily wrong.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch

from rung.errors import ModelError


class Guide:
    """Follows one answer. `tokens` is what `vocabulary` made of the model's tokenizer."""

    def __init__(self, tokens: Any, schema: str):
        from llguidance import LLMatcher

        # blanks as json.dumps sets them: left free, a small model writes blanks for ever
        blanks = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
        grammar = LLMatcher.grammar_from_json_schema(json.dumps({**json.loads(schema), "x-guidance": blanks}))
        self._matcher = LLMatcher(tokens, grammar)
        self._told()

    def held(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits (vocabulary,) with minus infinity for what must not come next."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._told()
        allowed = torch.zeros(len(logits), dtype=torch.bool)
        found = torch.from_numpy(np.unpackbits(bits, bitorder="little")[: len(logits)]).bool()
        allowed[: len(found)] = found
        return logits.masked_fill(~allowed.to(logits.device), float("-inf"))

    def take(self, token: int) -> None:
        """A token was drawn."""
        self._matcher.consume_token(token)
        self._told()

    def _told(self) -> None:
        if self._matcher.is_error():
            raise ModelError(f"the answer cannot be held to its schema: {self._matcher.get_error()}")


def vocabulary(tokenizer: Any, end: int) -> Any:
    """A tokenizer as grammars read it, made once; `end` is the token that ends an answer. ModelError without llguidance."""
    try:
        from llguidance.hf import from_tokenizer
    except ImportError as error:
        raise ModelError(
            "answers held to JSON need llguidance, which is not installed.", remedy="pip install 'rung[json]'."
        ) from error
    return from_tokenizer(tokenizer, eos_token=end)
