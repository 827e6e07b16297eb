"""Chat messages to tokens and back: templates, the end token, and which tokens are targets."""

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
from rung.lm.models import tool_form
from rung.lm.models.template import Template
from rung.lm.trees.tree import Row
from rung.types import Message

if TYPE_CHECKING:
    from rung.lm.base import Decoding
    from rung.lm.models.json_guide import Guide

_PLACEHOLDER = "ANSWERMARK"


def tokenizer(folder: Path) -> Any:
    """A model folder's tokenizer.

    AutoTokenizer takes seconds, because it imports torch to look up the class. If transformers itself wrote the folder's
    tokenizer.json, the class is known, and only that one is imported: `rung plan` must be fast.
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
    """A tokenizer, and the one way from messages to tokens, the same in training and inference."""

    tokenizer: Any

    def text(self, messages: Sequence[Message]) -> str:
        """The rendered chat up to the answer.

        If the template takes no system message, its text goes before the first user turn; if roles must alternate,
        consecutive turns of one role are joined. TemplateError if the template still rejects the messages.
        """
        turns, tools = self._parts(messages)
        return self._template.render(turns, add_generation_prompt=True, **({"tools": tools} if tools else {}))

    def form(self, messages: Sequence[Message]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """The turns and the tools that `text` renders, as another program may pass them to the same template."""
        turns, tools = self._parts(messages)
        return self._template.form(turns, add_generation_prompt=True, **({"tools": tools} if tools else {})), tools

    def _parts(self, messages: Sequence[Message]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        tools = [self._escaped_in(one) for m in messages if m.role == calls.TOOLS for one in json.loads(m.content)]
        return [self._turn(m) for m in messages if m.role != calls.TOOLS], tools

    def _turn(self, message: Message) -> dict[str, Any]:
        """A message in the template's form, its text escaped so that nothing in it is read as a special token."""
        extra = {name: value for name, value in message.fields.items() if name not in ("role", "content")}
        try:
            decoded = {calls.KEY: calls.with_arguments(extra[calls.KEY], as_text=False)} if calls.KEY in extra else {}
        except (ValueError, RecursionError) as error:
            raise self._template.error(str(error)) from error
        return {"role": message.role, "content": self._escaped(message.content), **self._escaped_in({**extra, **decoded})}

    @cached_property
    def _template(self) -> Template:
        return Template(self.tokenizer)

    def prompt(self, messages: Sequence[Message], begun: str = "") -> tuple[int, ...]:
        """Tokens up to the answer, and of the text that the answer has `begun` with.

        Without messages there is no chat, only a text to continue. Exactly one begin token if the model uses one, never two.
        """
        ids = (self._encode(self.text(messages)) if messages else ()) + self._encode(self._escaped(begun))
        if self._begin is not None and ids[:1] != (self._begin,):
            return (self._begin, *ids)
        return ids

    def answer(self, text: str) -> tuple[int, ...]:
        """Tokens of an answer and its end token. Tool calls are rendered by the template."""
        if called := calls.parse_output(text):
            return (*self._encode(self._render_calls(self._escaped_in(called))), self.end)
        return (*self._encode(self._escaped(text)), self.end)

    def _render_calls(self, called: Sequence[dict[str, Any]]) -> str:
        """Tool calls as the template renders them, without the end of the turn. TemplateError if it does not render them."""
        question = {"role": "user", "content": "x"}
        before = self._template.render([question], add_generation_prompt=True)
        whole = self._template.render([question, {"role": "assistant", "content": "", calls.KEY: calls.as_message(called)}])
        if not whole.startswith(before):
            raise self._template.error("it renders tool calls in another place than answers")
        return whole[len(before) :].rpartition(self.tokenizer.decode([self.end]))[0] or whole[len(before) :].rstrip()

    def answers(self, labels: Sequence[str]) -> list[tuple[int, ...]]:
        """Tokens of each label and its end token. DataError if two labels have the same tokens."""
        answers = [self.answer(label) for label in labels]
        if len(set(answers)) < len(answers):
            alike = [label for label, answer in zip(labels, answers) if answers.count(answer) > 1]
            raise DataError(
                f"the model's tokenizer cannot tell the labels {', '.join(alike)} apart.", remedy="Rename them in the data."
            )
        return answers

    def row(self, messages: Sequence[Message], answer: str, weight: float = 1.0, begun: str = "") -> Row:
        """A training row: prompt and `begun` are context; the rest of the answer and its end token are targets."""
        prompt, tail = self.prompt(messages, begun), self.answer(answer)
        return Row(prompt + tail, (False,) * len(prompt) + (True,) * len(tail), weight)

    def length(self, text: str) -> int:
        """Tokens of a plain text."""
        return len(self._encode(text))

    def tokens(self, text: str) -> tuple[int, ...]:
        """Tokens of a text as it is: special tokens that stand in it count as such."""
        return self._encode(text)

    @property
    def template(self) -> str:
        """The chat template that prompts are rendered with, complete: it sets the begin token where the model wants one."""
        source = self._template.source
        starts = self.prompt([Message("user", "x")])[:1] == self.tokens(self.text([Message("user", "x")]))[:1]
        return source if starts else "{{ bos_token }}" + source

    @property
    def begin(self) -> str:
        """The text of the begin token where the tokenizer puts one before any text; empty where it does not."""
        return "" if self._begin is None else str(self.tokenizer.bos_token)

    def shown(self, row: Row) -> list[tuple[str, bool]]:
        """A row as pieces of text, special tokens included, each with whether its tokens are targets."""
        return [
            (self.tokenizer.decode([token for token, _ in run]), target)
            for target, run in groupby(zip(row.tokens, row.targets), key=lambda pair: pair[1])
        ]

    @cached_property
    def end(self) -> int:
        """The token that ends an answer in the template: a target in training, a stop token in generation."""
        turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": _PLACEHOLDER}]
        after = self._template.render(turns).split(_PLACEHOLDER)[-1]
        ids = self._encode(after)
        if ids and ids[0] in self.tokenizer.all_special_ids:
            return ids[0]
        if self.tokenizer.eos_token_id is None:
            raise ModelError(
                "the tokenizer has no end token, so an answer would never stop.",
                remedy="Set eos_token in its tokenizer_config.json.",
            )
        return int(self.tokenizer.eos_token_id)

    @cached_property
    def stops(self) -> frozenset[int]:
        """Tokens at which generation ends."""
        eos = self.tokenizer.eos_token_id
        return frozenset({self.end} | ({int(eos)} if eos is not None else set()))

    @cached_property
    def tool_form(self) -> tool_form.ToolForm | None:
        """How the template writes calls of tools; None where it has no form for them."""
        return tool_form.read(lambda turns, tools: self._template.render(turns, tools=tools), self._render_calls)

    def guide(self, decoding: Decoding) -> Guide | None:
        """Constrains one answer to the decoding's JSON schema; None without one."""
        from rung.lm.models import json_guide

        grammar = self.grammar(decoding)
        return json_guide.Guide(self._vocabulary, grammar) if grammar else None

    def grammar(self, decoding: Decoding) -> str:
        """The decoding's JSON schema as a grammar of llguidance; empty without one. Calls are written in the template's form."""
        if not decoding.schema:
            return ""
        from rung.lm.models import json_guide

        form = self.tool_form if decoding.template_calls else None
        if form is None:
            return json_guide.grammar(decoding.schema)
        special = [str(token) for token in self.tokenizer.added_tokens_decoder.values()]
        return form.grammar(decoding.schema, special, json_guide.SPACING)

    @cached_property
    def _vocabulary(self) -> Any:
        from rung.lm.models.json_guide import vocabulary

        return vocabulary(self.tokenizer, self.end)

    def decode(self, ids: Sequence[int]) -> str:
        return self.tokenizer.decode(list(ids), skip_special_tokens=True)

    def spelled(self, token: int) -> str:
        """One token as text, special ones as they are written; a part of a character as \\ufffd."""
        return str(self.tokenizer.decode([token], skip_special_tokens=False))

    @cached_property
    def _begin(self) -> int | None:
        """The begin token, if the tokenizer itself prepends one to every text."""
        bos = self.tokenizer.bos_token_id
        return bos if bos is not None and self.tokenizer("x").input_ids[:1] == [bos] else None

    def _escaped(self, text: str) -> str:
        """The text with special tokens broken up, however they are spelled: no text can end its turn or start another."""
        return marks.split_special_tokens(text, self._special)

    def _escaped_in(self, value: Any) -> Any:
        """A value of decoded JSON with every text in it escaped, keys too. In JSON text a mark can be spelled `\\u003c…`.

        TemplateError where it is nested deeper than Python supports.
        """
        try:
            return calls.with_texts(value, self._escaped)
        except RecursionError:
            raise self._template.error("tools or their calls are nested too deep") from None

    @cached_property
    def _special(self) -> tuple[str, ...]:
        """Spellings of special tokens, longest first; single characters are ordinary text."""
        added = [str(token) for token in self.tokenizer.added_tokens_decoder.values() if token.special]
        return tuple(sorted((mark for mark in added if len(mark) > 1), key=len, reverse=True))

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self.tokenizer(text, add_special_tokens=False).input_ids)


def name_ends(model: Any, chat: Chat) -> None:
    """Say in a model's generation config which tokens end an answer, and do not pad with one of them."""
    generation = model.generation_config
    generation.eos_token_id = sorted(chat.stops)
    if generation.pad_token_id in chat.stops:
        generation.pad_token_id = None
