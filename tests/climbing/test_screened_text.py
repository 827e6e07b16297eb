"""Raw text of a task: what repeats held-out rows is left out of its fits, named by the check and recorded; other fits stay."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rung import methods
from rung.climbing import fit
from rung.climbing.deadline import deadline
from rung.climbing.preflight import inspect
from rung.climbing.project import Project
from rung.data import corpus
from rung.errors import BudgetError
from rung.task import load_task

CLEAN = [f"a parcel of kind {i} is brought to the door by a courier in a green coat" for i in range(12)]


@pytest.fixture
def opened(tmp_path: Path, base: Callable[[str], Path]) -> Callable[..., Project]:
    def make(texts: list[str], **screening: object) -> Project:
        rows = [{"input": f"where in all the world is my parcel with the number {i}", "output": "ab"[i % 2]} for i in range(90)]
        (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (tmp_path / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        task = {
            "task": "Sort.",
            "kind": "classify",
            "base": str(base("llama")),
            "goal": {"at_least": 0.5},
            "rungs": ["continued"],
        }
        data = {"examples": "rows.jsonl", "corpus": "text.jsonl", "screening": screening}
        (tmp_path / "rung.yaml").write_text(json.dumps({**task, "data": data}))
        return Project(load_task(tmp_path), say=lambda text: None)

    return make


def key(project: Project, rung: str = "continued") -> str:
    return fit.fit_keys(fit.fit_context(project), methods.rung(rung, {}))[-1]


def test_what_repeats_a_held_out_row_is_left_out_named_and_recorded(opened: Callable[..., Project]) -> None:
    project = opened(CLEAN)
    row = project.inputs.splits.dev[0]
    unscreened, lora = key(opened(CLEAN, contamination=False, duplicates=False)), key(project, "lora")
    assert key(project) == unscreened
    dirty = opened([*CLEAN, f"They asked: {row.input}? Nobody knew.", CLEAN[3]])
    assert (
        key(dirty) != key(opened([*CLEAN, f"They asked: {row.input}? Nobody knew.", CLEAN[3]], contamination=False)) != unscreened
    )
    assert key(dirty, "lora") == lora
    dirty = opened([*CLEAN, f"They asked: {row.input}? Nobody knew.", CLEAN[3]])
    findings = {one.code: one for one in inspect(dirty)[0]}
    assert findings["text-contamination"].count == findings["text-duplicate"].count == 1
    assert findings["text-contamination"].severity == "warn"  # more than one document in twenty
    assert findings["text-contamination"].where == (f"text.jsonl document 13 = {row.where}",)
    assert findings["text-duplicate"].where == ("text.jsonl document 14 = text.jsonl document 4",)
    context = fit.fit_context(dirty)
    assert list(corpus.documents(context.data_for(methods.METHODS["continued"]).corpus)) == CLEAN
    rung = methods.rung("continued", {"continued": {"step": 256, "window": 64, "measured": 100}})
    said: list[str] = []
    _, notes = fit.fit(context, rung, float("inf"), lambda text, share: said.append(text))
    assert "data.corpus: 2 of 14 documents of raw text are left out: 1 for contamination, 1 for duplicate" in said
    assert notes[-1]["notes"]["raw_text"] == {"data.corpus": {"documents": 14, "contamination": 1, "duplicate": 1}}


def test_screening_obeys_the_time_budget(opened: Callable[..., Project]) -> None:
    project = opened([*CLEAN, CLEAN[3]])
    with deadline(project.engines, 1e-9), pytest.raises(BudgetError, match="the screening of raw text was stopped"):
        inspect(project)
    assert [one.code for one in inspect(project)[0] if one.code.startswith("text-")] == ["text-duplicate"]


def test_a_task_without_raw_text_is_not_screened(opened: Callable[..., Project], monkeypatch: pytest.MonkeyPatch) -> None:
    project = opened(CLEAN)
    monkeypatch.setattr(Project, "screened", property(lambda self: pytest.fail("the text is read")))
    assert key(project, "lora") and project.plan
