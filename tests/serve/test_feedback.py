"""Feedback: taken from who was answered, kept with what it is about, and written as rows that a climb takes up."""

from __future__ import annotations

import asyncio
import csv
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from commands import command
from serving import CHAT, client, made, task_of_documents, task_of_labels, task_of_texts

from rung.climbing.project import Project
from rung.errors import TaskError
from rung.serve.access import keys
from rung.serve.answering.recent import Answered, Recent
from rung.serve.feedback.notes import Notes, Said
from rung.serve.feedback.rows import write
from rung.store import Store
from rung.task import load_task

SAY = "/v1/feedback"


@pytest.fixture
def labels(tmp_path: Path, home: Path) -> Path:
    return task_of_labels(tmp_path / "support")


def asking(one: Any, run: Callable[[Any], Any], **headers: str) -> Any:
    async def all_of_it() -> Any:
        async with client(one, **headers) as http:
            return await run(http)

    return asyncio.run(all_of_it())


async def answer(http: Any, model: str, text: str = "the courier is late", *before: tuple[str, str], **headers: str) -> str:
    """The id of an answer."""
    turns = [{"role": role, "content": said} for role, said in before] + [{"role": "user", "content": text}]
    found = await http.post(CHAT, json={"model": model, "messages": turns}, headers=headers)
    assert found.status_code == 200, found.text
    return str(found.json()["id"])


def wrote(folder: Path, to: str = "data/feedback.csv", **more: Any) -> Any:
    project = Project(load_task(folder), say=lambda text: None)
    return write(project, folder / to, folder / "data" / "preferences.jsonl")


def test_the_loop_closes(labels: Path) -> None:
    """Serve, correct, write, climb: the next climb has the corrected rows."""
    with made(labels) as one:

        async def corrected(http: Any) -> None:
            for number in range(8):
                name = await answer(http, "support", f"number {number} went missing on the way")
                said = await http.post(SAY, json={"id": name, "rating": "down", "correction": "delivery"})
                assert said.status_code == 200 and said.json()["correction"] == "delivery"

        asking(one, corrected)
    before = Project(load_task(labels)).inputs
    assert "8 corrections" in command("feedback", labels).stdout
    found = command("feedback", labels, "--to", "data/feedback.csv")
    assert found.returncode == 0 and "8 examples" in found.stdout
    assert "examples: [rows.csv, data/feedback.csv]" in found.stdout
    task = (labels / "rung.yaml").read_text().replace("examples: rows.csv", "examples: [rows.csv, data/feedback.csv]")
    (labels / "rung.yaml").write_text(task)
    after = Project(load_task(labels)).inputs

    def inputs(some: Any) -> set[str]:
        return {row.input for row in (*some.splits.train, *some.splits.dev, *some.splits.test.open())}

    assert inputs(after) - inputs(before) == {f"number {number} went missing on the way" for number in range(8)}
    assert inputs(before) <= inputs(after)
    assert command("climb", labels).returncode == 0
    fresh = command("feedback", labels, "--to", "data/feedback.csv")
    assert "0 examples" in fresh.stdout and "rung.yaml" not in fresh.stdout


def test_feedback_is_kept_with_what_it_is_about(labels: Path) -> None:
    with made(labels) as one:

        async def said(http: Any) -> None:
            name = await answer(http, "support:few-shot", "my key is sk-abcdefghijklmnopqrstuvwx")
            for more in ({"rating": "down"}, {"correction": " fault "}, {"comment": "it hums"}):
                assert (await http.post(SAY, json={"id": name, **more})).status_code == 200
            other = await answer(http, "support", "my parcel delivery")
            await http.post(SAY, json={"id": other, "correction": "fault"})
            last = await http.post(SAY, json={"id": other, "rating": "up"})
            assert last.json()["correction"] is None, "right after all"

        asking(one, said)
    first, second = Notes(labels / ".rung").unwritten()
    assert (first.rating, first.correction, first.comment) == ("down", "fault", "it hums")
    assert first.messages[-1].content == "my key is [key]" and first.rung == "few-shot" and first.about["confidence"] > 0
    assert first.predictor and first.answer in ("refund", "delivery", "fault") and second.rating == "up"
    assert stat.S_IMODE((labels / ".rung" / "feedback.sqlite").stat().st_mode) == 0o600
    assert Notes(labels / ".rung").count() == {"up": 1, "down": 1, "corrections": 1, "unwritten": 2}
    assert wrote(labels).examples == 2  # a label that is right is an example too
    rows = list(csv.DictReader((labels / "data" / "feedback.csv").open()))
    assert [row["intent"] for row in rows] == ["fault", second.answer]


