"""The running batch against the engine's own answers, one prompt at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest
import torch

from rung.errors import DataError
from rung.lm.base import Completion, Decoding, Prompt, Writing
from rung.lm.inference import running
from rung.lm.inference.causal import CausalEngine
from rung.lm.inference.running import Running
from rung.lm.models.load import Loaded

KINDS = ["llama", "llama-bos", "qwen3", "mistral", "gemma3", "gpt2"]
TEXTS = ["where is my order", "a", "the parcel is late, the parcel is late, refund please", "café 🙂", "where is my hat", "a"]
GREEDY = Decoding(max_new_tokens=12)


@pytest.fixture
def engine(loaded: Callable[[str], Loaded]) -> Callable[[str], CausalEngine]:
    return lambda kind: CausalEngine(loaded(kind))


def joined(batch: Running, prompts: Sequence[Prompt], decoding: Decoding = GREEDY, **more: Any) -> dict[int, Any]:
    """Answers or errors by their number, filled in while the batch runs."""
    out: dict[int, Any] = {}
    for k, prompt in enumerate(prompts):
        kept = partial(out.__setitem__, k)
        batch.join(Writing(prompt, decoding, kept, kept, **more))
    return out


def run(batch: Running, most: int = 2000) -> None:
    while len(batch):
        batch.step()
        most -= 1
        assert most, "the batch does not end"


def alone(engine: CausalEngine, prompts: Sequence[Prompt], decoding: Decoding = GREEDY) -> list[str]:
    return [engine.generate([prompt], decoding)[0].text for prompt in prompts]


def texts(found: dict[int, Any]) -> list[str]:
    return [found[k].text for k in sorted(found)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("small", [False, True])
def test_answers_are_those_of_each_prompt_alone(
    engine: Callable, ask: Callable, monkeypatch: pytest.MonkeyPatch, kind: str, small: bool
) -> None:
    if small:  # slices, slots and copies so small that each is used up again and again
        for name, value in {"ROWS": 3, "SLICE": 5, "FIRST_SLICE": 7, "COPIED": 3, "SLOT": 5}.items():
            monkeypatch.setattr(running, name, value)
    one = engine(kind)
    prompts = [ask(text) for text in TEXTS]
    decoding = Decoding(max_new_tokens=30 if small else 12)
    wanted = alone(one, prompts, decoding)
    batch = one.running()
    found = joined(batch, prompts[:2], decoding)
    batch.step()
    batch.step()
    later = joined(batch, prompts[2:], decoding)
    run(batch)
    assert texts(found) + texts(later) == wanted
    again = joined(batch, prompts[::-1], decoding)
    run(batch)
    assert texts(again) == wanted[::-1]
    assert all(again[k].tokens_cached == again[k].tokens_in - 1 for k in again)


def test_the_logits_of_a_step_are_those_of_the_whole_sequence(engine: Callable, ask: Callable, loaded: Callable) -> None:
    one, seen = engine("gemma3"), []
    batch = one.running()
    prompts = [ask(text * 3) for text in TEXTS]
    plain = batch._write
    batch._write = lambda logits: seen.append(([(*row.ids, *row.tokens) for row in batch.rows], logits)) or plain(logits)
    joined(batch, prompts, Decoding(max_new_tokens=6, temperature=1.0))
    run(batch)
    assert len(seen) >= 6
    model = loaded("gemma3").model
    for ids, logits in seen:
        for tokens, row in zip(ids, logits):
            implementation = model.config._attn_implementation
            model.set_attn_implementation("sdpa")
            with torch.no_grad():
                wanted = model(torch.tensor([tokens])).logits[0, -1].float()
            model.set_attn_implementation(implementation)
            assert torch.allclose(row, wanted, atol=2e-4)


@pytest.mark.parametrize("temperature", [1.5])
def test_draws_depend_on_the_seed_and_the_prompt_alone(engine: Callable, ask: Callable, temperature: float) -> None:
    one = engine("llama")
    prompts = [ask(TEXTS[0]), ask(TEXTS[0]), Prompt(ask(TEXTS[0]).messages, "", draw=2), ask(TEXTS[2])]
    decoding = Decoding(max_new_tokens=10, temperature=temperature, top_p=0.9, seed=5)
    wanted = alone(one, prompts, decoding)
    found = joined(one.running(), prompts, decoding)
    run(one.running())
    assert texts(found) == wanted and wanted[0] == wanted[1] != wanted[2]


def test_what_prompts_share_is_computed_once(engine: Callable, ask: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    one, computed = engine("llama"), []
    batch = one.running()
    plain = running.layout

    def counted(*args: Any) -> Any:
        laid = plain(*args)
        computed.extend(laid.step.new.tolist())
        return laid

    monkeypatch.setattr(running, "layout", counted)
    monkeypatch.setattr(running, "FIRST_SLICE", 50)
    prompts = [ask(f"{k} is my order", "a front that all share " * 20) for k in range(8)]
    found = joined(batch, prompts)
    run(batch)
    longest = max(one.count(prompt) for prompt in prompts)
    assert len(computed) <= longest + 8 * 30 < sum(one.count(prompt) for prompt in prompts) / 3
    assert texts(found) == alone(one, prompts)


def test_a_stream_goes_on_while_a_long_prompt_is_read(engine: Callable, ask: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "SLICE", 16)
    one, tokens = engine("llama"), []
    batch = one.running()
    joined(batch, [ask("a")], Decoding(max_new_tokens=40), heard=lambda text: tokens.append(text()) or True)
    batch.step()
    late = joined(batch, [ask("word " * 80)], Decoding(max_new_tokens=2))
    before = len(tokens)
    for _ in range(10):
        batch.step()
    assert len(tokens) == before + 10 and not late  # the long one is still being read
    run(batch)
    assert late


def test_an_answer_nobody_wants_stops_at_once(engine: Callable, ask: Callable) -> None:
    one, wanted = engine("llama"), [True]
    batch = one.running()
    gone = joined(batch, [ask("a")], Decoding(max_new_tokens=200), wanted=lambda: wanted[0])
    heard: list[str] = []
    cut = joined(batch, [ask("where")], Decoding(max_new_tokens=200), heard=lambda text: heard.append(text()) or len(heard) < 3)
    stays = joined(batch, [ask("refund")])
    unread = joined(batch, [ask("word " * 50)], wanted=lambda: False)
    for _ in range(5):
        batch.step()
    assert cut[0].tokens_out == 3 and not cut[0].finished and unread[0].tokens_out == 0 and not gone
    wanted[0] = False
    batch.step()
    assert gone[0].tokens_out == 5 and len(batch) == 1
    run(batch)
    assert texts(stays) == alone(one, [ask("refund")])


def test_one_failure_harms_no_other(engine: Callable, ask: Callable) -> None:
    one = engine("llama")
    batch = one.running()

    def breaks(text: Callable[[], str]) -> bool:
        raise ValueError("the reader breaks")

    bad = joined(batch, [ask("a")], heard=breaks)
    good = joined(batch, [ask("where"), ask("refund")])
    run(batch)
    assert isinstance(bad[0], ValueError)
    assert texts(good) == alone(one, [ask("where"), ask("refund")])
    with pytest.raises(DataError, match="do not fit"):
        joined(batch, [ask("x" * 3000)])
    assert not len(batch) and not any(node.pins or node.users for node in batch.radix.nodes)


def test_memory_that_runs_out_ends_one_answer(engine: Callable, ask: Callable) -> None:
    said: list[str] = []
    one = engine("llama")
    batch = Running(one.loaded, one._checked, say=said.append)
    prompts = [ask("where"), ask("refund please " * 20), ask("late")]
    found = joined(batch, prompts, Decoding(max_new_tokens=20))
    for _ in range(4):
        batch.step()
    plain, hungry = batch.model, [2]

    def model(**given: Any) -> Any:
        if hungry[0]:
            hungry[0] -= 1
            raise MemoryError
        return plain(**given)

    batch.model = model
    run(batch)
    wanted = alone(one, prompts, Decoding(max_new_tokens=20))
    failed = [k for k in found if isinstance(found[k], Exception)]
    assert failed == [1] and len(said) == 2  # first what was kept went, then the longest answer
    assert [found[k].text for k in (0, 2)] == [wanted[0], wanted[2]]


def test_the_cache_stays_within_its_bytes_and_forgets_what_was_used_longest_ago(engine: Callable, ask: Callable) -> None:
    one = engine("llama")
    each = 0
    batch = Running(one.loaded, one._checked)
    for k in range(3):
        joined(batch, [ask(f"{k} " * 60, f"{k} front")])
        run(batch)
        each = each or batch.radix.bytes
    batch.most = 2 * each
    joined(batch, [ask("0 " * 60, "0 front")])  # used again: the second is now the oldest
    run(batch)
    joined(batch, [ask("3 " * 60, "3 front")])
    run(batch)
    assert batch.radix.bytes <= batch.most
    kept = {}
    for k in range(4):
        ids = one._ids(ask(f"{k} " * 60, f"{k} front"))
        kept[k] = batch.radix.match(" ", ids)[1]
    assert kept[3] > 60 and kept[1] < 40
    assert sum(node.capacity for node in batch.radix.nodes) and batch.radix.bytes == sum(
        node.capacity * running_bytes(node) for node in batch.radix.nodes
    )
    batch.clear()
    assert batch.radix.bytes == 0 and not batch.radix.nodes


def running_bytes(node: Any) -> int:
    return sum(x.shape[0] * x.shape[2] * x.element_size() for pair in node.states for x in pair)


def test_scopes_do_not_share(engine: Callable, ask: Callable) -> None:
    one = engine("llama")
    batch = one.running()
    first = joined(batch, [ask("where is it")], scope="a")
    run(batch)
    second, same = joined(batch, [ask("where is it")], scope="b"), joined(batch, [ask("where is it")], scope="a")
    run(batch)
    assert second[0].tokens_cached == 0 < same[0].tokens_cached
    assert first[0].text == second[0].text == same[0].text


def test_the_next_turn_finds_the_answer_before_it(engine: Callable, ask: Callable) -> None:
    one = engine("llama")
    batch = one.running()
    found = joined(batch, [ask("where is it")], Decoding(max_new_tokens=20))
    run(batch)
    ids = one._ids(ask("where is it"))
    answer: Completion = found[0]
    assert batch.radix.match(" ", (*ids, *range(5)))[1] >= len(ids) and answer.tokens_out
    assert max(node.end for node in batch.radix.nodes) == len(ids) + answer.tokens_out - 1


def test_a_model_without_trees_has_no_running_batch(engine: Callable) -> None:
    assert engine("mamba").running() is None
