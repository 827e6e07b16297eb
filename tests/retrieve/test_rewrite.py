"""Follow-up questions: what is searched for them, and rewritings that are not trusted."""

from __future__ import annotations

from collections.abc import Sequence

from rung.lm.base import Completion, Decoding, Prompt
from rung.lm.inference.fake import FakeEngine
from rung.retrieve.rewrite import standalone
from rung.types import Example, Message

HISTORY = (Message("user", "How long is the guarantee on frames?"), Message("assistant", "Five years."))
FOLLOWING = Example("And on wheels?", "Two years.", HISTORY)


class Scripted(FakeEngine):
    def __init__(self, *said: str):
        super().__init__()
        self.said, self.seen = said, []

    def generate(self, prompts: Sequence[Prompt], decoding: Decoding, progress: object = None) -> list[Completion]:
        self.seen += prompts
        return [Completion(text) for _, text in zip(prompts, self.said, strict=True)]


def test_a_question_without_a_conversation_is_searched_as_it_is() -> None:
    engine = Scripted()
    rows = [Example("Where are you?", "Here."), Example("Hello", "Hi", (Message("system", "Be kind."),))]
    assert standalone(rows, engine) == ["Where are you?", "Hello"]
    assert not engine.seen, "the model was asked for nothing"


def test_a_follow_up_is_rewritten_from_its_conversation() -> None:
    engine = Scripted("How long is the guarantee on wheels?")
    assert standalone([Example("Hi", "x"), FOLLOWING], engine) == ["Hi", "How long is the guarantee on wheels?"]
    asked = engine.seen[0].messages[-1].content
    assert "guarantee on frames" in asked and asked.endswith("Last question: And on wheels?")


def test_a_rewriting_that_is_made_up_is_not_searched_for() -> None:
    for bad in ("", "Paris is the capital of France since when exactly?", "guarantee " * 100):
        assert standalone([FOLLOWING], Scripted(bad)) == ["How long is the guarantee on frames? And on wheels?"]
