"""Conversations: read, kept in one split, scored on the last or on every answer, trained on all, shortened by whole turns."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "lm"))
from servers import Odd, completion, right, serving

from rung.climbing.climb import climb
from rung.climbing.preflight import inspect
from rung.climbing.project import Project
from rung.data.check import check
from rung.data.conversations import exchanges, join_conversations, scored_turns
from rung.data.load import load
from rung.data.split import make_splits
from rung.errors import DataError, TaskError
from rung.lm.models.chat import Chat, tokenizer
from rung.methods.conversations import joined, taught_rows
from rung.metrics import METRICS, score
from rung.predictor import Predictor
from rung.report.html import rendered
from rung.task import load_task
from rung.types import Example, Message, Prediction


class Silent:
    planned = began = ended = progress = staticmethod(lambda *what: None)


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def talk(name: str, answers: int) -> list[dict[str, str]]:
    """A conversation with a system message and that many answers."""
    pairs = [(turn("user", f"{name} ask {k}"), turn("assistant", f"{name} reply {k}")) for k in range(answers)]
    return [turn("system", f"You help {name}."), *(one for pair in pairs for one in pair)]


def write(folder: Path, rows: list[dict[str, Any]], more: str = "", data: str = "", base: str = "fake") -> Any:
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "rung.yaml").write_text(
        f"task: Reply.\nkind: generate\ndata: {{examples: rows.jsonl{data}}}\nbase: {base}\nencoder: fake\n"
        f"goal: {{metric: token_f1, at_least: 0.3}}\n{more}"
    )
    return load_task(folder)


def talks(count: int, answers: int = 3) -> list[dict[str, Any]]:
    return [{"messages": talk(f"c{i}", answers)} for i in range(count)]


# --- rows -----------------------------------------------------------------------------------------------------------


def test_an_input_that_is_a_dialogue_is_read_as_turns(tmp_path: Path) -> None:
    asked = [turn("system", "Be brief."), turn("user", "a"), turn("assistant", "b"), turn("user", "c")]
    rows = [{"input": asked, "output": "d"}, {"input": asked[:3], "output": "d"}, {"input": [1, 2], "output": "d"}]
    first, transcript, other = load(write(tmp_path, rows)).train
    assert (first.input, first.output, [one.role for one in first.history]) == ("c", "d", ["system", "user", "assistant"])
    assert transcript.input.startswith('[{"role":"system"') and not transcript.history  # its last word is not the user's: a text
    assert other.input == "[1,2]"
    with pytest.raises(DataError, match=r"rows\.jsonl line 1: the output is empty"):
        load(write(tmp_path, [{"input": asked, "output": ""}]))


def test_each_answer_is_a_row_with_the_turns_before_it() -> None:
    history = [Message("assistant", "Hello!"), Message("user", "a"), Message("assistant", "b"), Message("user", "c")]
    call = Message("assistant", "", '{"tool_calls":[{"function":{"name":"f","arguments":{}}}]}')
    row = Example("e", "f", (*history, call, Message("tool", "3"), Message("assistant", "d")), where="x line 1")
    found = exchanges(row)
    assert [(one.input, one.output, len(one.history), len(one.after)) for one in found] == [
        ("a", "b", 1, 0),  # the greeting answers nobody: context alone
        ("c", "d", 3, 2),  # with the call of a tool and its result between question and answer
        ("e", "f", 7, 0),
    ]
    assert found[0].where == "x line 1 turn 3" and found[-1] is row


def test_every_answer_is_scored_and_no_conversation_is_in_two_splits(tmp_path: Path) -> None:
    last = make_splits(write(tmp_path, talks(60)))
    every = make_splits(write(tmp_path, talks(60), data=", turns: every"))
    assert every.train == last.train
    assert (len(every.dev), len(every.test)) == (3 * len(last.dev), 3 * len(last.test))
    names = [{row.input.split()[0] for row in part} for part in (every.train, every.dev, every.test.open())]
    assert not (names[0] & names[1] or names[0] & names[2] or names[1] & names[2])
    groups = {row.input.split()[0]: row.group for row in every.dev}
    assert len(set(groups.values())) == len(groups) and all(groups.values())


def test_answers_of_one_conversation_are_not_counted_as_independent() -> None:
    rows = [Example(f"u{i}", "x", (Message("user", f"q{i}"), Message("assistant", "x"))) for i in range(40)]
    turns = scored_turns(rows)
    said = [Prediction(row.id, "x" if i < 40 else "y") for i, row in enumerate(turns)]
    grouped = score(METRICS["exact_match"], turns, said, "dev").overall
    alone = score(METRICS["exact_match"], [replace(row, group="") for row in turns],
                  [replace(p, id=replace(row, group="").id) for p, row in zip(said, turns)], "dev").overall  # fmt: skip
    assert grouped.high - grouped.low > alone.high - alone.low


def test_a_row_that_goes_on_where_another_ends_stays_in_its_split(tmp_path: Path) -> None:
    rows = [{"messages": talk(f"c{i}", n)} for i in range(30) for n in (3, 1, 2)]
    task = write(tmp_path, [*rows, {"messages": talk("alone", 2)}])
    splits = make_splits(task)
    parts = [{row.input.split()[0] for row in part} for part in (splits.train, splits.dev, splits.test.open())]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    assert [(f.code, f.count) for f in splits.findings] == [("conversations-joined", 90)]
    found = load(task).train
    assert found[-1].group == "" and len({row.group for row in found}) == 31
    before = {row.where: row.group for row in load(write(tmp_path, rows[:2])).train}
    grown = load(write(tmp_path, [*rows[:2], {"messages": talk("c0", 5)}])).train
    assert {row.group for row in grown} == set(before.values()), "a conversation that grows stays where it is"


def test_no_continuation_moves_a_conversation(tmp_path: Path) -> None:
    def homes(rows: list[dict[str, Any]]) -> dict[str, set[str]]:
        splits, found = make_splits(write(tmp_path, rows)), dict[str, set[str]]()
        for name, part in (("train", splits.train), ("dev", splits.dev), ("test", splits.test.open())):
            for row in part:
                found.setdefault(row.input.split()[0], set()).add(name)
        return found

    rows = [{"messages": talk(f"c{i}", 1 + i % 2)} for i in range(60)]
    alone = homes(rows)
    assert set.union(*alone.values()) == {"train", "dev", "test"}
    first = [*rows, *({"messages": talk(f"c{i}", 3)} for i in range(0, 60, 2))]
    assert homes(first) == alone
    assert homes([*({"messages": talk(f"c{i}", 4)} for i in range(60)), *first]) == alone


def test_rows_with_the_question_of_a_continued_one_stay_with_it() -> None:
    hello = (Message("user", "Hi"), Message("assistant", "Hello"))
    rows = (
        Example("Hi", "Hello", where="1"),
        Example("Hi", "Hello", where="2"),
        Example("hi!", "Hey there", where="3"),
        Example("Q", "A", hello, where="4"),
        Example("Bye", "Bye", where="5"),
    )
    (found,), (note,) = join_conversations([rows])
    assert found and len({row.group for row in found[:4]}) == 1 and found[0].group and not found[4].group
    assert note.count == 4
    prompted = [(Message("system", name), *hello) for name in ("a", "b")]
    (found,), _ = join_conversations([(Example("Q", "A", prompted[0]), Example("Q", "A", prompted[1]), rows[0])])
    assert found and len({row.group for row in found}) == 1


def test_rows_that_only_begin_alike_are_not_joined() -> None:
    hello = (Message("user", "Hi"), Message("assistant", "Hello! What can I do?"))
    rows = tuple(Example(f"question {i}", "answer", hello) for i in range(5))
    assert join_conversations([rows]) == ([rows], ())


def test_the_check_says_what_is_scored_and_trained(tmp_path: Path) -> None:
    for data, said in (("", "the last answer is scored in dev and test"), (", turns: every", "every answer of the assistant is")):
        task = write(tmp_path, talks(60), data=data)
        found = {one.code: one for one in check(make_splits(task), task)}["conversations"]
        assert said in found.what and "with 3 answers in the median" in found.what and "every answer is trained on" in found.what


def test_a_wrong_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"line 3: 'data\.turns' is 'all': it should be 'last' or 'every'"):
        write(tmp_path, talks(3), data=", turns: all")
    write(tmp_path, talks(3), data=", turns: every")
    text = (tmp_path / "rung.yaml").read_text().replace("kind: generate", "kind: extract")
    (tmp_path / "rung.yaml").write_text(text)
    with pytest.raises(TaskError, match=r"data\.turns: every needs kind: answer or generate, but kind is extract"):
        load_task(tmp_path)


# --- training ---------------------------------------------------------------------------------------------------------


def targets(chat: Chat, rows: list[Any]) -> list[list[str]]:
    return [[text for text, on in chat.shown(row) if on] for row in rows]


def test_every_answer_is_a_target_and_nothing_else(tmp_path: Path, base: Callable[[str], Path], home: Path) -> None:
    project = Project(write(tmp_path, talks(30), base=str(base("llama"))))
    data, chat = project.inputs.data, Chat(tokenizer(base("llama")))
    row = data.examples[0]
    name = row.input.split()[0]
    assert data.every_answer
    rows, shorter = taught_rows(chat, project.start, [row], project.engines, data.every_answer)
    assert len(rows) == 1 and not shorter, "the conversation is one sequence, computed once"
    assert targets(chat, rows) == [[f"{name} reply {k}<|im_end|>" for k in range(3)]]
    whole = chat.row(project.start.render(row).messages, row.output)
    assert rows[0].tokens == whole.tokens and sum(rows[0].targets) > sum(whole.targets)
    last, _ = taught_rows(chat, project.start, [row], project.engines, False)
    assert targets(chat, last) == [[f"{name} reply 2<|im_end|>"]]
    _, shown = inspect(project)
    assert sum(on for _, on in shown) == 3  # `rung check` shows what is trained


def test_a_template_that_changes_earlier_answers_leaves_them_apart(base: Callable[[str], Path]) -> None:
    chat = Chat(tokenizer(base("llama")))
    a, b = chat.row((Message("user", "a"),), "long thought b"), chat.row((Message("user", "a"), Message("assistant", "b")), "c")
    assert joined([a, b]) == [a, b]


def test_other_kinds_train_on_the_last_answer(tmp_path: Path) -> None:
    write(tmp_path, talks(30))
    text = (tmp_path / "rung.yaml").read_text().replace("kind: generate", "kind: classify").replace("metric: token_f1, ", "")
    (tmp_path / "rung.yaml").write_text(text)
    assert not Project(load_task(tmp_path)).inputs.data.every_answer


@pytest.mark.slow
def test_lora_learns_every_answer(tmp_path: Path, base: Callable[[str], Path], home: Path) -> None:
    write(tmp_path, talks(60, 2), "rungs: [lora]\nmethods: {lora: {epochs: 1}}\n", base=str(base("llama")))
    report = climb(Project(load_task(tmp_path)), Silent(), everything=True)
    assert [record.status for record in report.records] == ["done"]


# --- shortening -------------------------------------------------------------------------------------------------------


@pytest.fixture
def short(tmp_path: Path, base: Callable[[str], Path], home: Path) -> Callable[[int], Project]:
    """A project whose base has a context of that many tokens."""
    import shutil

    def made(context: int) -> Project:
        found = shutil.copytree(base("llama"), tmp_path / "m", dirs_exist_ok=True)
        config = json.loads((found / "config.json").read_text())
        (found / "config.json").write_text(json.dumps({**config, "max_position_embeddings": context}))
        return Project(write(tmp_path, talks(40, 8), base=str(found)))

    return made


def test_a_long_conversation_loses_its_earliest_exchanges_whole(short: Callable[[int], Project]) -> None:
    project = short(200)
    row = project.inputs.splits.dev[0]
    name = row.input.split()[0]
    [prompt] = project.start.prompts([row], project.engines)
    assert 0 < prompt.left_out < 14 and prompt.left_out % 2 == 0
    roles = [one.role for one in prompt.messages]
    assert roles == ["system", *["user", "assistant"] * ((14 - prompt.left_out) // 2), "user"]
    assert prompt.messages[0].content.endswith(f"You help {name}.") and prompt.messages[-1].content == row.input
    kept = [f"{name} {word} {k}" for k in range(prompt.left_out // 2, 7) for word in ("ask", "reply")]
    assert [one.content for one in prompt.messages[1:-1]] == kept
    count = project.engines.tokens(project.start.model, prompt, "")[0]
    longer = replace(row, history=(row.history[0], *row.history[prompt.left_out - 1 :]))
    room = 200 - project.start.decoding.max_new_tokens
    assert count <= room < project.engines.tokens(project.start.model, project.start.render(longer), "")[0]
    [found] = project.start.predict([row], project.engines)
    assert found.left_out == prompt.left_out and not found.error


def test_what_cannot_be_shortened_enough_is_not_asked(short: Callable[[int], Project]) -> None:
    project = short(64)
    long = replace(project.inputs.splits.dev[0], input="word " * 100)
    [found] = project.start.predict([long], project.engines)
    assert "over the context of 64" in found.error and found.left_out == 0


def test_training_shortens_too(short: Callable[[int], Project]) -> None:
    project = short(200)
    chat = project.engines.chat(project.start.model)
    assert chat
    row = project.inputs.data.examples[0]
    rows, shorter = taught_rows(chat, project.start, [row], project.engines, True)
    said = [text for some in targets(chat, rows) for text in some]
    name = row.input.split()[0]
    assert sorted(said) == sorted(f"{name} reply {k}<|im_end|>" for k in range(8)), "each answer is a target once"
    assert shorter > 0 and all(len(one.tokens) <= 200 for one in rows)


def test_the_report_states_what_is_scored_and_what_was_left_out(short: Callable[[int], Project], tmp_path: Path) -> None:
    short(200)
    path = tmp_path / "rung.yaml"
    path.write_text(path.read_text().replace("rows.jsonl}", "rows.jsonl, turns: every}") + "rungs: [majority, zero-shot]\n")
    project = Project(load_task(tmp_path))
    records = {record.rung: record for record in climb(project, Silent(), everything=True).records}
    shorter = records["zero-shot"].provenance.shortened
    assert shorter and records["majority"].provenance.shortened is None
    page = rendered(project)
    assert f"{shorter} dev rows were asked without the earliest turns of the conversation" in page
    assert "Of each conversation every answer of the assistant is scored" in page


def test_an_api_is_sent_the_turns(tmp_path: Path, home: Path) -> None:
    with serving(Odd(lambda body: (200, completion(right(body))))) as server:
        server.model_facts = {"context_length": 120}
        project = Project(write(tmp_path, talks(30, 6), base=f'"{server.url}#m"'))
        row = project.inputs.splits.dev[0]
        [found] = project.start.predict([row], project.engines)
        sent = server.bodies[-1]["messages"]
    assert found.output == row.input.split()[-1] and not found.error
    assert [one["role"] for one in sent] == ["system", *["user", "assistant"] * ((len(sent) - 2) // 2), "user"]


def test_demonstrations_are_whole_conversations(tmp_path: Path) -> None:
    rows = load(write(tmp_path, talks(3))).train
    start = Project(load_task(tmp_path)).start
    shown = replace(start, demos=replace(start.demos, fixed=rows[:1])).render(rows[1]).messages
    assert isinstance(start, Predictor)
    assert [one.role for one in shown] == ["system", *["user", "assistant"] * 3, *["user", "assistant"] * 2, "user"]
