"""Chat templates made by chance: a rendered chat or a TemplateError, never another exception."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rung.errors import TemplateError
from rung.lm.models.chat import tokenizer
from rung.lm.models.template import Template

PIECES = (
    "{% for m in messages %}",
    "{% endfor %}",
    "{{ m['role'] }}",
    "{{ m['content'] }}",
    "{{ messages[0]['content'] }}",
    "{% if ",
    "%}",
    "{% endif %}",
    "{% else %}",
    "{% if add_generation_prompt %}",
    "{{ bos_token }}",
    "{{ eos_token }}",
    "{{ raise_exception('no') }}",
    "{% set x = 1 %}",
    "{{ x }}",
    "{{ m.tool_calls }}",
    "{{ tools | tojson }}",
    "{{ messages | length }}",
    "{{ messages[99] }}",
    "{{ 1 // 0 }}",
    "{{ 'a' * 3 }}",
    "{{ 1 + 'a' }}",
    "{{ ''.__class__ }}",
    "{% include 'x' %}",
    "{% import 'x' as y %}",
    "{% macro f(a) %}",
    "{% endmacro %}",
    "{{ f(1) }}",
    "{% generation %}",
    "{% endgeneration %}",
    "{#",
    "#}",
    "{{",
    "}}",
    "{%",
    "{%-",
    "-%}",
    "|trim",
    "\n",
    "<|im_end|>",
    "\x1b",
    "\ud800",
    "{{ strftime_now('%d') }}",
    "{{ namespace(a=1).a }}",
    "{% break %}",
    "{% raw %}",
    "{% endraw %}",
    "{{ messages | map(attribute='role') | list }}",
)
templates = st.lists(st.sampled_from(PIECES) | st.text(max_size=3), max_size=12).map("".join)
turns = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(("system", "user", "assistant")), "content": st.text(max_size=8)}),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module")
def spoken() -> list[Any]:
    return []


def _hold(base: Callable[[str], Path], spoken: list[Any], template: str, chat: list[dict[str, str]]) -> None:
    if not spoken:
        spoken.append(tokenizer(base("llama-plain")))
    spoken[0].chat_template = template or None
    try:
        said = Template(spoken[0]).render(chat, add_generation_prompt=True)
    except TemplateError as error:
        str(error).encode()
        assert "\x1b" not in str(error)
    else:
        assert isinstance(said, str)


usual = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=200)


@usual
@given(templates, turns)
def test_no_template_is_a_traceback(
    base: Callable[[str], Path], spoken: list[Any], template: str, chat: list[dict[str, str]]
) -> None:
    _hold(base, spoken, template, chat)


@pytest.mark.slow
@settings(usual, max_examples=10_000)
@given(templates, turns)
def test_no_template_of_ten_thousand_is_a_traceback(
    base: Callable[[str], Path], spoken: list[Any], template: str, chat: list[dict[str, str]]
) -> None:
    _hold(base, spoken, template, chat)