@pytest.mark.parametrize(
    ("content", "status", "param"),
    [
        ({"rating": "up"}, 400, "id"),
        ({"id": "x", "rating": "up"}, 404, "id"),
        ({"id": "", "rating": "good"}, 400, "rating"),
        ({"id": ""}, 400, "rating"),
        ({"id": "", "index": 1, "rating": "up"}, 400, "index"),
        ({"id": "", "index": -1, "rating": "up"}, 400, "index"),
        ({"id": "", "correction": "weather"}, 400, "correction"),
        ({"id": "", "correction": "x" * 20_001}, 400, "correction"),
        ({"id": "", "rating": "up", "key": "x"}, 400, "key"),
        ([], 400, None),
    ],
)
def test_what_is_no_feedback_is_refused_by_name(labels: Path, content: Any, status: int, param: str | None) -> None:
    with made(labels) as one:

        async def said(http: Any) -> Any:
            name = await answer(http, "support")
            sent = {**content, "id": content["id"] or name} if "id" in content else content
            return await http.post(SAY, json=sent)

        found = asking(one, said)
    assert (found.status_code, found.json()["error"]["param"]) == (status, param)
    assert not (labels / ".rung" / "feedback.sqlite").exists()


def test_only_who_was_answered_may_say_something_of_it(labels: Path) -> None:
    ada, eve = (keys.add(Store(labels), name) for name in ("ada", "eve"))
    with made(labels, host="0.0.0.0") as one:

        async def said(http: Any) -> list[int]:
            name = await answer(http, "support", authorization=f"Bearer {ada}")
            say = {"id": name, "rating": "up"}
            sent = [{"authorization": f"Bearer {key}"} for key in (eve, ada)]
            return [(await http.post(SAY, json=say, headers=head)).status_code for head in ({}, *sent)]

        assert asking(one, said) == [401, 404, 200]
    [note] = Notes(labels / ".rung").unwritten()
    assert note.key == "ada"


def test_thumbs_and_corrections_of_texts_are_preferences(tmp_path: Path, home: Path, base: Callable[[str], Path]) -> None:
    folder = task_of_texts(tmp_path / "letters", base("llama"), rungs="[zero-shot]")
    with made(folder) as one:

        async def said(http: Any) -> list[str]:
            before = [("user", "hello"), ("assistant", "hi")]
            names = [await answer(http, "letters", f"where is order {k}", *before[: 2 * (k == 2)]) for k in range(4)]
            for name, more in zip(names, ({"rating": "up"}, {"rating": "down"}, {"correction": "on its way"}, {"comment": "hm"})):
                assert (await http.post(SAY, json={"id": name, **more})).status_code == 200
            return names

        asking(one, said)
    found = wrote(folder)
    assert (found.examples, found.preferences) == (0, 3)
    assert sorted(found.left.values()) == [1, 1] and any("earlier turns" in why for why in found.left)
    rows = [json.loads(line) for line in (folder / "data" / "preferences.jsonl").read_text().splitlines()]
    assert [row.get("label") for row in rows] == ["up", "down", None]
    assert rows[2]["chosen"] == "on its way" and [turn["role"] for turn in rows[2]["prompt"]] == ["user", "assistant", "user"]
    text = (folder / "rung.yaml").read_text().replace("output: a}", "output: a, preferences: data/preferences.jsonl}")
    (folder / "rung.yaml").write_text(text)
    taken = Project(load_task(folder)).inputs.data.preferences
    assert len(taken) == 3 and taken[2].chosen == "on its way" and len(taken[2].history) == 2


