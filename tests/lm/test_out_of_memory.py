"""Out of memory: less at once, said once, the same answers; other errors are not taken for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from rung.lm import out_of_memory
from rung.lm.base import Decoding, Prompt
from rung.lm.inference import causal
from rung.lm.inference.causal import CausalEngine
from rung.lm.models.load import Loaded, load
from rung.lm.raw_text import perplexity
from rung.lm.training import preferences
from rung.lm.trees import tree
from rung.lm.trees.forest import Forest
from rung.machine import Machine
from rung.types import Message

PROMPTS = [Prompt((Message("user", f"question {k} " * (1 + k % 3)),), "") for k in range(9)]
FULL = RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate")


@pytest.fixture
def loaded(base: Callable[[str], Path], machine: Machine) -> Loaded:
    return load(base("llama"), machine)


def by(size: int) -> Callable[[Any, int], list[list[int]]]:
    """Cuts an order into runs of a `size`-th of the budget."""
    return lambda order, tokens: [list(order[k : k + tokens // size]) for k in range(0, len(order), tokens // size)]


def test_a_real_allocation_that_fails_on_this_system_is_out_of_memory() -> None:
    with pytest.raises((RuntimeError, MemoryError)) as failed:
        torch.empty(10**15)
    assert out_of_memory.ran_out(failed.value)


@pytest.mark.parametrize("error", (MemoryError(), torch.OutOfMemoryError(), FULL))
def test_the_rest_is_cut_anew(error: Exception) -> None:
    said: list[str] = []
    budget = out_of_memory.Budget(512, said.append)

    def do(part: list[int]) -> int:
        if len(part) > 2 and 4 in part:
            raise error
        return sum(part)

    found = list(out_of_memory.run_in_parts(range(10), budget, by(128), do))
    assert found == [([0, 1, 2, 3], 6), ([4, 5], 9), ([6, 7], 13), ([8, 9], 17)]
    assert said == ["out of memory: continuing with 256 tokens per pass"]
    assert budget.scaled(64) == 32 and budget.scaled(1) == 1


def test_what_less_does_not_help_is_raised() -> None:
    def full(part: list[int]) -> None:
        raise MemoryError

    def broken(part: list[int]) -> None:
        raise RuntimeError("shapes do not match")

    said: list[str] = []
    with pytest.raises(MemoryError):
        list(out_of_memory.run_in_parts(range(4), out_of_memory.Budget(512, said.append), by(128), full))
    assert len(said) == 2
    with pytest.raises(RuntimeError, match="shapes"):
        list(out_of_memory.run_in_parts(range(4), out_of_memory.Budget(512, said.append), by(128), broken))
    assert len(said) == 2
    with pytest.raises(MemoryError):
        list(out_of_memory.run_in_parts(range(1), out_of_memory.Budget(512, said.append), by(128), full))
    assert len(said) == 2, "one alone cannot be cut"


def test_rows_that_are_done_are_not_asked_again() -> None:
    asked: list[list[int]] = []
    cleared: list[bool] = []

    def work(left: list[int]) -> Iterator[tuple[list[int], str]]:
        asked.append(left)
        yield left[:2], "two"
        if len(asked) == 1:
            raise MemoryError
        yield left[2:], "rest"

    found = list(out_of_memory.retry_until_done(range(5), out_of_memory.Budget(256), work, lambda: cleared.append(True)))
    assert asked == [[0, 1, 2, 3, 4], [2, 3, 4]] and cleared == [True]
    assert found == [([0, 1], "two"), ([2, 3], "two"), ([4], "rest")]


@pytest.mark.parametrize(
    "ask",
    (
        lambda engine: [(one.label, round(one.logprob, 3)) for one in engine.choose(PROMPTS, ["yes", "no", "perhaps"])],
        lambda engine: [[round(log, 3) for log in logs] for logs in engine.weigh(PROMPTS, ["yes", "no"])],
        lambda engine: engine.generate(PROMPTS, Decoding(max_new_tokens=4)),
        lambda engine: engine.samples(
            [(5, 6, *range(k, k + 9 * k)) for k in range(7, 15)], 3, Decoding(max_new_tokens=4, temperature=1.0)
        ),
    ),
    ids=("choose", "weigh", "generate", "samples"),
)
def test_an_engine_answers_the_same_with_less(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, ask: Callable[[CausalEngine], Any]
) -> None:
    wanted, said, sizes, plain = ask(CausalEngine(loaded)), [], [], Forest.grow

    def grow(forest: Forest, tokens: Any, parents: Any, want: Any) -> torch.Tensor:
        sizes.append(len(tokens))
        if len(tokens) > 200:
            raise MemoryError
        return plain(forest, tokens, parents, want)

    monkeypatch.setattr(Forest, "grow", grow)
    assert ask(CausalEngine(loaded, said.append)) == wanted
    assert said and max(sizes) > 200


def test_an_engine_that_gave_up_answers_rightly_afterwards(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """A forest that failed in the midst of a pass holds the new nodes in its first layers only."""
    prompts = [(5, 6, 7, *range(8, 60)), (5, 6, 7, *range(100, 190)), (5, 6, 7, *range(20, 80))]
    asked = Decoding(max_new_tokens=3)
    wanted = [CausalEngine(loaded).samples([prompt], 1, asked) for prompt in prompts]
    engine, last = CausalEngine(loaded), loaded.model.model.layers[-1]
    assert engine.samples(prompts[:1], 1, asked) == wanted[0]
    with monkeypatch.context() as starved:
        starved.setattr(last, "forward", lambda *_, **__: (_ for _ in ()).throw(MemoryError()))
        with pytest.raises(MemoryError):
            engine.samples(prompts[1:2], 1, asked)
        with pytest.raises(MemoryError):
            engine.samples(prompts, 1, asked)
    assert [engine.samples([prompt], 1, asked) for prompt in prompts] == wanted


def test_a_long_prompt_is_read_in_slices(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts, asked = [tuple(range(5, 200)), (*range(5, 180), 3, 4)], Decoding(max_new_tokens=3)
    wanted, sizes, plain, said = CausalEngine(loaded).samples(prompts, 1, asked), [], Forest.grow, []

    def grow(forest: Forest, tokens: Any, parents: Any, want: Any) -> torch.Tensor:
        sizes.append(len(tokens))
        if len(tokens) > 130:
            raise MemoryError
        return plain(forest, tokens, parents, want)

    monkeypatch.setattr(Forest, "grow", grow)
    assert CausalEngine(loaded, said.append).samples(prompts, 1, asked) == wanted
    assert said and max(sizes) > 130
    assert CausalEngine(loaded, said.append).samples(prompts[:1], 1, asked) == wanted[:1]


def test_spread_weights_are_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out_of_memory.processes, "uses_fsdp", lambda: True)
    with pytest.raises(MemoryError):
        out_of_memory.Budget(512).halve(MemoryError())


def test_scores_are_read_in_smaller_parts(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [tree.Row(tuple(range(5, 40 + k)), (False,) * 30 + (True,) * (5 + k)) for k in range(6)]
    rows += [tree.Row((6, *row.tokens), (False, *row.targets)) for row in rows]
    wanted = preferences.score_rows(loaded, rows, 300), perplexity.row_nats(loaded, rows)
    engine = CausalEngine(loaded)
    scores = engine.score(PROMPTS, ["yes"] * len(PROMPTS))

    def starve(plain: Callable[..., Any]) -> Callable[..., Any]:
        calls: list[int] = []

        def read(model: Any, some: Any, trees: bool) -> Any:
            calls.append(len(some))
            if len(calls) % 5 == 1 and len(some) > 1:
                raise MemoryError
            return plain(model, some, trees)

        return read

    said: list[str] = []
    answered = starve(preferences.answer_logprobs)
    assert preferences.score_rows(loaded, rows, 300, of=answered, say=said.append) == pytest.approx(wanted[0], abs=1e-4)
    assert said
    monkeypatch.setattr(perplexity, "answer_logprobs", starve(perplexity.answer_logprobs))
    assert perplexity.row_nats(loaded, rows) == pytest.approx(wanted[1], abs=1e-4)
    monkeypatch.setattr(causal, "row_logprobs", starve(causal.row_logprobs))
    assert engine.score(PROMPTS, ["yes"] * len(PROMPTS)) == pytest.approx(scores, abs=1e-4)
    assert engine.budget.tokens < causal.NODES
