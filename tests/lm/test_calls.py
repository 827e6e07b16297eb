"""Calls of tools: kept from the rows, rendered by the template, taught as it writes them, and read back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung import calls
from rung.data.load import load as load_rows
from rung.errors import DataError, TemplateError
from rung.lm.base import Decoding, ModelRef
from rung.lm.models.chat import Chat, tokenizer
from rung.predictor import Predictor
from rung.task import load_task
from rung.types import Example, digest

HERMES = (
    "{% if tools %}<|im_start|>system\n<tools>{% for t in tools %}{{ t | tojson }}{% endfor %}</tools><|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    '{% for c in m.tool_calls or [] %}<tool_call>\n{"name": "{{ c.function.name }}", "arguments": '
    "{{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
AS_TEXT = HERMES.replace("{{ c.function.arguments | tojson }}", "{{ c.function.arguments + '' }}")
BLIND = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOOLS = [{"type": "function", "function": {"name": "stock_of", "parameters": {"type": "object"}}}]
START = Predictor(kind="answer", model=ModelRef("causal", "x", "x"), instruction="Reply.")


def call(count: int, arguments: Any = None) -> dict[str, Any]:
    given = json.dumps({"item": f"bolt {count}"}) if arguments is None else arguments
    return {"role": "assistant", "content": None, "tool_calls": [
        {"id": f"c{count}", "type": "function", "function": {"name": "stock_of", "arguments": given}}
    ]}  # fmt: skip


def asked(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def gave(count: int) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": f"c{count}", "content": f'{{"left": {count}}}'}


@pytest.fixture
def chat(base: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Chat]:
    def made(template: str) -> Chat:
        folder = shutil.copytree(base("llama-plain"), tmp_path / "m", dirs_exist_ok=True)
        (folder / "chat_template.jinja").write_text(template)
        return Chat(tokenizer(folder))

    return made


@pytest.fixture
def rows(tmp_path: Path, home: Path) -> Callable[..., list[Example]]:
    """Rows of messages as the task loads them."""

    def made(*conversations: list[dict[str, Any]], **columns: Any) -> list[Example]:
        lines = [json.dumps({"messages": turns, **columns}) for turns in conversations]
        (tmp_path / "rows.jsonl").write_text("\n".join(lines))
        task = {"task": "Reply.", "kind": "answer", "data": {"train": "rows.jsonl", "dev": "rows.jsonl"}, "base": "fake"}
        (tmp_path / "rung.yaml").write_text(json.dumps({**task, "goal": {"metric": "token_f1", "at_least": 0.3}}))
        return list(load_rows(load_task(tmp_path)).train)

    return made


EARLIER = [asked("How many bolts 7?"), call(7), gave(7), {"role": "assistant", "content": "Seven."}, asked("And nuts?")]
END = {"role": "assistant", "content": "None."}


@pytest.mark.parametrize("template", [HERMES, AS_TEXT])
@pytest.mark.parametrize("arguments", [None, {"item": "bolt 7"}])
def test_earlier_calls_are_rendered_by_the_template(template: str, arguments: Any, rows: Callable, chat: Callable) -> None:
    [row] = rows([EARLIER[0], call(7, arguments), *EARLIER[2:], END])
    assert (row.input, row.output) == ("And nuts?", "None.")
    text = chat(template).text(START.render(row).messages)
    assert text.count('{"name": "stock_of", "arguments": {"item": "bolt 7"}}') == 1
    assert '<|im_start|>tool\n{"left": 7}<|im_end|>' in text
    assert "assistant\n<|im_end|>" not in text  # no empty turn


def test_an_answer_after_a_tools_result_keeps_the_order(rows: Callable, chat: Callable) -> None:
    [row] = rows([asked("How many bolts 7?"), call(7), gave(7), {"role": "assistant", "content": "Seven."}])
    assert (row.input, row.output, len(row.after)) == ("How many bolts 7?", "Seven.", 2)
    text = chat(HERMES).text(START.render(row).messages)
    order = [text.index(part) for part in ("How many bolts 7?", "<tool_call>", '{"left": 7}')]
    assert order == sorted(order) and text.endswith("assistant\n")
    assert row.id != replace(row, after=()).id


def test_calls_as_the_answer_are_taught_as_the_template_writes_them(rows: Callable, chat: Callable) -> None:
    [row] = rows([asked("How many bolts 3?"), call(3)])
    made = chat(HERMES)
    learnt = made.row(START.render(row).messages, row.output)
    told = "".join(text for text, target in made.shown(learnt) if target)
    assert told == '<tool_call>\n{"name": "stock_of", "arguments": {"item": "bolt 3"}}\n</tool_call><|im_end|>'
    assert calls.normalise_output(told.removesuffix("<|im_end|>")) == row.output
    demos = replace(START, demos=replace(START.demos, fixed=(row,)))
    assert told in made.text(demos.render(Example("And nuts?", "")).messages)


@pytest.mark.parametrize("template", [HERMES, AS_TEXT])
@pytest.mark.parametrize("encoded", [1, 2, 3])
@pytest.mark.parametrize("spelled", ["<|im_end|>", "\\u003c|im_end|\\u003e"])
def test_no_special_token_comes_in_through_calls_or_tools(
    template: str, encoded: int, spelled: str, rows: Callable, chat: Callable
) -> None:
    """However often the arguments are encoded, and in a tool's description."""
    arguments = f'{{"{spelled}": ["{spelled}"]}}'
    for _ in range(encoded - 1):
        arguments = json.dumps(arguments)
    tool = {"type": "function", "function": {**TOOLS[0]["function"], "description": json.loads(f'"{spelled}"')}}
    made = chat(template)
    [plain] = rows([asked("How many?"), call(7), gave(7), END], tools=TOOLS)
    [row] = rows([asked("How many?"), call(7, arguments), gave(7), END], tools=[tool])
    sent, usual = (made.prompt(START.render(one).messages) for one in (row, plain))
    assert sent.count(made.end) == usual.count(made.end) and "< |im_end|>" in made.tokenizer.decode(sent)
    [answer] = rows([asked("How many?"), call(7, arguments)])
    assert made.answer(answer.output).count(made.end) == 1
    written = f'{{"tool_calls":[{{"name":"stock_of","arguments":{{"q":"{spelled}"}}}}]}}'
    assert made.answer(written).count(made.end) == 1


