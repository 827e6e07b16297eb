"""Decoding constrained by a JSON schema: a token that no valid JSON could follow is never sampled.

The grammar engine is llguidance (https://github.com/guidance-ai/llguidance, MIT), the extra `json`. It works on the bytes of
any tokenizer; a hand-written mask over tokens that contain several JSON characters is easily wrong.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch

from rung.errors import DataError, ModelError

SPACING = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""As in json.dumps: unconstrained, a small model generates whitespace forever."""


class Guide:
    """Follows one answer by a grammar. `tokens`: the model's tokenizer, as `vocabulary` returns it."""

    def __init__(self, tokens: Any, grammar: str):
        from llguidance import LLMatcher

        self._matcher = LLMatcher(tokens, grammar)
        self._check()

    def mask(self, logits: torch.Tensor) -> torch.Tensor:
        """Logits (vocabulary,) with minus infinity for tokens that are not allowed next."""
        bits = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        allowed = torch.zeros(len(logits), dtype=torch.bool)
        unpacked = torch.from_numpy(np.unpackbits(bits, bitorder="little")[: len(logits)]).bool()
        allowed[: len(unpacked)] = unpacked
        return logits.masked_fill(~allowed.to(logits.device), float("-inf"))

    def accept(self, token: int) -> None:
        """Advance by the sampled token."""
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            why = self._matcher.get_error().strip().split("\n")[0]
            raise DataError(f"decoding cannot follow the JSON schema: {why}.", where="the schema of an answer")


def fault(schema: str) -> str:
    """Why a JSON schema cannot be followed; empty for one that can. Needs no tokenizer."""
    from llguidance import LLMatcher

    return str(LLMatcher.validate_grammar(grammar(schema)) or "")


def grammar(schema: str) -> str:
    """The grammar of a JSON schema, as a text that vLLM reads too."""
    return f"%llguidance {{}}\nstart: %json {json.dumps({**json.loads(schema), 'x-guidance': SPACING})}"


def vocabulary(tokenizer: Any, end: int) -> Any:
    """The tokenizer in llguidance's form, built once; `end`: the token that ends an answer. ModelError without llguidance."""
    try:
        from llguidance.hf import from_tokenizer
    except ImportError as error:
        raise ModelError(
            "JSON-constrained answers need llguidance, which is not installed.", remedy="pip install 'rung[json]'."
        ) from error
    return from_tokenizer(tokenizer, eos_token=end)
