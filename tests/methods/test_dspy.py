"""DSPy's optimizers as a method: what they find is a Predictor, kept only with a gain on fresh rows and within its calls."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from test_prompt_search import LABELS, ROWS, Graded, shots

pytest.importorskip("dspy", reason="the extra `dspy` is not installed")

from rung.errors import ModelError
from rung.lm.base import Completion, Decoding, Prompt
from rung.lm.engines import Engines
from rung.machine import Machine
from rung.methods.base import Run
from rung.methods.dspy import Dspy
from rung.predictor import Predictor
from rung.types import TrainData


class Writing(Graded):
    """One that keeps DSPy's forms: every field that a prompt names is written."""

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, progress=None) -> list[Completion]:
        self.asked += len(prompts)
        return [Completion(self.form(prompt)) for prompt in prompts]

    def form(self, prompt: Prompt) -> str:
        fields = dict.fromkeys(re.findall(r"\[\[ ## (\w+) ## \]\]", " ".join(m.content for m in prompt.messages)))
        return "\n".join(f"[[ ## {field} ## ]]\nProposal {prompt.draw}.\n" for field in fields)


@pytest.fixture
def search(machine: Machine, tmp_path: Path) -> Callable[..., tuple[Predictor, Predictor, Run, Graded]]:
    def made(skill: Callable[[Prompt], float], kind: type[Graded] = Writing, **given):
        engines, engine = Engines(machine), kind(skill)
        model = engines.reference("fake")
        engines.put(model, engine)
        start = Predictor(kind="classify", model=model, instruction="Sort the ticket.", labels=LABELS)
        run = Run(tmp_path, engines)
        return start, Dspy(**given).fit(start, TrainData(ROWS, LABELS), run), run, engine

    return made


def test_examples_that_help_are_found_and_kept(search: Callable, capfd: pytest.CaptureFixture) -> None:
    start, found, run, _ = search(lambda p: 0.95 if shots(p) else 0.5)
    assert run.notes["verdict"].startswith("gain: ")
    assert 0 < len(found.demos.fixed) <= 8 and {demo.output for demo in found.demos.fixed} <= set(LABELS)
    assert replace(found, demos=start.demos) == start, "nothing else has changed"
    assert len(run.notes["tried"]) > 3 and all("n=" in one["score"] for one in run.notes["tried"])
    assert capfd.readouterr() == ("", ""), "DSPy's own prints and bars stay out of ours"


def test_without_a_gain_the_start_comes_back_unchanged(search: Callable) -> None:
    start, found, run, _ = search(lambda p: 0.3 if shots(p) else 0.9)
    assert found == start
    assert run.notes["verdict"].startswith("no gain")


@pytest.mark.parametrize("optimizer", ["mipro", "copro"])
def test_a_written_instruction_can_win(search: Callable, optimizer: str) -> None:
    _, found, run, _ = search(lambda p: 0.95 if "Proposal" in p.messages[0].content else 0.4, optimizer=optimizer)
    assert found.instruction.startswith("Proposal "), run.notes["verdict"]
    assert run.notes["verdict"].startswith("gain: ")


@pytest.mark.parametrize("optimizer", ["bootstrap", "mipro", "copro"])
@pytest.mark.parametrize("calls", [10, 200, 400, 1500])
def test_no_more_is_asked_than_was_allowed(search: Callable, optimizer: str, calls: int) -> None:
    _, _, run, engine = search(lambda p: 0.5, optimizer=optimizer, calls=calls)
    assert engine.asked <= calls
    assert "gain" in run.notes["verdict"]


def test_a_writer_that_keeps_no_form_is_told_with_the_remedy(search: Callable) -> None:
    with pytest.raises(ModelError, match="teacher"):
        search(lambda p: 0.5, kind=Graded, optimizer="copro")