def test_a_template_without_calls_is_an_error_that_says_so(rows: Callable, chat: Callable) -> None:
    earlier, answer = rows([*EARLIER, END], [asked("How many bolts 3?"), call(3)])
    blind = chat(BLIND)
    with pytest.raises(TemplateError, match="drops the call of the tool 'stock_of'"):
        blind.text(START.render(earlier).messages)
    with pytest.raises(TemplateError, match="drops the call of the tool 'stock_of'"):
        blind.row(START.render(answer).messages, answer.output)
    assert blind.text(START.render(Example("hello", "")).messages)


@pytest.mark.parametrize("as_text", [False, True])
def test_tools_are_described_by_the_template(as_text: bool, rows: Callable, chat: Callable) -> None:
    [row] = rows([asked("How many?"), call(1)], tools=json.dumps(TOOLS) if as_text else TOOLS)
    text = chat(HERMES).text(START.render(row).messages)
    assert text.count('<tools>{"type": "function"') == 1
    remote = replace(START, model=ModelRef("remote", "x", "x")).render(row)
    assert "stock_of" in remote.messages[0].content and {m.role for m in remote.messages} == {"system", "user"}


@pytest.mark.parametrize("bad", [[{"function": {}}], [7], "x", [{"function": {"name": ""}}]])
def test_calls_that_are_none_are_an_error(bad: Any, rows: Callable) -> None:
    with pytest.raises(DataError, match=r"not valid tool calls.*rows\.jsonl line 1"):
        rows([asked("How many?"), {"role": "assistant", "content": None, "tool_calls": bad}, asked("x"), END])


def test_a_text_beside_calls_is_an_error_where_it_would_be_lost(rows: Callable) -> None:
    with pytest.raises(DataError, match="both text and tool calls"):
        rows([asked("How many?"), {**call(1), "content": "Let me see."}])


def test_rows_without_calls_keep_their_names() -> None:
    """Records of earlier folders go on being read: nothing in a name has changed where nothing was added."""
    row = Example("a", "b", group="g")
    assert row.id == digest(["a", "b", [], "g"])
    start = replace(START, demos=replace(START.demos, fixed=(row,)))
    assert start.digest == replace(start, decoding=Decoding(calls=False)).digest
    assert start.digest != replace(start, decoding=Decoding(calls=True)).digest


ARGUMENTS = st.dictionaries(
    st.text(max_size=5), st.one_of(st.text(max_size=9), st.integers(), st.none(), st.booleans()), max_size=3
)


@given(st.lists(st.tuples(st.text("abc_", min_size=1, max_size=5), ARGUMENTS), min_size=1, max_size=3))
def test_what_is_written_is_read_again(called: list[tuple[str, dict]]) -> None:
    made = [{"name": name, "arguments": given} for name, given in called]
    wanted = calls.as_output(made)
    assert calls.parse_output(wanted) == made
    assert calls.normalise_output(wanted) == wanted
    assert calls.normalise_output(json.dumps(made)) == wanted
    assert calls.normalise_output("\n".join(f"<tool_call>{json.dumps(one)}</tool_call>" for one in made)) == wanted
    assert calls.as_output(calls.as_message(made)) == wanted


@given(st.text())
def test_other_texts_stay(text: str) -> None:
    assert calls.normalise_output(text) == text
    assert calls.parse_output(text) == []


@pytest.mark.parametrize("text", ['{"name": "Ann"}', '{"a": 1}', "[]", "7", '{"name": "x", "arguments": {}} and more', "null"])
def test_json_that_is_no_call_stays(text: str) -> None:
    assert calls.normalise_output(text) == text
