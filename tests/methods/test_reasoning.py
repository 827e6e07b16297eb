"""Reasoning before the answer: what is asked, how it is read, the vote, and which reasoning demonstrations get."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.errors import RungError
from rung.lm.base import Choice, Completion, Decoding, Prompt
from rung.lm.engines import Engines
from rung.lm.inference.thinking import MARKER, split, turn
from rung.lm.vectors import load_vectors, save_vectors
from rung.machine import Machine
from rung.methods.base import Run
from rung.methods.reasoning import COLUMN, PARTS, Reasoning
from rung.predictor import Demos, Predictor, folder_digest
from rung.types import Example, TrainData

LABELS = ("delay", "refund")
SUMS = [Example("2 and 2", "4"), Example("2 and 3", "5")]


@dataclass
class Scripted:
    """Writes what a function of prompt and draw says; chooses the label that its prompt names last."""

    says: Callable[[Prompt], str]
    context: int = 4096
    prompts: list[Prompt] = field(default_factory=list)
    decodings: list[Decoding] = field(default_factory=list)

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, progress=None) -> list[Completion]:
        self.prompts += prompts
        self.decodings += [decoding] * len(prompts)
        said = [self.says(prompt) for prompt in prompts]
        broken = Completion("", error="broken")
        return [broken if text == "!" else Completion(text, 10, 3, seconds=0.5) for text in said]

    def choose(self, prompts: Sequence[Prompt], labels: Sequence[str], progress=None) -> list[Choice]:
        self.prompts += prompts
        best = [max(labels, key=p.begun.rfind) for p in prompts]
        return [Choice(label, -0.1, 0.9, 20, 1) for label in best]

    def count(self, prompt: Prompt) -> int:
        return sum(len(m.content) for m in prompt.messages) + len(prompt.begun)


@pytest.fixture
def asked(machine: Machine) -> Callable[..., tuple[Predictor, Engines, Scripted]]:
    def made(says: Callable[[Prompt], str], labels: tuple[str, ...] = (), **more) -> tuple[Predictor, Engines, Scripted]:
        engines = Engines(machine)
        engine = Scripted(says, **more)
        model = engines.reference("fake")
        engines.put(model, engine)
        kind = "classify" if labels else "answer"
        start = Predictor(kind=kind, model=model, instruction="Add.", labels=labels, decoding=Decoding(max_new_tokens=5))  # type: ignore[arg-type]
        return start, engines, engine

    return made


def fit(method: Reasoning, start: Predictor, engines: Engines, folder: Path) -> tuple[Predictor, Run]:
    run = Run(folder, engines)
    return method.fit(start, TrainData((), start.labels), run), run


texts = st.text(st.characters(codec="utf-8", exclude_characters="\r\x85\u2028\u2029\x0b\x0c\x1c\x1d\x1e"), max_size=30).map(
    str.strip
)


@given(texts.filter(lambda t: MARKER.lower() not in t.lower()), texts.filter(lambda t: MARKER.lower() not in t.lower()))
def test_a_whole_answer_is_read_as_it_was_put_together(trace: str, answer: str) -> None:
    read = split(turn(trace, answer))
    assert read == (trace, answer)


@pytest.mark.parametrize(
    ("text", "trace", "answer"),
    [
        ("two and two\nAnswer: 4", "two and two", "4"),
        ("two\n**Answer:**\n4", "two", "4"),
        ("two\nanswer: 4\nAnswer: 5", "two", "4"),
        ("the Answer: is hard", "the Answer: is hard", ""),
        ("Answer:", "", ""),
        ("", "", ""),
    ],
)
def test_an_answer_stands_behind_its_mark(text: str, trace: str, answer: str) -> None:
    assert split(text) == (trace, answer)


def test_a_free_answer_is_what_stands_behind_the_mark(asked: Callable, tmp_path: Path) -> None:
    start, engines, engine = asked(lambda p: f"I add {p.input}.\nAnswer:\n4")
    found, _ = fit(Reasoning(thought=50), start, engines, tmp_path)
    (prediction,) = found.predict(SUMS[:1], engines)
    assert (prediction.output, prediction.confidence, prediction.error) == ("4", None, "")
    assert (prediction.tokens_in, prediction.tokens_out) == (10, 3)
    assert engine.decodings[0] == Decoding(max_new_tokens=55)
    assert MARKER in engine.prompts[0].messages[0].content
    assert engine.prompts[0].begun == "Let's think step by step."


def test_without_the_mark_the_answer_is_asked_for(asked: Callable, tmp_path: Path) -> None:
    start, engines, engine = asked(lambda p: "5\nAnswer: 6" if MARKER in p.begun else "I add and add")
    found, _ = fit(Reasoning(), start, engines, tmp_path)
    (prediction,) = found.predict(SUMS[:1], engines)
    assert prediction.output == "5"
    assert engine.prompts[1].begun == "Let's think step by step. I add and add\nAnswer:\n"
    assert (prediction.tokens_in, prediction.tokens_out) == (20, 6)


def test_a_label_is_chosen_behind_the_reasoning(asked: Callable, tmp_path: Path) -> None:
    start, engines, engine = asked(lambda p: "no delay but a refund\nAnswer: neither", LABELS)
    found, _ = fit(Reasoning(), start, engines, tmp_path)
    (prediction,) = found.predict([Example("x", "")], engines)
    assert (prediction.output, prediction.confidence) == ("refund", 0.9)
    assert engine.prompts[-1].begun.endswith("no delay but a refund\nAnswer:\n")


def test_the_majority_answers_and_its_share_is_the_confidence(asked: Callable, tmp_path: Path) -> None:
    start, engines, engine = asked(lambda p: f"\nAnswer:\n{['4', 'five', 'Five.', '4', 'FIVE'][p.draw]}")
    found, _ = fit(Reasoning(samples=5), start, engines, tmp_path)
    for prediction in found.predict(SUMS, engines):
        assert (prediction.output, prediction.confidence) == ("five", 0.6)
    assert [p.draw for p in engine.prompts] == [0, 1, 2, 3, 4] * 2
    assert {d.temperature for d in engine.decodings} == {0.7}


def test_of_equally_frequent_labels_the_surer_wins(asked: Callable, tmp_path: Path) -> None:
    start, engines, engine = asked(lambda p: LABELS[p.draw % 2], LABELS)
    engine.choose = lambda prompts, labels, progress=None: [  # type: ignore[method-assign]
        Choice("refund", -0.1, 0.9) if "refund" in p.begun else Choice("delay", -0.1, 0.6) for p in prompts
    ]
    found, _ = fit(Reasoning(samples=2), start, engines, tmp_path)
    assert found.predict([Example("x", "")], engines)[0].output == "refund"


def test_calls_that_failed_do_not_vote_and_count_against_the_share(asked: Callable, tmp_path: Path) -> None:
    start, engines, _ = asked(lambda p: "!" if p.draw < 3 else "\nAnswer: 4")
    found, _ = fit(Reasoning(samples=5), start, engines, tmp_path)
    (prediction,) = found.predict(SUMS[:1], engines)
    assert (prediction.output, prediction.confidence, prediction.error, prediction.again) == ("4", 0.4, "", False)
    start, engines, _ = asked(lambda p: "!")
    (prediction,) = fit(Reasoning(samples=2), start, engines, tmp_path)[0].predict(SUMS[:1], engines)
    assert (prediction.output, prediction.error, prediction.again) == ("", "broken", True)


def test_reasoning_that_became_too_long_is_cut(asked: Callable, tmp_path: Path) -> None:
    start, engines, engine = asked(lambda p: "delay " * 300, LABELS, context=900)
    found, _ = fit(Reasoning(thought=100), start, engines, tmp_path)
    (prediction,) = found.predict([Example("x", "")], engines)
    assert prediction.output == "delay"
    assert 0 < len(engine.prompts[-1].begun) < 900


def test_demonstrations_show_the_reasoning_of_their_rows(asked: Callable, tmp_path: Path) -> None:
    row = Example("2 and 2", "4", extra={COLUMN: "two more than two"})
    start, engines, engine = asked(lambda p: "")
    found, run = fit(Reasoning(), replace(start, demos=Demos(fixed=(row,))), engines, tmp_path)
    assert not engine.prompts
    assert found.render(SUMS[1]).messages[2].content == "two more than two\nAnswer:\n4"
    assert run.notes["traces"] == {"given": 1, "asked for": 0, "right and kept": 0}
    assert found.lessons([row], engines)[0][1] == "two more than two\nAnswer:\n4"


def test_written_reasoning_is_kept_only_where_it_led_to_the_right_answer(asked: Callable, tmp_path: Path) -> None:
    start, engines, _ = asked(lambda p: f"because of {p.input}\nAnswer: 4")
    found, run = fit(Reasoning(samples=5), replace(start, demos=Demos(fixed=tuple(SUMS))), engines, tmp_path)
    assert [demo.input for demo in found.demos.fixed] == ["2 and 2"]
    assert found.demos.fixed[0].extra[COLUMN] == "Let's think step by step. because of 2 and 2"
    assert run.notes["traces"] == {"given": 0, "asked for": 2, "right and kept": 1}


def test_planned_reasoning_is_kept_only_in_its_form(asked: Callable, tmp_path: Path) -> None:
    whole = "\n".join(f"{part} this" for part in PARTS[1:])
    start, engines, engine = asked(lambda p: f"so\n{whole if p.input == '2 and 2' else ''}\nAnswer: {p.input[-1]}")
    rows = (Example("2 and 2", "2"), Example("2 and 3", "3"))
    found, _ = fit(Reasoning(form="plan"), replace(start, demos=Demos(fixed=rows)), engines, tmp_path)
    assert engine.prompts[0].begun == "Thought:"
    (demo,) = found.demos.fixed
    assert all(part in found.render(SUMS[1]).messages[2].content for part in (*PARTS, MARKER))
    assert demo.input == "2 and 2"


def pooled(rows: Sequence[Example], folder: Path) -> Demos:
    """Demonstrations drawn from rows, row i with the vector i in each place."""
    folder.mkdir()
    save_vectors(folder, np.arange(len(rows), dtype=np.float32)[:, None].repeat(2, axis=1))
    return Demos(pool=tuple(rows), similar=2, files=str(folder), files_digest=folder_digest(folder))


def test_similar_examples_without_reasoning_are_left_out_with_their_vectors(asked: Callable, tmp_path: Path) -> None:
    start, engines, _ = asked(lambda p: "")
    rows = [Example(f"{i} and {i}", str(2 * i), extra={COLUMN: f"twice {i}"} if i % 2 else {}) for i in range(5)]
    demos = pooled(rows, tmp_path / "before")
    found, run = fit(Reasoning(), replace(start, demos=demos), engines, tmp_path)
    assert [row.input for row in found.demos.pool] == ["1 and 1", "3 and 3"] and found.demos.similar == 2
    assert load_vectors(Path(found.demos.files))[:, 0].tolist() == [1.0, 3.0]
    assert found.demos.files_digest == folder_digest(Path(found.demos.files)) != demos.files_digest
    assert Path(found.demos.files).is_relative_to(run.folder)
    assert run.notes["similar"] == {"with reasoning": 2, "without, left out": 3}
    whole, _ = fit(Reasoning(), replace(start, demos=replace(demos, pool=tuple(rows[1:2]) * 5)), engines, tmp_path)
    assert whole.demos.files == demos.files, "where all have it nothing is written"


def test_similar_examples_of_which_none_has_reasoning_are_refused(asked: Callable, tmp_path: Path) -> None:
    start, engines, _ = asked(lambda p: "")
    with pytest.raises(RungError, match=r"'reasoning'.* few-shot\+reasoning"):
        fit(Reasoning(), replace(start, demos=pooled(SUMS, tmp_path / "before")), engines, tmp_path)


def test_what_writes_no_text_is_refused(asked: Callable, tmp_path: Path) -> None:
    start, engines, _ = asked(lambda p: "", LABELS)
    with pytest.raises(RungError, match="cannot reason"):
        fit(Reasoning(), replace(start, model=replace(start.model, kind="rule")), engines, tmp_path)


@pytest.fixture
def real(base: Callable[[str], Path], machine: Machine) -> tuple[Predictor, Engines]:
    engines = Engines(machine, say=lambda text: None)
    model = engines.reference(str(base("llama")))
    return Predictor(kind="answer", model=model, instruction="Add.", decoding=Decoding(max_new_tokens=6)), engines


def test_draws_differ_and_none_hangs_on_its_company(real: tuple[Predictor, Engines]) -> None:
    start, engines = real
    engine = engines.open(start.model)
    hot = Decoding(max_new_tokens=12, temperature=2.0)
    prompt = start.render(SUMS[0])
    five = [replace(prompt, draw=k) for k in range(5)]
    together = [c.text for c in engine.generate(five, hot)]
    assert len(set(together)) > 1
    assert [engine.generate([one], hot)[0].text for one in five] == together
    assert engine.generate([prompt], hot)[0].text == together[0]


@pytest.mark.parametrize("labels", [(), LABELS])
def test_what_an_answer_has_begun_with_is_read_and_not_written_again(real: tuple[Predictor, Engines], labels) -> None:
    start, engines = real
    engine = engines.open(start.model)
    prompt = start.render(SUMS[0])
    begun = replace(prompt, begun="two more\nAnswer:\n")
    tokens = engine.chat.answer("two more\nAnswer:\n")[:-1]  # type: ignore[attr-defined]
    assert engine.count(begun) == engine.count(prompt) + len(tokens)
    if labels:
        logs = engine.score([begun] * 2, labels)
        assert engine.choose([begun], labels)[0].label == labels[logs.index(max(logs))]
        assert engine.choose([begun], labels)[0].logprob == pytest.approx(max(logs), rel=1e-4)
    else:
        whole = engine.score([prompt], ["two more\nAnswer:\n4"])[0]
        assert engine.score([begun], ["4"])[0] > whole


def test_rows_near_the_context_are_answered_or_refused_by_row(base: Callable, machine: Machine, tmp_path: Path) -> None:
    """A tiny random model writes broken characters, which are more tokens when they are read again."""
    engines = Engines(machine, say=lambda text: None)
    start = Predictor(
        kind="classify", model=engines.reference(str(base("llama"))), instruction="S", labels=("a", "b"), show_labels=False
    )
    found, _ = fit(Reasoning(thought=40), start, engines, tmp_path)
    for prediction in found.predict([Example("late " * n, "") for n in (1, 40, 80)], engines):
        assert prediction.output in ("a", "b") or "over the context" in prediction.error