def test_turns_go_along_where_the_form_has_room_for_them(tmp_path: Path, home: Path) -> None:
    folder = tmp_path / "chat"
    task_of_texts(folder, "fake", data="{examples: [rows.jsonl]}", rungs="[zero-shot]")
    lines = [{"input": f"where is order {k}", "output": f"on its way {k}"} for k in range(30)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    with made(folder) as one:

        async def said(http: Any) -> None:
            name = await answer(http, "chat", "and now", ("user", "hello"), ("assistant", "hi"))
            await http.post(SAY, json={"id": name, "correction": "now it is"})

        asking(one, said)
    assert wrote(folder, "data/feedback.jsonl").examples == 1
    text = (folder / "rung.yaml").read_text().replace("[rows.jsonl]", "[rows.jsonl, data/feedback.jsonl]")
    (folder / "rung.yaml").write_text(text)
    inputs = Project(load_task(folder)).inputs
    [row] = [row for row in (*inputs.splits.train, *inputs.splits.dev, *inputs.splits.test.open()) if row.history]
    assert (row.input, row.output, [turn.content for turn in row.history]) == ("and now", "now it is", ["hello", "hi"])


def test_what_a_label_restricts_is_never_written(tmp_path: Path, home: Path, encoder: Path) -> None:
    folder = task_of_documents(tmp_path / "staff", encoder)
    plain, staff = keys.add(Store(folder), "ada"), keys.add(Store(folder), "eve", ["hr"])
    with made(folder) as one:

        async def said(http: Any) -> None:
            for key, text in ((staff, "what does the bicycle shop pay"), (plain, "when is the bicycle shop open")):
                head = {"authorization": f"Bearer {key}"}
                name = await answer(http, "staff", text, **head)
                await http.post(SAY, json={"id": name, "correction": f"said by {key}"}, headers=head)

        asking(one, said)
    found = wrote(folder)
    assert found.examples == 1 and list(found.left.values()) == [1]
    assert staff not in (text := (folder / "data" / "feedback.csv").read_text()) and "pay" not in text
    assert next(csv.DictReader(text.splitlines())).keys() == {"question", "answer", "source", "rung_drawn", "feedback"}
    again = tmp_path / "again"
    with made(task_of_documents(again / "staff", encoder)) as one:

        async def open_then(http: Any) -> None:
            name = await answer(http, "staff", "when is the bicycle shop open")
            await http.post(SAY, json={"id": name, "correction": "nine to five"})

        asking(one, open_then)
    task = (again / "staff" / "rung.yaml").read_text().replace("docs/wages.md: hr", "docs: hr")
    (again / "staff" / "rung.yaml").write_text(task)
    assert wrote(again / "staff").examples == 0, "the document behind the answer has been restricted since"


def test_nothing_of_the_teams_is_changed(labels: Path) -> None:
    [rows] = ((labels / "rows.csv").read_text(),)
    notes = Notes(labels / ".rung")
    project = Project(load_task(labels), say=lambda text: None)
    with made(labels) as one:

        async def said(http: Any) -> None:
            for number in range(2):
                name = await answer(http, "support", f"number {number}")
                await http.post(SAY, json={"id": name, "correction": "fault"})

        asking(one, said)
    for taken in ("rows.csv", "rung.yaml"):
        with pytest.raises(TaskError, match="not a file of rung feedback"):
            write(project, labels / taken, labels / "preferences.jsonl")
    assert (labels / "rows.csv").read_text() == rows and len(notes.unwritten()) == 2
    file = labels / "data" / "feedback.csv"
    wrote(labels)
    head, first, second = file.read_text().splitlines()
    edited = f"{head}\n{first.replace('number 0', 'number nought')}"  # the team edits one row and drops the other
    file.write_text(edited)
    assert wrote(labels).examples == 0 and file.read_text() == edited
    with made(labels) as one:

        async def more(http: Any) -> None:
            name = await answer(http, "support", "number 3")
            await http.post(SAY, json={"id": name, "correction": "refund"})

        asking(one, more)
    assert wrote(labels).examples == 1
    assert file.read_text().startswith(edited + "\n") and file.read_text().count("\n") == 3 and second not in file.read_text()


def test_a_memory_of_answers_is_bounded(labels: Path) -> None:
    with made(labels) as one:
        served = next(iter(one.models.values()))
    memory = Recent(count=3, characters=100)
    for number in range(5):
        memory.add(Answered(str(number), served, (), ()))
    assert [name for name in "01234" if memory.get(name)] == ["2", "3", "4"]
    assert Said() == Said(None, None, None)
