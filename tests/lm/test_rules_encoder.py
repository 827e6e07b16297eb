"""The engines without a language model: rules over the training rows, and a head over sentence vectors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rung.errors import ModelError
from rung.lm.base import Decoding, Prompt
from rung.lm.inference.embed import Embedder, nearest
from rung.lm.inference.encoder import EncoderEngine, load_head, save_head
from rung.lm.inference.rules import RuleEngine, save_rows
from rung.lm.vectors import load_vectors, save_vectors
from rung.machine import Machine
from rung.types import Example

ROWS = [
    Example("where is my parcel", "delay"),
    Example("i want my money back", "refund"),
    Example("give me a refund of my money", "refund"),
]


def prompt(text: str) -> Prompt:
    return Prompt((), text)


@pytest.fixture
def rule(tmp_path: Path) -> Callable[[str], RuleEngine]:
    save_rows(tmp_path, ROWS)
    return lambda name: RuleEngine(name, tmp_path)


def test_the_majority_is_the_commonest_answer(rule: Callable) -> None:
    (found,) = rule("majority").choose([prompt("anything")], ["delay", "refund"])
    assert (found.label, found.confidence) == ("refund", pytest.approx(2 / 3))


def test_the_nearest_row_answers_even_with_typos(rule: Callable) -> None:
    told: list[int] = []
    found = rule("nearest").choose([prompt("where is my parcle"), prompt("MONEY back!")], ["delay", "refund"], told.append)
    assert [choice.label for choice in found] == ["delay", "refund"]
    assert sum(told) == 2


def test_a_row_seen_before_gets_its_answer_surely(rule: Callable) -> None:
    (found,) = rule("nearest").choose([prompt(ROWS[0].input)], ["delay", "refund"])
    assert (found.label, found.confidence) == ("delay", pytest.approx(1.0))


def test_more_rows_than_a_chunk(rule: Callable) -> None:
    found = rule("nearest").choose([prompt(ROWS[i % 3].input) for i in range(1100)], ["delay", "refund"])
    assert [choice.label for choice in found] == [ROWS[i % 3].output for i in range(1100)]


@pytest.mark.parametrize("name", ["majority", "nearest"])
def test_rules_write_and_score_too(rule: Callable, name: str) -> None:
    one = rule(name)
    (written,) = one.generate([prompt("money back")], Decoding())
    assert written.text == "refund"
    assert one.score([prompt("money back")] * 2, ["refund", "delay"]) == [0.0, float("-inf")]
    assert one.count(prompt("x")) == 0


def test_vectors_have_length_one_and_repeats_are_equal(encoder: Path, machine) -> None:
    texts = ["where is it", "a much longer text about parcels", "where is it", "b"]
    found = Embedder(encoder, machine).embed(texts)
    assert found.shape == (4, 32)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(found[0], found[2])
    alone = np.concatenate([Embedder(encoder, machine).embed([text]) for text in texts])
    np.testing.assert_allclose(found, alone, atol=1e-5)


def test_nearest_is_sorted_and_never_more_than_there_are() -> None:
    rng = np.random.default_rng(0)
    pool, queries = rng.normal(size=(20, 4)).astype(np.float32), rng.normal(size=(3, 4)).astype(np.float32)
    found = nearest(pool, queries, 5)
    np.testing.assert_array_equal(found, np.argsort(-(queries @ pool.T), axis=1)[:, :5])
    assert nearest(pool[:2], queries, 5).shape == (3, 2)


def test_vectors_come_back_equal(tmp_path: Path) -> None:
    # column by column in memory, as scikit-learn may give them
    vectors = np.asfortranarray(np.arange(12, dtype=np.float64).reshape(3, 4))
    save_vectors(tmp_path, vectors)
    np.testing.assert_array_equal(load_vectors(tmp_path), vectors)


@pytest.fixture
def head(encoder: Path, machine, tmp_path: Path) -> EncoderEngine:
    rng = np.random.default_rng(0)
    save_head(tmp_path, np.asfortranarray(rng.normal(size=(3, 32)) * 5), rng.normal(size=3), ["a", "b", "c"])
    return load_head(Embedder(encoder, machine), tmp_path)


def test_the_head_is_a_softmax_over_the_vector(head: EncoderEngine, encoder: Path, machine) -> None:
    texts = ["where", "money", "hat", "x y z"]
    found = head.choose([prompt(text) for text in texts], ["a", "b", "c"])
    rng = np.random.default_rng(0)
    logits = Embedder(encoder, machine).embed(texts) @ (rng.normal(size=(3, 32)) * 5).T + rng.normal(size=3)
    odds = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert [choice.label for choice in found] == ["abc"[i] for i in odds.argmax(1)]
    assert [choice.confidence for choice in found] == pytest.approx(odds.max(1).tolist(), rel=1e-4)
    assert [choice.logprob for choice in found] == pytest.approx(np.log(odds.max(1)).tolist(), abs=1e-4)


def test_only_the_labels_asked_for_are_answered(head: EncoderEngine) -> None:
    for label in "abc":
        (found,) = head.choose([prompt("where")], [label, "never seen"])
        assert (found.label, found.confidence) == (label, pytest.approx(1.0))


def test_the_order_of_the_labels_changes_nothing(head: EncoderEngine) -> None:
    prompts = [prompt(text) for text in ("where", "money", "hat")]
    wanted = [choice.label for choice in head.choose(prompts, ["a", "b", "c"])]
    assert [choice.label for choice in head.choose(prompts, ["c", "a", "b"])] == wanted


def test_the_score_is_that_of_the_answer_given(head: EncoderEngine) -> None:
    scores = head.score([prompt("where")] * 3, ["a", "b", "c"])
    assert np.exp(scores).sum() == pytest.approx(1.0, rel=1e-4)
    (best,) = head.choose([prompt("where")], ["a", "b", "c"])
    assert "abc"[int(np.argmax(scores))] == best.label
    assert max(scores) == pytest.approx(best.logprob, rel=1e-4)
    assert head.score([prompt("where")], ["never seen"]) == [float("-inf")]


def test_an_encoder_cannot_write(head: EncoderEngine) -> None:
    with pytest.raises(ModelError, match="cannot generate"):
        head.generate([prompt("x")], Decoding())


def test_batches_on_several_cores_give_the_same_vectors(encoder: Path, machine: Machine) -> None:
    texts = [("ab cd " * (i % 7 + 1) + chr(97 + i % 26)).strip() for i in range(150)] * 2
    import torch

    one = Embedder(encoder, machine)
    alone = one.embed(texts)
    np.testing.assert_allclose(alone, one.model.encode(texts, batch_size=1, normalize_embeddings=True), atol=1e-6)
    many = Embedder(encoder, replace(machine, threads=3))
    many.count("a text whose counting leaves the tokenizer without a limit")
    assert np.allclose(alone, many.embed(texts), atol=1e-6)
    assert torch.get_num_threads() == 3
    torch.set_num_threads(machine.threads)


def test_batches_hold_each_text_once_and_no_more_tokens_than_they_may(encoder: Path, machine: Machine) -> None:
    """A text alone may be longer; what is cut off by the model counts for nothing."""
    one = Embedder(encoder, machine)
    one.tokens = 40
    texts = ["x" * i + " y" * (i * 7 % 90) for i in range(60)]
    batches = list(one._batches(texts))
    assert sorted(text for batch in batches for text in batch) == sorted(texts)
    for batch in batches:
        longest = max(min(one.count(text), one.max_length) for text in batch)
        assert len(batch) == 1 or len(batch) * longest <= 40
    assert any(len(batch) > 1 for batch in batches)
    assert one.embed([]).shape == (0,)
