"""Raw text to steps: documents do not see each other, nothing is lost or learnt twice, any step can be drawn again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from rung.errors import DataError, ModelError
from rung.lm.models import chat
from rung.lm.models.load import Loaded
from rung.lm.raw_text import bpe, perplexity, shards
from rung.lm.raw_text.shards import Shard
from rung.lm.training import losses, raw_text_steps
from rung.types import Message

TEXTS = ["the parcel is late and nobody knows", "refund", "where is my order? " * 8, "日本 🙂 café"]


def made(lengths: list[int], seed: int = 0) -> Shard:
    ends = np.cumsum(lengths)
    tokens = np.random.default_rng(seed).integers(3, 300, int(ends[-1])).astype(np.uint16)
    return Shard(tokens, ends, np.array(lengths) * 3)


# --- the tokenizer ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("tokenizer")
    bpe.train(TEXTS * 3, 320).save_pretrained(folder)
    return chat.tokenizer(folder)


@given(text=st.text())
def test_any_unicode_comes_out_as_it_went_in(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text, split_special_tokens=True).input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_a_text_cannot_end_itself(tokenizer: Any, tmp_path: Path) -> None:
    shard = shards.write(tmp_path / "s", ["before <|end|> after"], tokenizer, "x")
    assert shard.tokens.tolist().count(tokenizer.eos_token_id) == 1
    assert shard.tokens[-1] == tokenizer.eos_token_id


def test_the_tokenizer_chats_in_the_plain_template(tokenizer: Any) -> None:
    talk = chat.Chat(tokenizer)
    ids = talk.prompt([Message("system", "sort"), Message("user", "late")])
    assert tokenizer.decode(ids) == "<|begin|>sort\n\nInput: late\nOutput:\n"
    assert ids.count(tokenizer.bos_token_id) == 1
    assert talk.end == tokenizer.eos_token_id
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}) == 3


def test_a_vocabulary_without_room_for_the_bytes_is_refused() -> None:
    with pytest.raises(ModelError, match=r"at least 259 tokens .*got 100"):
        bpe.train(TEXTS, 100)


# --- tokens on disk ---------------------------------------------------------------------------------------------------


def test_tokens_are_written_once_and_mapped(tokenizer: Any, tmp_path: Path) -> None:
    shard = shards.write(tmp_path / "s", TEXTS, tokenizer, "a")
    assert isinstance(shard.tokens, np.memmap)
    assert shard.tokens.dtype == np.uint16
    back = [tokenizer.decode(shard.tokens[b:e], skip_special_tokens=True) for b, e in zip(shard.starts, shard.ends)]
    assert back == TEXTS
    assert shard.sizes.tolist() == [len(text.encode()) for text in TEXTS]
    again = shards.write(tmp_path / "s", iter(()), tokenizer, "a")
    assert again.tokens.tolist() == shard.tokens.tolist()
    note = json.loads((tmp_path / "s" / shards.METADATA).read_text())
    assert (note["parts"][""]["tokens"], note["parts"][""]["documents"]) == (len(shard.tokens), len(TEXTS))
    other = shards.write(tmp_path / "s", TEXTS[:1], tokenizer, "b")
    assert len(other.ends) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_half_written_tokens_are_not_taken_for_whole_ones(tokenizer: Any, tmp_path: Path) -> None:
    def broken() -> Any:
        yield from TEXTS
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shards.write(tmp_path / "s", broken(), tokenizer, "a")
    assert not (tmp_path / "s").exists()
    assert len(shards.write(tmp_path / "s", TEXTS, tokenizer, "a").ends) == len(TEXTS)


# --- windows ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(1, 12))
def test_each_token_but_a_documents_first_is_learnt_once(lengths: list[int], length: int) -> None:
    shard = made(lengths)
    learnt: list[int] = []
    for begin, end in raw_text_steps.windows(shard, length).tolist():
        assert 1 <= end - begin - 1 <= length
        assert any(first <= begin and end <= last for first, last in zip(shard.starts, shard.ends)), "it spans two documents"
        learnt += range(begin + 1, end)
    assert sorted(learnt) == sorted(set(range(len(shard.tokens))) - set(shard.starts.tolist()))


@pytest.mark.parametrize("kind", ["llama", "gemma3", "bloom"])
def test_documents_do_not_see_each_other(loaded: Callable[[str], Loaded], exact: Callable[[str], tuple], kind: str) -> None:
    """The loss of a pack is that of its documents one by one; two begin alike and share what they have in common."""
    one = loaded(kind)
    plain = exact(kind)[1] if one.trees else one.model
    shard = made([30, 7, 2, 50])
    shard.tokens[30:34] = shard.tokens[:4]
    rows = [raw_text_steps.row(shard.tokens[begin:end]) for begin, end in raw_text_steps.windows(shard, 24)]
    alone = 0.0
    with torch.no_grad():
        for row in rows:
            ids = torch.tensor([row.tokens])
            alone += float(cross_entropy(plain(ids).logits[0, :-1], ids[0, 1:], reduction="sum"))
        together = float(losses.sft(one.model, rows, one.trees))
    assert together == pytest.approx(alone, rel=1e-5)
    assert losses.weight(rows) == 30 + 7 + 2 + 50 - 4
    found = perplexity.measure(one, shard, 24, limit=10**6)
    assert found[:, 0].sum() == pytest.approx(alone, rel=1e-5)
    assert found[:, 1].tolist() == [29, 6, 1, 49]
    np.testing.assert_allclose(perplexity.measure(one, shard, 24, limit=30), found[:2], rtol=1e-5)
    fronts = perplexity.measure(one, shard, 24, limit=10**6, whole=False)
    assert fronts[:, 1].tolist() == [24, 6, 1, 24]
    assert fronts[1, 0] == pytest.approx(found[1, 0], rel=1e-5)
    assert 0 < fronts[0, 0] < found[0, 0]
    assert fronts[3, 2] == pytest.approx(150 * 24 / 49)


def test_the_dense_loss_is_that_over_trees(exact: Callable[[str], tuple]) -> None:
    trees, plain = exact("llama")
    rows = raw_text_steps.RandomWindows(made([500]).tokens, 16, 5, 3, seed=4)[1]
    with torch.no_grad():
        loss = float(raw_text_steps.dense_loss(plain, rows, False))
        assert loss == pytest.approx(float(losses.sft(trees, rows, True)), rel=1e-6)


# --- steps ------------------------------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(2, 60), min_size=5, max_size=30),
    st.lists(st.integers(2, 60), min_size=1, max_size=5),
    st.floats(0, 0.9),
    st.integers(1, 3),
)
def test_the_share_replayed_is_right_at_any_step(domain: list[int], general: list[int], share: float, epochs: int) -> None:
    steps = raw_text_steps.mixed_steps(made(domain), made(general, 1), share, length=20, size=64, epochs=epochs, seed=3)
    done = [0, 0]
    seen: dict[int, int] = {}
    for step in range(len(steps)):
        for source, window in steps.drawn(step):
            begin, end = steps.sources[source][1][window]
            done[source] += end - begin - 1
            if source == 0:
                seen[window] = seen.get(window, 0) + 1
        assert abs(done[1] - share * sum(done)) <= 20
    assert set(seen.values()) == {epochs}
    assert done[0] == epochs * sum(n - 1 for n in domain)
    assert sum(losses.weight(steps[i]) for i in range(len(steps))) == sum(done)
    assert all(losses.weight(steps[i]) <= 64 for i in range(len(steps)))


def test_a_step_can_be_drawn_again() -> None:
    tokens = made([400]).tokens
    one, again, other = (raw_text_steps.RandomWindows(tokens, 16, 4, 9, seed) for seed in (1, 1, 2))
    assert [again[5], again[2]] == [one[5], one[2]]
    assert one[5] != one[2]
    assert one[5] != other[5]
    text = tokens.tobytes()
    assert all(np.array(row.tokens, np.uint16).tobytes() in text for row in one[3])
    mixes = [raw_text_steps.mixed_steps(made([30] * 9), None, 0.0, 20, 64, 2, seed).order.tolist() for seed in (1, 1, 2)]
    assert mixes[0] == mixes[1] != mixes[2]


def test_a_text_shorter_than_a_window_is_refused() -> None:
    with pytest.raises(DataError, match="longer than one window of 16 tokens, got 16"):
        raw_text_steps.RandomWindows(made([16]).tokens, 16, 1, 1, 0)
    with pytest.raises(DataError, match="too short"):
        raw_text_steps.mixed_steps(made([1]), None, 0.0, 8, 8, 1, 0)
