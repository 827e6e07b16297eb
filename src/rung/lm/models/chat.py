"""Chat messages to tokens and back: templates, where an answer ends, and which tokens are trained on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rung import calls, marks
from rung.errors import DataError, ModelError
from rung.lm.models.template import Template
from rung.lm.trees.tree import Row
from rung.types import Message

if TYPE_CHECKING:
    from rung.lm.models.json_guide import Guide

_MARK = "ANSWERMARK"


def tokenizer(folder: Path) -> Any:
    """A model folder's tokenizer.

    AutoTokenizer takes seconds, for it imports torch to look up the class. Where transformers itself wrote the folder's
    tokenizer.json, the class is known, and only that one is imported: a plan must come quickly.
    """
    config = folder / "tokenizer_config.json"
    named = json.loads(config.read_text(encoding="utf-8")) if config.exists() else {}
    if named.get("tokenizer_class") == "TokenizersBackend" and (folder / "tokenizer.json").exists():
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast.from_pretrained(folder)
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)


@dataclass(frozen=True)
class Chat:
    """A tokenizer with the one way that this project turns messages into tokens, in training and in use alike."""

    tokenizer: Any

    def text(self, messages: Sequence[Message]) -> str:
        """The rendered chat up to where the answer begins.

        Where the template takes no system message it stands in front of the first user turn; where it demands that roles
        alternate, turns of one role are joined. TemplateError where it refuses the messages even so.
        """
        tools = [one for m in messages if m.role == calls.TOOLS for one in json.loads(m.content)]
        turns = [self._turn(m) for m in messages if m.role != calls.TOOLS]
        return self._template.render(turns, add_generation_prompt=True, **({"tools": tools} if tools else {}))

    def _turn(self, message: Message) -> dict[str, Any]:
        """A message as a template takes it, with no text in it that the tokenizer would take for a special token."""
        extra = json.loads(self._defused(message.extra)) if message.extra else {}
        return {"role": message.role, "content": self._defused(message.content), **extra}

    @cached_property
    def _template(self) -> Template:
        return Template(self.tokenizer)

    def prompt(self, messages: Sequence[Message], begun: str = "") -> tuple[int, ...]:
        """Tokens up to where the answer begins, and what it has `begun` with.

        Exactly one begin token where the model wants one, never two.
        """
        ids = self._encode(self.text(messages)) + self._encode(self._defused(begun))
        if self._begin is not None and ids[:1] != (self._begin,):
            return (self._begin, *ids)
        return ids

    def answer(self, text: str) -> tuple[int, ...]:
        """Tokens of an answer and the token that ends it. Calls of tools are written as the template writes them."""
        if called := calls.parse_output(text):
            return (*self._encode(self._called(calls.parse_output(self._defused(text)) or called)), self.end)
        return (*self._encode(self._defused(text)), self.end)

    def _called(self, called: Sequence[dict[str, Any]]) -> str:
        """Calls of tools in the template's own writing, without what closes the turn. TemplateError where it has none."""
        asked = {"role": "user", "content": "x"}
        before = self._template.render([asked], add_generation_prompt=True)
        whole = self._template.render([asked, {"role": "assistant", "content": "", calls.KEY: calls.as_message(called)}])
        if not whole.startswith(before):
            raise self._template.refused("it writes calls of tools in another place than answers")
        return whole[len(before) :].rpartition(self.tokenizer.decode([self.end]))[0] or whole[len(before) :].rstrip()

    def answers(self, labels: Sequence[str]) -> list[tuple[int, ...]]:
        """Tokens of each label and its end. DataError where two labels come to the same tokens."""
        found = [self.answer(label) for label in labels]
        if len(set(found)) < len(found):
            alike = [label for label, answer in zip(labels, found) if found.count(answer) > 1]
            raise DataError(
                f"the model's tokenizer cannot tell the labels {', '.join(alike)} apart.", remedy="Rename them in the data."
            )
        return found

    def row(self, messages: Sequence[Message], answer: str, weight: float = 1.0, begun: str = "") -> Row:
        """A training row: the prompt is read, and what the answer has `begun` with; the rest and its end token are learnt."""
        prompt, tail = self.prompt(messages, begun), self.answer(answer)
        return Row(prompt + tail, (False,) * len(prompt) + (True,) * len(tail), weight)

    def length(self, text: str) -> int:
        """Tokens of a bare text."""
        return len(self._encode(text))

    def shown(self, row: Row) -> list[tuple[str, bool]]:
        """A row as pieces of text, special tokens included, each with whether it is learnt."""
        return [
            (self.tokenizer.decode([token for token, _ in run]), target)
            for target, run in groupby(zip(row.tokens, row.targets), key=lambda pair: pair[1])
        ]

    @cached_property
    def end(self) -> int:
        """The token with which the template closes an answer; the model learns to say it and generation stops at it."""
        turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": _MARK}]
        after = self._template.render(turns).split(_MARK)[-1]
        ids = self._encode(after)
        if ids and ids[0] in self.tokenizer.all_special_ids:
            return ids[0]
        if self.tokenizer.eos_token_id is None:
            raise ModelError(
                "the tokenizer names no end token, so an answer would never stop.",
                remedy="Set eos_token in its tokenizer_config.json.",
            )
        return int(self.tokenizer.eos_token_id)

    @cached_property
    def stops(self) -> frozenset[int]:
        """Tokens at which generation ends."""
        eos = self.tokenizer.eos_token_id
        return frozenset({self.end} | ({int(eos)} if eos is not None else set()))

    def guide(self, schema: str) -> Guide | None:
        """What holds one answer to a JSON schema; None where there is none."""
        if not schema:
            return None
        from rung.lm.models.json_guide import Guide

        return Guide(self._vocabulary, schema)

    @cached_property
    def _vocabulary(self) -> Any:
        from rung.lm.models.json_guide import vocabulary

        return vocabulary(self.tokenizer, self.end)

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    @cached_property
    def _begin(self) -> int | None:
        """The begin token, where the tokenizer itself would set one in front of any text."""
        bos = self.tokenizer.bos_token_id
        return bos if bos is not None and self.tokenizer("x").input_ids[:1] == [bos] else None

    def _defused(self, text: str) -> str:
        """Text that the tokenizer takes for text, however a mark is spelled: nobody's text ends its turn or opens another."""
        return marks.split_special_tokens(text, self._special)

    @cached_property
    def _special(self) -> tuple[str, ...]:
        """Special tokens as they are written, the longest first; single characters are ordinary text."""
        added = [str(token) for token in self.tokenizer.added_tokens_decoder.values() if token.special]
        return tuple(sorted((mark for mark in added if len(mark) > 1), key=len, reverse=True))

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)
