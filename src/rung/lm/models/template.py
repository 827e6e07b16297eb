"""Chat templates: the one of a tokenizer, and messages in the form that it takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import Any

from rung import calls
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
        return self._named("default")

    def _named(self, name: str) -> str:
        found = self.tokenizer.chat_template
        if isinstance(found, dict):
            found = found.get(name) or found.get("default") or (next(iter(found.values())) if len(found) == 1 else found)
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
                text = self._tried(form, **how)
            except _faults() as error:
                first = first or error
                continue
            if lost := [name for name in _called(form) if name not in text]:
                raise self.refused(
                    f"it leaves out the call of the tool {lost[0]!r}", "A template that renders tool calls is needed."
                )
            return text
        raise self.refused(_line(first)) from first

    def refused(self, why: str, more: str = "") -> TemplateError:
        """The error that says why the template cannot be used."""
        return TemplateError(
            f"its chat template refuses the messages ({why}).",
            where=self.tokenizer.name_or_path,
            remedy=f"{more} Mend chat_template in its folder, or name another base.".strip(),
        )

    def _tried(self, turns: list[Turn], **how: Any) -> str:
        source = self._named("tool_use") if "tools" in how or _called(turns) else self.source
        try:
            return self._written(turns, source, as_text=False, **how)
        except _faults():
            if not _called(turns):
                raise
            return self._written(turns, source, as_text=True, **how)  # some templates join arguments as text

    def _written(self, turns: list[Turn], source: str, as_text: bool, **how: Any) -> str:
        given = [
            {**turn, calls.KEY: calls.with_arguments(turn[calls.KEY], as_text)} if calls.KEY in turn else turn for turn in turns
        ]
        return self.tokenizer.apply_chat_template(given, chat_template=source, tokenize=False, **how)

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


def _called(turns: Sequence[Turn]) -> list[str]:
    """Names of the tools that the turns call."""
    return [name for turn in turns for name in calls.names(turn.get(calls.KEY, ()))]


def _system(turns: Sequence[Turn]) -> str:
    return "\n\n".join(turn["content"] for turn in turns if turn["role"] == "system" and turn["content"])


def _faults() -> tuple[type[Exception], ...]:
    """What a template can raise: Jinja's errors, Python's from compiled text (a `break` outside a loop) and from the values."""
    from jinja2 import TemplateError as Refused

    return (Refused, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError, SyntaxError)


def _line(error: Exception | None) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{type(error).__name__}: {lines[0]}" if lines[0] != type(error).__name__ else lines[0]
