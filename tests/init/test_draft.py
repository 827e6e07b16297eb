"""Questions drafted from documents: only those that stand in their passage and lead back to it, and marked as drafts."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from rung.data.check import check
from rung.data.split import make_splits
from rung.errors import DataError, TaskError
from rung.init import draft
from rung.lm.base import Completion, Decoding, ModelRef, Prompt
from rung.lm.engines import Engines
from rung.lm.inference.fake import FakeEngine
from rung.machine import Machine
from rung.retrieve.store import Vector
from rung.task import Task, load_task

PARTS = ("frame", "wheel", "saddle", "bell", "chain", "pedal")


class Toy:
    """An embedder that counts letters."""

    max_length = 256

    def embed(self, texts: Sequence[str]) -> Vector:
        counts = np.array([[text.lower().count(chr(97 + i)) + 0.01 for i in range(26)] for text in texts], np.float32)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)

    def count(self, text: str) -> int:
        return len(text.split())


class Writer(FakeEngine):
    """Writes what a form says, with the passage's second word in it."""

    def __init__(self, form: str):
        super().__init__()
        self.form = form

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, progress: object = None) -> list[Completion]:
        self.asked += len(prompts)
        return [Completion(self.form.format(part=prompt.input.split()[1])) for prompt in prompts]


GOOD = "Question: For how long is the {part} guaranteed?\nAnswer: two full years\nQuestion: more?"


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    for part in PARTS:
        text = f"# Parts\n\n## The {part}\n\nThe {part} is guaranteed by us for two full years.\n\n## Left\n\nShort.\n"
        (tmp_path / "docs" / f"{part}.md").write_text(text)
    return tmp_path / "docs"


def engines_with(machine: Machine, form: str) -> Engines:
    made = Engines(machine, say=lambda text: None)
    made.put_embedder(Task.model_fields["encoder"].default, Toy(), "toy")  # type: ignore[arg-type]
    made.put(ModelRef("fake", "fake", "fake"), Writer(form))
    return made


def test_a_folder_is_made_whose_rows_are_known_to_be_drafts(docs: Path, tmp_path: Path, machine: Machine) -> None:
    folder = tmp_path / "support"
    made, files = draft.create_task(folder, docs, engines_with(machine, GOOD), "fake", 100)
    assert [path.name for path in files] == ["rung.yaml", "README.md", "drafts.csv"]
    with (folder / "data" / "drafts.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["question"]: (row["answer"], row["source"], row["draft"]) for row in rows} == {
        f"For how long is the {part} guaranteed?": ("two full years", f"../docs/{part}.md#The {part}", "yes") for part in PARTS
    }
    assert made.asked == len(PARTS), "what is too short is not asked about"
    task = load_task(folder)
    found = {finding.code: finding for finding in check(make_splits(task), task)}
    assert found["drafts"].what.startswith("6 of 6 rows are drafts") and found["drafts"].severity == "warn"
    text = (folder / "data" / "drafts.csv").read_text()
    (folder / "data" / "drafts.csv").write_text(text.replace('"yes"', '"no"', 4))
    found = {finding.code: finding for finding in check(make_splits(task), task)}
    assert found["drafts"].count == 2 and found["drafts"].what.startswith("2 of 6")
    (folder / "data" / "drafts.csv").write_text(text.replace('"yes"', '"no"'))
    assert "drafts" not in {finding.code for finding in check(make_splits(task), task)}
    with pytest.raises(TaskError, match="exists here already"):
        draft.create_task(folder, docs, engines_with(machine, GOOD), "fake", 100)


def test_no_more_than_asked_for_are_kept(docs: Path, tmp_path: Path, machine: Machine) -> None:
    made, _ = draft.create_task(tmp_path / "support", docs, engines_with(machine, GOOD), "fake", 2)
    assert len(made.drafts) == 2


@pytest.mark.parametrize("asked", [1, 3])
def test_what_stands_when_the_user_stops_is_kept(
    docs: Path, tmp_path: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch, asked: int
) -> None:
    class Stopped(Writer):
        def generate(self, prompts: Sequence[Prompt], decoding: Decoding, progress: object = None) -> list[Completion]:
            if self.asked >= asked:
                raise KeyboardInterrupt
            return super().generate(prompts, decoding, progress)

    monkeypatch.setattr(draft, "BATCH", 2)
    engines = engines_with(machine, GOOD)
    engines.put(ModelRef("fake", "fake", "fake"), Stopped(GOOD))
    made, _ = draft.create_task(tmp_path / "support", docs, engines, "fake", 100)
    assert len(made.drafts) == made.asked == 2 * (1 + asked // 2) and load_task(tmp_path / "support").data.examples


def test_stopped_before_there_is_a_draft_nothing_is_written(docs: Path, tmp_path: Path, machine: Machine) -> None:
    class Never(Writer):
        def generate(self, prompts: Sequence[Prompt], decoding: Decoding, progress: object = None) -> list[Completion]:
            raise KeyboardInterrupt

    engines = engines_with(machine, GOOD)
    engines.put(ModelRef("fake", "fake", "fake"), Never(GOOD))
    with pytest.raises(KeyboardInterrupt):
        draft.create_task(tmp_path / "support", docs, engines, "fake", 100)
    assert not (tmp_path / "support" / "rung.yaml").exists()


@pytest.mark.parametrize(
    ("form", "reason"),
    [
        ("I would ask about the {part}.", "the model did not write a question and an answer"),
        ("Question: How long?\nAnswer: seven years", "the answer is not in the passage"),
        ("Question: Is the {part} guaranteed two full years?\nAnswer: two full years", "the question reveals its answer"),
        ("Question: For how long are parts guaranteed?\nAnswer: two full years", "the question is a duplicate"),
    ],
)
def test_what_is_wrong_with_a_draft_is_told(docs: Path, tmp_path: Path, machine: Machine, form: str, reason: str) -> None:
    if reason.endswith("duplicate"):
        for part in PARTS[2:]:
            (docs / f"{part}.md").unlink()
        made, _ = draft.create_task(tmp_path / "support", docs, engines_with(machine, form), "fake", 100)
        assert made.dropped == {reason: 1} and len(made.drafts) == 1
        return
    with pytest.raises(DataError, match=reason):
        draft.create_task(tmp_path / "support", docs, engines_with(machine, form), "fake", 100)
    assert not (tmp_path / "support" / "rung.yaml").exists()


def test_a_question_that_does_not_lead_back_is_thrown_away(docs: Path, tmp_path: Path, machine: Machine) -> None:
    for i in range(8):
        (docs / f"queen{i}.md").write_text(f"# Crown\n\nWho was the queen of number {i}? Nobody in this town knows it.\n")
    form = "Question: Who was the queen of this town?\nAnswer: guaranteed"
    with pytest.raises(DataError, match="does not find its passage"):
        draft.create_task(tmp_path / "support", docs, engines_with(machine, form), "fake", 100)
