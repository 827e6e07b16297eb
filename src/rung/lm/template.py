"""Chat templates: the one of a tokenizer, and messages in the form that it takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

from rung.errors import TemplateError

PLAIN_TEMPLATE = (
    "{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ m['content'] }}\n\n"
    "{% elif m['role'] == 'user' %}Input: {{ m['content'] }}\nOutput:\n"
    "{% else %}{{ m['content'] }}{{ eos_token }}\n\n{% endif %}"
    "{% endfor %}"
)
"""For base models, which have no chat template of their own."""

_MARK = "SYSTEMMARK"
Turn = dict[str, Any]


@dataclass(frozen=True)
class Template:
    """A tokenizer's chat template; the plain one where it has none."""

    tokenizer: Any

    @cached_property
    def source(self) -> str:
        """Its text. Of several named ones that called `default`, or the only one. TemplateError where it is not clear which."""
        found = self.tokenizer.chat_template
        if isinstance(found, dict):
            found = found.get("default") or (next(iter(found.values())) if len(found) == 1 else found)
        if found and not isinstance(found, str):
            raise TemplateError(
                f"it has several chat templates ({', '.join(map(str, found))}), and none is called 'default'.",
                where=self.tokenizer.name_or_path,
                remedy="Name one of them 'default', or put it into chat_template.jinja.",
            )
        return found or PLAIN_TEMPLATE

    def render(self, turns: Sequence[Turn], **how: Any) -> str:
        """The chat as text. `how`: as `apply_chat_template` takes it. TemplateError where every form of it is refused."""
        first: Exception | None = None
        for form in self._forms(list(turns)):
            try:
                return self._tried(form, **how)
            except _faults() as error:
                first = first or error
        raise TemplateError(
            f"its chat template refuses the messages ({_line(first)}).",
            where=self.tokenizer.name_or_path,
            remedy="Mend chat_template in its folder, or name another base.",
        ) from first

    def _tried(self, turns: list[Turn], **how: Any) -> str:
        return self.tokenizer.apply_chat_template(turns, chat_template=self.source, tokenize=False, **how)

    def _forms(self, turns: list[Turn]) -> Iterator[list[Turn]]:
        """The turns as they are, then in forms that stricter templates take. None is tried twice."""
        begin = [turns, joined(turns)] if self._takes_system or not _system(turns) else []
        tried: list[list[Turn]] = []
        for form in (*begin, folded(turns), joined(folded(turns))):
            if form not in tried:
                tried.append(form)
                yield form

    @cached_property
    def _takes_system(self) -> bool:
        """Whether a system message stands in what the template writes. Some raise; some leave it out without a word."""
        try:
            return _MARK in self._tried([{"role": "system", "content": _MARK}, {"role": "user", "content": "x"}])
        except _faults():
            return False


def folded(turns: Sequence[Turn]) -> list[Turn]:
    """The system message in front of the first user turn, or as a user turn of its own where another turn comes first."""
    rest = [turn for turn in turns if turn["role"] != "system"]
    if not (told := _system(turns)):
        return rest
    if rest and rest[0]["role"] == "user":
        return [{**rest[0], "content": f"{told}\n\n{rest[0]['content']}"}, *rest[1:]]
    return [{"role": "user", "content": told}, *rest]


def joined(turns: Sequence[Turn]) -> list[Turn]:
    """Turns of one role that follow each other as one, their texts with an empty line between. Calls of tools stay apart."""
    out: list[Turn] = []
    for role, group in groupby(turns, key=lambda turn: turn["role"]):
        run = list(group)
        if role == "tool" or any(turn.keys() - {"role", "content"} for turn in run):
            out += run
        else:
            out.append({"role": role, "content": "\n\n".join(turn["content"] for turn in run if turn["content"])})
    return out


def _system(turns: Sequence[Turn]) -> str:
    return "\n\n".join(turn["content"] for turn in turns if turn["role"] == "system" and turn["content"])


def _faults() -> tuple[type[Exception], ...]:
    """What a template can raise: Jinja's own errors, and Python's from what it does with the values."""
    from jinja2 import TemplateError as Refused

    return (Refused, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError)


def _line(error: Exception | None) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{type(error).__name__}: {lines[0]}" if lines[0] != type(error).__name__ else lines[0]
