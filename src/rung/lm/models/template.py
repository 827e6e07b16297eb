"""A tokenizer's chat template, and messages in a form that it accepts."""

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

_PLACEHOLDER = "SYSTEMMARK"
Turn = dict[str, Any]


@dataclass(frozen=True)
class Template:
    """A tokenizer's chat template, or PLAIN_TEMPLATE if it has none."""

    tokenizer: Any

    @cached_property
    def source(self) -> str:
        """Its text. Of several named templates `default`, or the only one. TemplateError if that is ambiguous."""
        return self._named("default")

    def _named(self, name: str) -> str:
        found = self.tokenizer.chat_template
        if isinstance(found, dict):
            found = found.get(name) or found.get("default") or (next(iter(found.values())) if len(found) == 1 else found)
        if found and not isinstance(found, str):
            raise TemplateError(
                f"it has several chat templates ({', '.join(map(str, found))}), and none is called 'default'.",
                where=self.tokenizer.name_or_path,
                remedy="Name one of them 'default', or save it as chat_template.jinja.",
            )
        return found or PLAIN_TEMPLATE

    def render(self, turns: Sequence[Turn], **options: Any) -> str:
        """The chat as text. `options`: for `apply_chat_template`. TemplateError if every form of it is rejected."""
        return self._accepted(turns, **options)[1]

    def form(self, turns: Sequence[Turn], **options: Any) -> list[Turn]:
        """The form of the turns that `render` uses; other programs render it to the same text."""
        return self._accepted(turns, **options)[0]

    def _accepted(self, turns: Sequence[Turn], **options: Any) -> tuple[list[Turn], str]:
        """The first form that the template accepts, and its text."""
        first: Exception | None = None
        for form in self._forms(list(turns)):
            try:
                text = self._render_form(form, **options)
            except _template_errors() as error:
                first = first or error
                continue
            if missing := [name for name in _called(form) if name not in text]:
                raise self.error(f"it drops the call of the tool {missing[0]!r}", "A template that renders tool calls is needed.")
            return form, text
        raise self.error(_first_line(first)) from first

    def error(self, why: str, more: str = "") -> TemplateError:
        """A TemplateError with the reason."""
        return TemplateError(
            f"its chat template rejects the messages ({why}).",
            where=self.tokenizer.name_or_path,
            remedy=f"{more} Correct chat_template in its folder, or choose another base.".strip(),
        )

    def _render_form(self, turns: list[Turn], **options: Any) -> str:
        source = self._named("tool_use") if "tools" in options or _called(turns) else self.source
        try:
            return self._apply(turns, source, as_text=False, **options)
        except _template_errors():
            if not _called(turns):
                raise
            return self._apply(turns, source, as_text=True, **options)  # some templates expect arguments as text

    def _apply(self, turns: list[Turn], source: str, as_text: bool, **options: Any) -> str:
        messages = [
            {**turn, calls.KEY: calls.with_arguments(turn[calls.KEY], as_text)} if calls.KEY in turn else turn for turn in turns
        ]
        return self.tokenizer.apply_chat_template(messages, chat_template=source, tokenize=False, **options)

    def _forms(self, turns: list[Turn]) -> Iterator[list[Turn]]:
        """The turns unchanged, then in forms that stricter templates accept. No form twice."""
        begin = [turns, joined(turns)] if self._takes_system or not _system(turns) else []
        tried: list[list[Turn]] = []
        for form in (*begin, folded(turns), joined(folded(turns))):
            if form not in tried:
                tried.append(form)
                yield form

    @cached_property
    def _takes_system(self) -> bool:
        """Whether the template renders a system message. Some raise; some silently drop it."""
        try:
            turns = [{"role": "system", "content": _PLACEHOLDER}, {"role": "user", "content": "x"}]
            return _PLACEHOLDER in self._render_form(turns)
        except _template_errors():
            return False


def folded(turns: Sequence[Turn]) -> list[Turn]:
    """The system message before the first user turn, or as a user turn of its own if another turn comes first."""
    rest = [turn for turn in turns if turn["role"] != "system"]
    if not (system := _system(turns)):
        return rest
    if rest and rest[0]["role"] == "user":
        return [{**rest[0], "content": f"{system}\n\n{rest[0]['content']}"}, *rest[1:]]
    return [{"role": "user", "content": system}, *rest]


def joined(turns: Sequence[Turn]) -> list[Turn]:
    """Consecutive turns of one role as one, their texts separated by an empty line. Tool calls stay separate."""
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


def _template_errors() -> tuple[type[Exception], ...]:
    """Jinja's errors, and Python's from a template's compiled code (a `break` outside a loop) and its values."""
    from jinja2 import TemplateError as JinjaError

    return (JinjaError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError, RecursionError, SyntaxError)


def _first_line(error: Exception | None) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return f"{type(error).__name__}: {lines[0]}" if lines[0] != type(error).__name__ else lines[0]
