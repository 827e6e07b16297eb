"""Chat templates that refuse: a system role, roles that do not alternate, broken ones, several under names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rung.errors import TemplateError
from rung.lm.models.chat import Chat, tokenizer
from rung.lm.models.template import folded, joined
from rung.types import Message

TURNS = (
    "{% for m in messages %}[{{ m['role'] }}:{{ m['content'] }}]{% endfor %}{% if add_generation_prompt %}[assistant:{% endif %}"
)
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TURNS
ALTERNATE = (
    "{% set rest = messages[1:] if messages[0]['role'] == 'system' else messages %}{% for m in rest %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}{% endfor %}"
) + TURNS
SILENT = TURNS.replace("[{{", "{% if m['role'] != 'system' %}[{{", 1).replace("]{% endfor", "]{% endif %}{% endfor", 1)
SYSTEM, USER, ANSWER = Message("system", "S"), Message("user", "u"), Message("assistant", "a")


@pytest.fixture
def chat(base: Callable[[str], Path], tmp_path: Path) -> Callable[[Any], Chat]:
    """A chat with a template; a list or a dict in tokenizer_config.json, or files by name."""

    def made(template: Any = None, files: dict[str, str] | None = None) -> Chat:
        folder = shutil.copytree(base("llama-plain"), tmp_path / "m", dirs_exist_ok=True)
        config = folder / "tokenizer_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | ({"chat_template": template} if template else {})))
        for name, text in (files or {}).items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        return Chat(tokenizer(folder))

    return made


@pytest.mark.parametrize(
    ("template", "messages", "wanted"),
    [
        (TURNS, (SYSTEM, USER), "[system:S][user:u][assistant:"),
        (NO_SYSTEM, (SYSTEM, USER), "[user:S\n\nu][assistant:"),
        (NO_SYSTEM, (USER,), "[user:u][assistant:"),
        (SILENT, (SYSTEM, USER), "[user:S\n\nu][assistant:"),
        (NO_SYSTEM, (SYSTEM, ANSWER, USER), "[user:S][assistant:a][user:u][assistant:"),
        (NO_SYSTEM, (SYSTEM,), "[user:S][assistant:"),
        (ALTERNATE, (SYSTEM, USER, USER), "[system:S][user:u\n\nu][assistant:"),
        (ALTERNATE, (SYSTEM, USER, ANSWER, ANSWER, USER), "[system:S][user:u][assistant:a\n\na][user:u][assistant:"),
        (NO_SYSTEM + ALTERNATE.removesuffix(TURNS), (SYSTEM, USER, USER), "[user:S\n\nu\n\nu][assistant:"),
        (ALTERNATE.replace("messages[1:]", "messages"), (SYSTEM, USER), "[user:S\n\nu][assistant:"),
    ],
)
def test_strict_templates_get_a_form_that_they_take(template: str, messages: tuple, wanted: str, chat: Callable) -> None:
    assert chat(template).text(messages) == wanted


@pytest.mark.parametrize(
    "template",
    [
        "{% for m in messages %}",
        "{{ messages",
        "{{ raise_exception('no') }}",
        "{{ messages.nothing.there }}",
        "{{ 1 + 'a' }}",
        "{{ 1 // 0 }}",
        "{% include 'x' %}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages[9]['role'] }}",
        "{% break %}",
    ],
)
def test_a_template_that_refuses_everything_is_a_named_error(template: str, chat: Callable) -> None:
    with pytest.raises(TemplateError, match="its chat template rejects the messages"):
        chat(template).text([SYSTEM, USER])


def test_the_end_is_found_whatever_the_template_demands(chat: Callable) -> None:
    strict = chat(NO_SYSTEM + ALTERNATE.removesuffix(TURNS) + TURNS.replace("}}]", "}}<|im_end|>"))
    assert strict.tokenizer.decode([strict.end]) == "<|im_end|>"


NAMED = {"default": TURNS, "tool_use": "{{ raise_exception('tools only') }}"}


@pytest.mark.parametrize(
    ("template", "files"),
    [
        ([{"name": name, "template": text} for name, text in NAMED.items()], {}),
        (None, {"chat_template.jinja": TURNS, "additional_chat_templates/tool_use.jinja": NAMED["tool_use"]}),
        (NAMED["tool_use"], {"chat_template.jinja": TURNS}),
        ([{"name": "only", "template": TURNS}], {}),
    ],
)
def test_of_named_templates_the_default_is_taken(template: Any, files: dict[str, str], chat: Callable) -> None:
    assert chat(template, files).text([USER]) == "[user:u][assistant:"


def test_named_templates_without_a_default_are_an_error(chat: Callable) -> None:
    two = [{"name": name, "template": TURNS} for name in ("rag", "tool_use")]
    with pytest.raises(TemplateError, match=r"several chat templates \(rag, tool_use\)"):
        chat(two).text([USER])


def test_folding_and_joining_lose_nothing() -> None:
    turns = [{"role": m.role, "content": m.content} for m in (SYSTEM, USER, USER, ANSWER, SYSTEM)]
    assert [t["content"] for t in folded(turns)] == ["S\n\nS\n\nu", "u", "a"]
    assert [t["content"] for t in joined(folded(turns))] == ["S\n\nS\n\nu\n\nu", "a"]
    calls = [{"role": "assistant", "content": "", "tool_calls": [1]}, {"role": "assistant", "content": "a"}]
    assert joined(calls) == calls
