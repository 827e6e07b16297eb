"""Teachers behind an API, over real sockets: what they are asked, what is kept of it, and what it costs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from servers import Server, serving

from rung.climbing.executors.job import measure
from rung.climbing.fit import fit, fit_context
from rung.climbing.project import Project
from rung.lm.base import Decoding
from rung.lm.engines import Engines
from rung.lm.remote.prices import Price
from rung.lm.remote.settings import Settings
from rung.machine import Machine
from rung.methods.base import Run
from rung.methods.prompt_search import PromptSearch
from rung.methods.reasoning import COLUMN, Reasoning
from rung.planning.api_settings import settings
from rung.predictor import Demos, Predictor
from rung.task import load_task
from rung.types import Example, TrainData

PRICE = Price(2.0, 10.0)
LABELS = ("delay", "refund")


@pytest.fixture
def engines(machine: Machine, tmp_path: Path) -> Engines:
    return Engines(machine, say=lambda text: None, api=Settings(folder=tmp_path / "books", prices={"t": PRICE}))


def asked(body: dict[str, Any]) -> str:
    return body["messages"][-1]["content"]


def sorts(body: dict[str, Any]) -> tuple[str, int, int]:
    """The label that the question names; of a question that names none, what is no label."""
    named = next((label for label in LABELS if label in asked(body)), "")
    return json.dumps({"label": named}) if named else "I would rather not say", 50, 5


@pytest.fixture
def project(tmp_path: Path, home: Path, machine: Machine) -> Callable[[Server], Project]:
    rows = [f"{i} parcel {label},{label}" for i in range(60) for label in LABELS]
    (tmp_path / "rows.csv").write_text("\n".join(["input,output", *rows]))
    (tmp_path / "new.txt").write_text("another long delay\nmy refund please\nnothing of the kind\n")

    def made(server: Server) -> Project:
        (tmp_path / "rung.yaml").write_text(
            "task: Sort.\nkind: classify\nbase: fake\ngoal: {at_least: 0.5}\nrungs: [distil+nearest]\n"
            "data: {examples: rows.csv, unlabelled: new.txt}\nprices: {t: {input: 2.0, output: 10.0}}\n"
            f'methods: {{distil: {{teacher: "{server.url}#t"}}}}\n'
        )
        task = load_task(tmp_path)
        return Project(task, Engines(machine, say=lambda text: None, api=settings(task)))

    return made


def test_a_teacher_labels_and_its_bill_is_part_of_the_rungs_cost(project: Callable[[Server], Project], machine: Machine) -> None:
    with serving(Server(answer=sorts)) as server:
        made = project(server)
        [step] = made.plan.steps
        record = measure(made, step, float("inf"), lambda *_: None)
        fitted, [note, _] = fit(fit_context(made), step.methods, float("inf"), lambda *_: None)
    assert record.status == "done", record.reason
    assert [(row.input, row.output) for row in fitted.taught] == [("another long delay", "delay"), ("my refund please", "refund")]
    told = note["notes"]
    assert (told["asked"], told["kept"], told["failed"], told["no_label"]) == (3, 2, 0, 1)
    assert server.moves.total() == 3 and note["usd"] == pytest.approx(3 * PRICE.usd(50, 5))
    assert record.cost and record.quote
    assert record.cost.once_usd == pytest.approx(machine.usd(record.cost.fit_seconds) + 3 * PRICE.usd(50, 5))
    assert record.quote.once_usd > machine.usd(record.quote.fit_seconds), "quoted by the teacher's price as well"
    assert record.provenance.remote and record.provenance.raw_quote


def test_a_note_of_an_older_fit_has_no_bill(project: Callable[[Server], Project], machine: Machine) -> None:
    with serving(Server(answer=sorts)) as server:
        made = project(server)
        [step] = made.plan.steps
        fit(fit_context(made), step.methods, float("inf"), lambda *_: None)
        for path in made.store.folder.glob("fits/*/fit.json"):
            note = json.loads(path.read_text())
            note.pop("usd")
            path.write_text(json.dumps(note))
        record = measure(made, step, float("inf"), lambda *_: None)
    assert record.cost and record.cost.once_usd == pytest.approx(machine.usd(record.cost.fit_seconds))


def test_a_teacher_proposes_instructions_that_the_base_answers_by(engines: Engines, tmp_path: Path) -> None:
    def proposes(body: dict[str, Any]) -> tuple[str, int, int]:
        return f"Proposal {body['seed']}.", 50, 5

    rows = tuple(Example(f"{LABELS[i % 2]} {i}", LABELS[i % 2]) for i in range(200))
    start = Predictor(kind="classify", model=engines.reference("fake"), instruction="Sort.", labels=LABELS)
    run = Run(tmp_path, engines)
    with serving(Server(answer=proposes)) as server:
        method = PromptSearch(teacher=f"{server.url}#t", calls=600)
        found = method.fit(start, TrainData(rows, LABELS), run)
    assert [asked(body).startswith("Here are inputs of a task") for body in server.bodies] == [True] * 3
    told = [one["what"] for one in run.notes["tried"]]
    assert {f"instruction 'Proposal {i}.'" for i in range(3)} <= set(told) and found.model.name == "fake"


@pytest.mark.parametrize("labels", [(), ("4", "5")], ids=["free", "labels"])
def test_a_teacher_writes_the_reasoning_of_demonstrations(engines: Engines, tmp_path: Path, labels: tuple[str, ...]) -> None:
    def reasons(body: dict[str, Any]) -> tuple[str, int, int]:
        if "response_format" in body:
            return json.dumps({"label": "4"}), 60, 5
        return f"two more than {asked(body)[0]}\nAnswer: 4", 50, 20

    demos = Demos(fixed=(Example("2 and 2", "4"), Example("2 and 3", "5")))
    start = Predictor(
        kind="classify" if labels else "answer",
        model=engines.reference("fake"),
        instruction="Add.",
        labels=labels,
        decoding=Decoding(max_new_tokens=5),
        demos=demos,
    )
    run = Run(tmp_path, engines)
    with serving(Server(answer=reasons)) as server:
        found = Reasoning(teacher=f"{server.url}#t", thought=40).fit(start, TrainData((), labels), run)
    assert [(demo.input, demo.extra[COLUMN]) for demo in found.demos.fixed] == [("2 and 2", "two more than 2")]
    assert run.notes["traces"] == {"given": 0, "asked for": 2, "right and kept": 1}
    assert len(server.bodies) == (4 if labels else 2) and found.model.name == "fake"
    assert all(re.search(r"step by step\. Then write", body["messages"][0]["content"]) for body in server.bodies)
    assert found.thinking and found.thinking.opening, "the base, which runs here, is given its opening words; the teacher was not"
    assert "assistant" not in [turn["role"] for turn in server.bodies[0]["messages"]]
