"""One dial to a model: near the size asked, never smaller for a larger wish, and counted as transformers counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rung.errors import ModelError
from rung.lm.models import llama_shape
from rung.lm.raw_text import bpe

sizes = st.floats(5.7, 11).map(lambda power: round(10**power))


@given(sizes, sizes, st.sampled_from([300, 1024, 3000]))
def test_the_dial_is_monotone_and_near(one: int, other: int, vocabulary: int) -> None:
    small, large = (llama_shape.shape(n, vocabulary) for n in sorted((one, other)))
    assert small.parameters <= large.parameters
    for asked, found in zip(sorted((one, other)), (small, large)):
        assert 0.95 * asked <= found.parameters <= asked
        assert found.width % found.heads == 0
        assert found.width // found.heads in (32, 64, 128)


@pytest.mark.parametrize("asked", [300_000, 2_000_000])
def test_the_count_is_that_of_the_model(asked: int) -> None:
    tokenizer = bpe.train(["some text"], 300)
    model = llama_shape.fresh(asked, 64, tokenizer, seed=0)
    assert sum(p.numel() for p in model.parameters()) == llama_shape.shape(asked, len(tokenizer)).parameters


def test_a_vocabulary_too_large_for_the_model_is_refused() -> None:
    with pytest.raises(ModelError, match="100,000 parameters with a vocabulary of 32,000"):
        llama_shape.shape(100_000, 32_000)
