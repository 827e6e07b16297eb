"""Messages to tokens: where a prompt ends, what is learnt, what stops an answer."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rung.errors import ModelError
from rung.lm.models.chat import Chat
from rung.types import Message

TURNS = (Message("system", "be short"), Message("user", "where is it"))


@pytest.fixture
def chat(loaded: Callable) -> Callable[[str], Chat]:
    return lambda kind: loaded(kind).chat


def test_an_answer_ends_as_the_template_ends_it(chat: Callable) -> None:
    assert chat("llama").tokenizer.decode([chat("llama").end]) == "<|im_end|>"
    assert chat("llama").tokenizer.decode([chat("llama-plain").end]) == "<|eos|>"


def test_the_end_and_the_tokenizers_own_end_both_stop(chat: Callable) -> None:
    one = chat("llama")
    assert one.stops == {one.end, one.tokenizer.eos_token_id}


def test_a_model_without_a_template_gets_the_plain_one(chat: Callable) -> None:
    assert chat("llama-plain").text(TURNS) == "be short\n\nInput: where is it\nOutput:\n"


def test_earlier_answers_are_closed_like_the_one_to_learn(chat: Callable) -> None:
    for kind in ("llama", "llama-plain", "llama-bos"):
        one = chat(kind)
        demo = (*TURNS, Message("assistant", "here"), Message("user", "thanks"))
        assert one.prompt(demo).count(one.end) >= 1
        learnt = one.row(TURNS, "here").tokens
        assert one.prompt(demo)[: len(learnt)] == learnt, "a demonstration must look like a trained answer"


@pytest.mark.parametrize(("kind", "times"), [("llama", 0), ("llama-plain", 0), ("llama-bos", 1)])
def test_the_begin_token_stands_once_where_it_is_wanted(chat: Callable, kind: str, times: int) -> None:
    ids = chat(kind).prompt(TURNS)
    assert ids.count(chat(kind).tokenizer.bos_token_id) == times
    assert times == 0 or ids[0] == chat(kind).tokenizer.bos_token_id


def test_a_begin_token_that_the_template_leaves_out_is_added(loaded: Callable) -> None:
    tokenizer = loaded("llama-bos").chat.tokenizer
    without = type(tokenizer).from_pretrained(tokenizer.name_or_path)
    without.chat_template = loaded("llama").chat.tokenizer.chat_template
    ids = Chat(without).prompt(TURNS)
    assert ids[0] == without.bos_token_id
    assert ids.count(without.bos_token_id) == 1


@pytest.mark.parametrize("kind", ["llama", "llama-plain", "llama-bos", "qwen2"])
def test_the_answer_and_its_end_are_learnt_and_nothing_else(chat: Callable, kind: str) -> None:
    one = chat(kind)
    row = one.row(TURNS, "at home 🙂", weight=2.0)
    front = one.prompt(TURNS)
    assert row.tokens[: len(front)] == front
    assert row.targets == (False,) * len(front) + (True,) * (len(row.tokens) - len(front))
    assert one.decode(row.tokens[len(front) :]) == "at home 🙂"
    assert row.tokens[-1] == one.end
    assert row.weight == 2.0


def test_what_is_learnt_is_what_was_rendered(chat: Callable) -> None:
    one = chat("llama")
    assert one.tokenizer.decode(one.row(TURNS, "at home").tokens) == one.text(TURNS) + "at home<|im_end|>"


def test_a_tokenizer_without_any_end_is_refused(loaded: Callable) -> None:
    tokenizer = loaded("llama-plain").chat.tokenizer
    endless = type(tokenizer).from_pretrained(tokenizer.name_or_path)
    endless.eos_token = None
    with pytest.raises(ModelError, match="no end token"):
        _ = Chat(endless).end
