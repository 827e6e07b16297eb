"""kind: extract with tools: rows read and checked, calls shown, written by the template or as text, constrained, scored."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from commands import command

sys.path.insert(0, str(Path(__file__).parents[1] / "lm"))
from servers import Odd, completion, serving

from rung import calls, tools
from rung.climbing.climb import climb
from rung.climbing.project import Project
from rung.data.load import load
from rung.errors import DataError, TaskError
from rung.lm.base import Decoding
from rung.lm.inference.causal import CausalEngine
from rung.lm.models.chat import Chat, tokenizer
from rung.lm.models.json_guide import grammar as grammar_of
from rung.lm.models.load import load as load_model
from rung.metrics import METRICS, score
from rung.predictor import load as load_predictor
from rung.predictor import save as save_predictor
from rung.serve.answering.models import Served
from rung.task import load_task
from rung.types import Example, Prediction

WEATHER = {
    "name": "get_weather",
    "description": "The weather of a day.",
    "parameters": {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 8},
            "days": {"type": "integer", "minimum": 1, "maximum": 9},
            "unit": {"enum": ["c", "f"]},
        },
        "required": ["city"],
    },
}
TIMER = {
    "name": "set_timer",
    "parameters": {
        "type": "object",
        "properties": {"length": {"$ref": "#/$defs/minutes"}},
        "required": ["length"],
        "$defs": {"minutes": {"type": "integer", "minimum": 1, "maximum": 60}},
    },
}
TOOLS = [{"type": "function", "function": WEATHER}, {"type": "function", "function": TIMER}]
HERMES = (
    "{% if tools %}<|im_start|>system\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}\n</tool_call>{% endfor %}<|im_end|>\n'
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PARAMETERS = HERMES.replace('"arguments": ', '"parameters": ').replace("<tool_call>\n", "").replace("\n</tool_call>", "")
ONE_CALL = HERMES.replace(
    "{% for m in", "{% for m in messages if m.tool_calls and m.tool_calls[1] %}{{ 1 + '' }}{% endfor %}{% for m in"
)
XML = HERMES.replace('{"name": "{{ c.function.name }}", "arguments": ', "<f={{ c.function.name }}>").replace(
    "tojson }}}", "tojson }}"
)


class Silent:
    planned = began = ended = progress = staticmethod(lambda *what: None)


def write(folder: Path, outputs: list[Any], listed: Any = TOOLS, more: str = "", base: str = "fake") -> Any:
    rows = [{"input": f"ask {i}", "output": one} for i, one in enumerate(outputs)]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "tools.json").write_text(listed if isinstance(listed, str) else json.dumps(listed))
    (folder / "rung.yaml").write_text(
        "task: Call the tool that the user needs.\nkind: extract\ntools: tools.json\n"
        f"data: {{examples: rows.jsonl}}\nbase: {base}\nencoder: fake\ngoal: {{at_least: 0.3}}\n{more}"
    )
    return load_task(folder)


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


def made(count: int) -> list[Any]:
    return [[call("get_weather", city=f"town {i}")] if i % 2 else [call("set_timer", length=1 + i % 60)] for i in range(count)]


# --- rows -----------------------------------------------------------------------------------------------------------


def test_calls_in_any_form_are_one_text_in_the_order_of_the_schema(tmp_path: Path) -> None:
    mine = {"name": "get_weather", "arguments": {"unit": "c", "days": 2, "city": "Oslo"}}
    forms = [
        mine,
        [mine],
        {"tool_calls": [mine]},
        {"type": "function", "function": {**mine, "arguments": json.dumps(mine["arguments"])}},
    ]
    forms += [json.dumps([mine]), {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "function": mine}]}, []]
    found = [row.output for row in load(write(tmp_path, forms)).train]
    assert found == ['{"tool_calls":[{"name":"get_weather","arguments":{"city":"Oslo","days":2,"unit":"c"}}]}'] * 6 + [
        '{"tool_calls":[]}'
    ]


def test_conversations_may_end_in_calls(tmp_path: Path) -> None:
    task = write(tmp_path, [])
    said = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "a", "type": "function", "function": call("set_timer", length=3)}],
    }
    (tmp_path / "rows.jsonl").write_text(json.dumps({"messages": [{"role": "user", "content": "three minutes"}, said]}))
    assert load(task).train[0].output == '{"tool_calls":[{"name":"set_timer","arguments":{"length":3}}]}'
    (tmp_path / "rows.jsonl").write_text(
        json.dumps({"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "ok"}]})
    )
    with pytest.raises(DataError, match=r"rows.jsonl line 1: the output 'ok' is not a list of tool calls"):
        load(task)


@pytest.mark.parametrize(
    ("output", "what"),
    [
        (call("get_wether", city="Oslo"), "there is no tool 'get_wether'. Did you mean 'get_weather'?"),
        (call("get_weather", city=3), "get_weather: arguments.city: 3 is not of type 'string'."),
        (call("get_weather"), "get_weather: arguments: 'city' is a required property."),
        (
            call("get_weather", city="Oslo", dys=2),
            "get_weather: arguments: Additional properties are not allowed ('dys' was unexpected).",
        ),
        (call("get_weather", city="Oslo", unit="k"), "arguments.unit: 'k' is not one of ['c', 'f']."),
        (call("set_timer", length=99), "set_timer: arguments.length: 99 is greater than the maximum of 60."),
        ([call("set_timer", length=1), call("set_timer", length=0)], "call 2, set_timer: arguments.length: 0 is less than"),
        ({"name": "set_timer", "arguments": "soon"}, "set_timer: arguments: 'soon' is not of type 'object'."),
        ("in Oslo", "the output 'in Oslo' is not a list of tool calls."),
    ],
)
def test_a_wrong_row_is_named_with_its_place(tmp_path: Path, output: Any, what: str) -> None:
    with pytest.raises(DataError) as caught:
        load(write(tmp_path, [call("set_timer", length=1), output]))
    assert str(caught.value).startswith("rows.jsonl line 2: ") and what in str(caught.value)


@pytest.mark.parametrize(
    ("listed", "what"),
    [
        ("{", "this is not JSON"),
        ({}, "this is not a list of tools"),
        ([{"type": "function"}], "tools.json tool 1: this is not a tool with a name"),
        ([*TOOLS, WEATHER], "the tool 'get_weather' is there twice"),
        ([{"name": "f", "parameters": {"type": "array"}}], "its type is not object"),
        (
            [{"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "wrong"}}}}],
            "no JSON schema of an object",
        ),
        ([{"name": "f", "parameters": {"$ref": "http://127.0.0.1:9/x.json"}}], "no JSON schema of an object"),
        ([{"name": "f", "parameters": {"properties": {"a": {"$ref": "#/$defs/nowhere"}}}}], "'/\\$defs/nowhere' does not exist"),
        (
            [{"name": "f", "parameters": {"properties": {"a": {"$ref": "#pt"}}, "$defs": {"p": {"$anchor": "pt"}}}}],
            r"it has \$anchor; refer to places",
        ),
        (
            [{"name": "f", "parameters": {"properties": {"a": {"$dynamicRef": "http://127.0.0.1:9/x.json"}}}}],
            r"it has \$dynamicRef",
        ),
    ],
)
def test_a_wrong_file_of_tools_is_named(tmp_path: Path, listed: Any, what: str) -> None:
    with pytest.raises(TaskError, match=what):
        load(write(tmp_path, [call("set_timer", length=1)], listed))


POINT = {"type": "object", "properties": {"x": {"type": "integer"}}}


@pytest.mark.parametrize(
    ("at", "more"),
    [
        ({"$ref": "#/definitions/point"}, {"definitions": {"point": POINT}}),
        ({"anyOf": [POINT, {"type": "null"}]}, {}),
        ({"oneOf": [POINT, {"type": "null"}]}, {}),
    ],
)
def test_an_argument_that_no_part_of_the_schema_names_is_an_error(tmp_path: Path, at: Any, more: Any) -> None:
    tool = {"name": "go", "parameters": {"type": "object", "properties": {"at": at}, **more}}
    assert load(write(tmp_path, [call("go", at={"x": 1})], [tool])).train
    with pytest.raises(DataError, match=r"go: arguments\.at"):
        load(write(tmp_path, [call("go", at={"x": 1, "y": 2})], [tool]))


def test_a_branch_beside_properties_allows_those_as_well(tmp_path: Path) -> None:
    either = {"anyOf": [{"properties": {"y": {"type": "integer"}}}, {"required": ["x"]}]}
    tool = {"name": "go", "parameters": {**POINT, **either}}
    assert load(write(tmp_path, [call("go", x=1, y=2)], [tool])).train


NUMBER = {"type": "integer"}
A = {"type": "object", "properties": {"x": NUMBER}, "required": ["x"]}
B = {"type": "object", "properties": {"y": NUMBER}}
BOTH = {"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}]}
REF_A = {"$ref": "#/$defs/a"}
NODE = {"type": "object", "properties": {"v": NUMBER, "kids": {"type": "array", "items": {"$ref": "#/$defs/node"}}}}
DEFS = {"$defs": {"a": A, "b": B, "node": NODE}}


@pytest.mark.parametrize(
    ("schema", "right", "wrong"),
    [
        (BOTH, {"y": 1, "x": 2}, {"x": 2, "z": 1}),
        ({"properties": {"z": NUMBER}, **BOTH}, {"x": 2, "y": 1, "z": 3}, {"x": 2, "w": 1}),
        ({"properties": {"z": NUMBER}, "$ref": "#/$defs/a"}, {"x": 2, "z": 3}, {"x": 2, "y": 1}),
        (
            {"properties": {"p": BOTH, "q": {"$ref": "#/$defs/a"}}},
            {"q": {"x": 1}, "p": {"y": 1, "x": 2}},
            {"q": {"x": 1, "y": 1}},
        ),
        ({"properties": {"p": {"description": "d", "allOf": [REF_A]}}}, {"p": {"x": 1}}, {"p": {"x": 1, "y": 1}}),
        ({"properties": {"p": {"type": "array", "items": BOTH}}}, {"p": [{"y": 1, "x": 2}]}, {"p": [{"x": 2, "z": 1}]}),
        ({"properties": {"p": {"anyOf": [{"$ref": "#/$defs/b"}, A]}}}, {"p": {"x": 1}}, {"p": {"x": 1, "y": 1}}),
        (
            {"properties": {"n": {"$ref": "#/$defs/node"}}},
            {"n": {"kids": [{"kids": [], "v": 3}], "v": 1}},
            {"n": {"kids": [{"w": 1}]}},
        ),
        ({**BOTH, "additionalProperties": NUMBER}, {"x": 2, "z": 1}, {"x": 2, "z": "s"}),
    ],
)
def test_parts_of_a_schema_are_one_object(tmp_path: Path, schema: Any, right: Any, wrong: Any) -> None:
    """Rows and decoding take the fields of all parts and no others, and rows are put in the order that is decoded."""
    from llguidance import LLMatcher, LLTokenizer

    tool = {"name": "go", "parameters": {"type": "object", **schema, **DEFS}}
    [row] = load(write(tmp_path, [call("go", **right)], [tool])).train
    assert calls.parse_output(row.output) == [call("go", **right)]
    listed, tokens = tools.load(tmp_path / "tools.json", "tools.json"), LLTokenizer("byte")
    grammar = grammar_of(tools.schema(listed, [row.output]))
    for written, allowed in ((calls.as_text(row.output), True), (json.dumps([call("go", **wrong)]), False)):
        ids = tokens.tokenize_str(written)
        assert (LLMatcher(tokens, grammar).validate_tokens(ids) == len(ids)) is allowed, written
    with pytest.raises(DataError, match="go: arguments"):
        load(write(tmp_path, [call("go", **wrong)], [tool]))


def test_the_key_needs_extract_and_a_file(tmp_path: Path) -> None:
    task = write(tmp_path, made(4))
    assert task.goal.metric == "tool_calls"
    text = (tmp_path / "rung.yaml").read_text()
    (tmp_path / "rung.yaml").write_text(text.replace("kind: extract", "kind: answer"))
    with pytest.raises(TaskError, match="`tools` need kind: extract, but kind is answer"):
        load_task(tmp_path)
    (tmp_path / "rung.yaml").write_text(text.replace("tools: tools.json", "tools: tool.json"))
    with pytest.raises(TaskError, match=r"tool\.json: the tools cannot be read"):
        load(load_task(tmp_path))


# --- scores ---------------------------------------------------------------------------------------------------------


def test_name_and_arguments_are_scored_apart() -> None:
    due = calls.as_output([call("f", a=1, b=[1, 2]), call("g")])
    row = Example("x", due)
    cases = {
        calls.as_output([call("g"), call("f", b=[1, 2], a=1.0)]): (1, 1, 1),  # no order of calls and fields; 1.0 is 1
        calls.as_output([call("f", a=1, b=[2, 1]), call("g")]): (0, 1, 0),
        calls.as_output([call("g", a=1, b=[1, 2]), call("h")]): (0, 0, 1),
        calls.as_output([call("f", a="1", b=[1, 2]), call("g")]): (0, 1, 0),
        calls.as_output([call("f", a=True, b=[1, 2]), call("g")]): (0, 1, 0),
        calls.as_output([call("f", a=1, b=[1, 2]), call("g"), call("g")]): (0, 0, 0),
        json.dumps([call("f", a=1, b=[1, 2]), call("g")]): (1, 1, 1),
        "no call": (0, 0, 0),
        "[]": (0, 0, 0),
    }
    for output, want in cases.items():
        found = tuple(METRICS[name].rate(output, row) for name in ("tool_calls", "tool_name", "tool_arguments"))
        assert found == want, output
    assert METRICS["tool_calls"].rate("[]", Example("x", '{"tool_calls":[]}')) == 1
    found = score(METRICS["tool_calls"], [row], [Prediction(row.id, due)], "dev", kind="extract")
    assert set(found.others) == {"tool_name", "tool_arguments"}


# --- forms of templates -----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(base: Callable[[str], Path], tmp_path: Path) -> Callable[..., Path]:
    def copied(template: str, *tokens: str) -> Path:
        found = shutil.copytree(base("llama-plain"), tmp_path / "m", dirs_exist_ok=True)
        (found / "chat_template.jinja").write_text(template)
        if tokens:
            made = tokenizer(found)
            made.add_tokens(list(tokens))
            made.save_pretrained(found)
        return found

    return copied


def test_the_form_of_a_template_is_found_by_rendering(folder: Callable[..., Path]) -> None:
    form = Chat(tokenizer(folder(HERMES))).tool_form
    assert form and (form.before, form.between, form.after) == ("<tool_call>\n", "\n</tool_call><tool_call>\n", "\n</tool_call>")
    form = Chat(tokenizer(folder(PARAMETERS))).tool_form
    assert form and (form.before, form.arguments, form.between) == ("", "parameters", None)  # two lines of JSON are not read back
    form = Chat(tokenizer(folder(ONE_CALL))).tool_form
    assert form and form.between is None
    for without in (XML, HERMES.replace("{% if tools %}", "{% if false %}"), HERMES.replace("m.tool_calls or []", "[]")):
        assert Chat(tokenizer(folder(without))).tool_form is None


@pytest.mark.parametrize(
    ("template", "tokens"), [(HERMES, ()), (HERMES, ("<tool_call>", "</tool_call>")), (PARAMETERS, ()), (XML, ())]
)
def test_a_random_model_writes_nothing_but_valid_calls(
    template: str, tokens: tuple[str, ...], folder: Callable[..., Path], tmp_path: Path, machine: Any, home: Path
) -> None:
    found = folder(template)
    rows = [*made(20), [call("set_timer", length=1), call("set_timer", length=2)]] if template == HERMES else made(20)
    project = Project(write(tmp_path, rows, base=str(found)))
    start = project.start
    assert start.tools and start.tools.in_text == (template == XML)
    if tokens:
        found = folder(template, *tokens)  # the model has no row for them; the grammar is asked alone
        chat = Chat(tokenizer(found))
        guide = chat.guide(start.decoding)
        right = chat.answer(calls.as_output([call("get_weather", city="Oslo", days=2), call("set_timer", length=9)]))
        assert guide and guide._matcher.validate_tokens(list(right[:-1])) == len(right) - 1
        return
    engine = CausalEngine(load_model(found, machine))
    drawn = [start.render(Example(f"ask {i}", "")) for i in range(4)]
    answers = engine.generate(drawn, replace(start.decoding, max_new_tokens=400, temperature=1.0))
    for one in answers:
        written = calls.written(one.text)
        assert one.finished and calls.parse_output(written), one.text
        assert tools.checked(start.tools.listed, written, "here") == written


def test_rows_are_taught_in_the_form_that_is_decoded(folder: Callable[..., Path], tmp_path: Path, home: Path) -> None:
    for template, in_text in ((HERMES, False), (XML, True)):
        project = Project(write(tmp_path, made(40), base=str(folder(template))), say=lambda text: None)
        chat = project.engines.chat(project.start.model)
        row = next(one for one in project.inputs.splits.train if "timer" in one.output)
        spelled = json.dumps(calls.parse_output(row.output)[0])
        [(prompt, answer)] = project.start.lessons([row], project.engines)
        assert chat
        learnt = chat.row(prompt.messages, answer)
        target = "".join(text for text, on in chat.shown(learnt) if on).replace("<|im_end|>", "")
        assert target == (f"[{spelled}]" if in_text else f"<tool_call>\n{spelled}\n</tool_call>")
        guide = chat.guide(project.start.decoding)
        ids = [token for token, on in zip(learnt.tokens, learnt.targets) if on][:-1]
        assert guide and guide._matcher.validate_tokens(ids) == len(ids), "what is taught can be decoded"
        text = chat.text(prompt.messages)
        assert "The weather of a day." in text and ("Answer with tool calls alone" in text) == in_text


def test_a_template_without_tools_is_said(folder: Callable[..., Path], tmp_path: Path, home: Path) -> None:
    heard: list[str] = []
    start = Project(write(tmp_path, made(8), base=str(folder(XML))), say=heard.append).start
    assert any("has no form for tools: the prompt lists the tools" in one for one in heard)
    shown = start.render(Example("x", "", extra={}))
    demo = load(load_task(tmp_path)).train[0]
    turns = replace(start, demos=replace(start.demos, fixed=(demo,))).render(Example("x", "")).messages
    assert [turn.role for turn in shown.messages] == ["system", "user"]
    assert turns[2].content == calls.as_text(demo.output)


# --- whole climbs ---------------------------------------------------------------------------------------------------


def test_a_climb_scores_the_parts_and_a_fit_is_saved(tmp_path: Path, home: Path) -> None:
    project = Project(write(tmp_path, made(160), more="rungs: [majority, nearest, zero-shot, structured]\n"))
    report = climb(project, Silent(), everything=True)
    scored = {record.rung: record.scores for record in report.records if record.scores}
    assert scored["majority"].others.keys() == {"tool_name", "tool_arguments"}
    assert scored["majority"].others["tool_name"].value > scored["majority"].overall.value
    said = command("ask", tmp_path, "ask 1", "--rung", "majority", "--json")
    [one] = json.loads(said.stdout)["tool_calls"]
    assert one["name"] == "set_timer" or one["name"] == "get_weather"
    readable = command("ask", tmp_path, "ask 1", "--rung", "majority").stdout.strip()
    assert readable == calls.shown(calls.as_output([one])) and readable.startswith(f"{one['name']}(")
    save_predictor(project.start, tmp_path / "saved")
    assert load_predictor(tmp_path / "saved") == project.start


def test_an_api_is_given_the_tools(tmp_path: Path, home: Path) -> None:
    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        assert [one["function"]["name"] for one in body["tools"]] == [
            "get_weather",
            "set_timer",
        ] and "response_format" not in body
        assert all("get_weather" not in str(turn["content"]) for turn in body["messages"])
        said = {"id": "a", "type": "function", "function": {"name": "set_timer", "arguments": '{"length": 3}'}}
        return 200, completion(None, "tool_calls", tool_calls=[said])

    with serving(Odd(answer)) as server:
        project = Project(write(tmp_path, made(30), base=f'"{server.url}#m"'))
        [found] = project.start.predict([Example("three minutes", "")], project.engines)
    assert found.output == '{"tool_calls":[{"name":"set_timer","arguments":{"length":3}}]}' and not found.error


def test_a_server_that_refuses_tools_is_given_them_in_words(tmp_path: Path, home: Path) -> None:
    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        if "tools" in body:
            return 400, {"error": {"message": '"auto" tool choice requires --enable-auto-tool-choice'}}
        assert "get_weather" in body["messages"][0]["content"] and "response_format" in body
        return 200, completion('```json\n[{"name": "set_timer", "arguments": {"length": 3}}]\n```')

    heard: list[str] = []
    with serving(Odd(answer)) as server:
        project = Project(write(tmp_path, made(30), base=f'"{server.url}#m"'), say=heard.append)
        [found] = project.start.predict([Example("three minutes", "")], project.engines)
    assert found.output == '{"tool_calls":[{"name":"set_timer","arguments":{"length":3}}]}' and not found.error
    assert any("refuses tools" in one for one in heard)


def test_a_schema_of_a_client_replaces_that_of_the_calls() -> None:
    served: Any = SimpleNamespace(decoding=Decoding(schema="{}", calls=True, template_calls=True))
    chat: Any = SimpleNamespace(max_tokens=None, temperature=None, top_p=None, schema="")
    assert Served.decoded(served, chat).template_calls
    chat.schema = '{"type": "object"}'
    found = Served.decoded(served, chat)
    assert found.schema == chat.schema and not found.template_calls


@pytest.mark.model
def test_the_default_model_calls_a_tool(tmp_path: Path) -> None:
    project = Project(write(tmp_path, made(40), base="smollm2-135m-instruct"), say=lambda text: None)
    start = project.start
    assert start.tools and start.tools.in_text
    [found] = start.predict([Example("Set a timer for 5 minutes.", "")], project.engines)
    assert tools.checked(start.tools.listed, found.output, "here") == found.output


@pytest.mark.parametrize("text", ["[" * 100_000, '{"tool_calls":' * 50_000, "```json" + "\n" * 20_000 + "x", "```" * 2])
def test_degenerate_answers_are_no_call_and_take_no_time(text: str) -> None:
    started = time.process_time()
    assert calls.read(text) is None and calls.written(text) == text and calls.parse_output(text) == []
    assert time.process_time() - started < 2
