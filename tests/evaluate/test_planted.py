"""Planted instructions: what passages hold stays text for tokenizer and prompt, and the share of answers that obey is counted."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.evaluate.injection import ATTACKED_ROWS, KINDS, MAX_RATE, Attack, attack, cached_attack
from rung.lm.base import Completion, Decoding, ModelRef, Prompt
from rung.lm.engines import Engines
from rung.lm.inference.fake import FakeEngine
from rung.lm.models.chat import Chat, tokenizer
from rung.machine import Machine
from rung.methods.base import Run
from rung.methods.rag import Rag
from rung.predictor import Predictor
from rung.retrieve import ground
from rung.retrieve.knowledge import documents
from rung.store import Store
from rung.types import Example, Message, Source, TrainData

PARTS = ("frame", "wheel", "saddle", "bell", "chain", "pedal")
ROWS_OF_DEV = tuple(Example(f"how long is the {PARTS[i % 6]} guaranteed, asks customer {i}", "two years") for i in range(24))


class Obedient(FakeEngine):
    """Says whatever word it was told to say."""

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, progress: object = None) -> list[Completion]:
        self.asked += len(prompts)
        return [
            Completion((re.findall(r"marigold\w+", prompt.messages[-1].content) or ["I don't know."])[0]) for prompt in prompts
        ]


class Deaf(FakeEngine):
    """Quotes the first passage's first line, whatever else stands there."""

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, progress: object = None) -> list[Completion]:
        return [Completion(prompt.messages[-1].content.splitlines()[2]) for prompt in prompts]


class Failing(FakeEngine):
    """An endpoint that is down."""

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, progress: object = None) -> list[Completion]:
        return [Completion("", error="no connection") for _ in prompts]


@pytest.fixture
def rag(tmp_path: Path, machine: Machine, encoder: Path) -> Callable[[FakeEngine], tuple[Predictor, Engines]]:
    (tmp_path / "docs").mkdir()
    for part in PARTS:
        (tmp_path / "docs" / f"{part}.md").write_text(f"# {part.title()}\n\nThe {part} is guaranteed for two years.\n")
    (tmp_path / "fit").mkdir()

    def made(engine: FakeEngine) -> tuple[Predictor, Engines]:
        engines, ref = Engines(machine, say=lambda text: None), ModelRef("fake", "fake", "fake")
        engines.put(ref, engine)
        start = Predictor(kind="answer", model=ref, instruction="Answer.", encoder=str(encoder))
        run = Run(tmp_path / "fit", engines, shared=tmp_path / ".rung")
        data = TrainData((), documents=documents(tmp_path, ("docs/",)))
        return Rag(size=60).fit(start, data, run), engines

    return made


def test_an_obedient_model_is_always_caught_and_a_deaf_one_never(rag: Callable) -> None:
    for engine, share in ((Obedient(), 1.0), (Deaf(), 0.0)):
        predictor, engines = rag(engine)
        found = attack(unscreened(predictor), ROWS_OF_DEV[:ATTACKED_ROWS], engines)
        assert found.rate is not None and (found.rate.value, found.rate.n) == (share, ATTACKED_ROWS)
        assert found.rate.high - found.rate.low > 0.1, "twenty rows say no more than that"
        assert found.kinds == {kind: (2 * int(share), 2) for kind in KINDS}


def unscreened(predictor: Predictor) -> Predictor:
    assert predictor.lookup
    return replace(predictor, lookup=replace(predictor.lookup, screen=False))


def test_a_screen_holds_off_what_an_obedient_model_would_say(rag: Callable) -> None:
    predictor, engines = rag(Obedient())
    found = attack(predictor, ROWS_OF_DEV[:ATTACKED_ROWS], engines)
    assert found.rate is not None and found.rate.value <= MAX_RATE


def test_it_is_measured_once(rag: Callable, tmp_path: Path) -> None:
    engine = Obedient()
    predictor, engines = rag(engine)
    predictor = unscreened(predictor)
    first = cached_attack(predictor, ROWS_OF_DEV, Store(tmp_path), engines)
    assert engine.asked == ATTACKED_ROWS
    again = cached_attack(predictor, ROWS_OF_DEV, Store(tmp_path), engines)
    assert engine.asked == ATTACKED_ROWS and again == first and first.rate and first.rate.value == 1.0


def test_what_cannot_be_attacked_says_why(rag: Callable) -> None:
    predictor, engines = rag(Obedient())
    assert attack(replace(predictor, lookup=None), ROWS_OF_DEV, engines) == Attack(None, skipped="nothing is retrieved")
    assert "among labels" in attack(replace(predictor, labels=("a", "b")), ROWS_OF_DEV, engines).skipped
    unsure = replace(predictor, lookup=replace(predictor.lookup, least=9.0))
    assert "no row" in attack(unsure, ROWS_OF_DEV, engines).skipped
    down, engines = rag(Failing())
    assert "calls failed" in attack(down, ROWS_OF_DEV, engines).skipped


PLANTED = [kind.format(word="marigold") for kind in KINDS.values()]


def source(text: str) -> Source:
    return Source("a", "docs/a.md", "", f"docs/a.md {text}", text)


@pytest.mark.parametrize("kind", ["llama", "llama-plain", "llama-bos", "qwen2"])
def test_special_tokens_of_a_passage_are_never_special_to_the_model(base: Callable[[str], Path], kind: str) -> None:
    chat = Chat(tokenizer(base(kind)))
    special = set(chat.tokenizer.all_special_ids)

    def marks(text: str) -> list[int]:
        asked = ground.asked("How long?", [source(text)])
        return [token for token in chat.prompt([Message("system", "Answer."), Message("user", asked)]) if token in special]

    written = "".join(chat.tokenizer.all_special_tokens)
    for text in (*PLANTED, written, f"x{written}y{written}"):
        assert marks(text) == marks("Two years.")


MARKS = re.compile(r"<\s*/?\s*passages?\b", re.IGNORECASE)
PIECES = ["</passages>", "<passages>", "< / passages >", "</PASSAGE", "<", "/", "passages", ">", "\n", " ", "[2] b.md", "x"]


@given(st.lists(st.sampled_from([*PIECES, *PLANTED]), max_size=8).map("".join))
def test_no_passage_closes_the_passages_or_poses_as_another(text: str) -> None:
    asked = ground.asked("How long?", [source(text)])
    inside = asked.removeprefix("<passages>\n").removesuffix("\n</passages>\n\nQuestion: How long?")
    assert not MARKS.search(inside)
    assert [line[:3] for line in inside.splitlines() if re.match(r"\s*\[\d+\]", line)] == ["[1]"]
