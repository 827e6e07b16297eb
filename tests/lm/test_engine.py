"""The engine of causal models against the plainest calls of transformers."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from rung.errors import DataError
from rung.lm.base import Decoding, Prompt
from rung.lm.inference import sample
from rung.lm.inference.causal import CausalEngine
from rung.lm.models.chat import Chat
from rung.lm.models.load import Loaded
from rung.lm.trees.forest import Forest, concatenate
from rung.types import Message

KINDS = ["llama", "llama-bos", "qwen3", "mistral", "gemma3", "gpt2", "bloom", "mamba"]
TREES = [kind for kind in KINDS if kind not in ("bloom", "mamba")]
LABELS = ["refund", "refund late", "delay", "other", "de"]
TEXTS = ["where is my order", "a", "the parcel is late, the parcel is late, refund please", "café 🙂", "where is my hat"]


@pytest.fixture
def engine(loaded: Callable[[str], Loaded]) -> Callable[[str], CausalEngine]:
    return lambda kind: CausalEngine(loaded(kind))


def plain(loaded: Loaded):
    """The same model with transformers' own attention."""
    model = copy.deepcopy(loaded.model)
    if loaded.trees:
        model.set_attn_implementation("sdpa")
    return model


def naive_scores(loaded: Loaded, prompt: Prompt, answers: list[str]) -> list[float]:
    model, front = plain(loaded), loaded.chat.prompt(prompt.messages)
    out = []
    for answer in answers:
        tail = loaded.chat.answer(answer)
        with torch.no_grad():
            logs = model(torch.tensor([front + tail])).logits[0].double().log_softmax(-1)
        out.append(sum(float(logs[len(front) + k - 1, token]) for k, token in enumerate(tail)))
    return out


def naive_text(loaded: Loaded, prompt: Prompt, most: int) -> str:
    front = loaded.chat.prompt(prompt.messages)
    with torch.no_grad():
        ids = (
            plain(loaded)
            .generate(
                torch.tensor([front]),
                attention_mask=torch.ones(1, len(front), dtype=torch.long),
                max_new_tokens=most,
                do_sample=False,
                eos_token_id=sorted(loaded.chat.stops),
                pad_token_id=0,
            )[0, len(front) :]
            .tolist()
        )
    return loaded.chat.decode([i for i in ids if i not in loaded.chat.stops]).strip()


def easily_stopped(loaded: Loaded) -> Loaded:
    """With many tokens that stop an answer, so that answers of a random model end after different lengths."""
    chat = Chat(loaded.chat.tokenizer)
    chat.__dict__["stops"] = frozenset(range(0, 300, 9))
    return replace(loaded, chat=chat)


@pytest.mark.parametrize("kind", KINDS)
def test_score_is_the_sum_of_log_probabilities(loaded: Callable, engine: Callable, ask: Callable, kind: str) -> None:
    prompts = [ask(text) for text in TEXTS for _ in range(2)]
    answers = [LABELS[i % len(LABELS)] for i in range(len(prompts))]
    wanted = [naive_scores(loaded(kind), prompt, [answer])[0] for prompt, answer in zip(prompts, answers)]
    assert engine(kind).score(prompts, answers) == pytest.approx(wanted, rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_choose_is_the_best_of_all_scores(loaded: Callable, engine: Callable, ask: Callable, kind: str) -> None:
    prompts = [ask(text) for text in TEXTS]
    found = engine(kind).choose(prompts, LABELS)
    for prompt, choice in zip(prompts, found):
        scores = np.array(naive_scores(loaded(kind), prompt, LABELS))
        assert choice.label == LABELS[int(scores.argmax())]
        assert choice.logprob == pytest.approx(scores.max(), rel=1e-4)
        assert 0 < choice.confidence <= np.exp(scores.max() - np.logaddexp.reduce(scores)) + 1e-4
        assert choice.tokens_in == engine(kind).count(prompt)


@pytest.mark.parametrize("kind", KINDS)
def test_greedy_writing_is_that_of_transformers(loaded: Callable, engine: Callable, ask: Callable, kind: str) -> None:
    one, prompts = engine(kind), [ask(text) for text in TEXTS]
    wanted = [naive_text(loaded(kind), prompt, 12) for prompt in prompts]
    decoding = Decoding(max_new_tokens=12)
    assert [c.text for c in one.generate(prompts, decoding)] == wanted
    assert [one.generate([prompt], decoding)[0].text for prompt in prompts] == wanted
    one.generate([ask("hello", system="another instruction in front")], decoding)
    assert [c.text for c in one.generate(prompts, decoding)] == wanted


@pytest.mark.parametrize("kind", ["llama", "qwen3", "mistral", "gemma3", "mamba"])
def test_an_answer_ends_at_its_end_token(loaded: Callable, ask: Callable, kind: str) -> None:
    model = easily_stopped(loaded(kind))
    prompts = [ask(text) for text in [*TEXTS, *"bcdefghij"]]
    found = CausalEngine(model).generate(prompts, Decoding(max_new_tokens=10))
    if kind == "llama":  # the other random models repeat one token for ever
        assert {completion.finished for completion in found} == {True, False}, "the test wants both"
        assert len({completion.tokens_out for completion in found}) > 2
    for prompt, completion in zip(prompts, found):
        assert completion.text == naive_text(model, prompt, 10)
        assert completion.finished or completion.tokens_out == 10


@pytest.mark.parametrize("kind", ["llama", "gemma3", "mamba"])
def test_draws_hang_on_the_seed_and_the_prompt_alone(engine: Callable, ask: Callable, kind: str) -> None:
    prompts = [ask(text) for text in TEXTS]
    decoding = Decoding(max_new_tokens=8, temperature=1.0, top_p=0.95, seed=1)
    together = [c.text for c in engine(kind).generate(prompts, decoding)]
    alone = [engine(kind).generate([prompt], decoding)[0].text for prompt in prompts[::-1]][::-1]
    assert together == alone
    assert together != [c.text for c in engine(kind).generate(prompts, replace(decoding, seed=2))]


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2", "mamba"])
def test_a_stream_joined_is_the_answer(engine: Callable, ask: Callable, kind: str, temperature: float) -> None:
    decoding = Decoding(max_new_tokens=12, temperature=temperature)
    one = engine(kind)
    for text in TEXTS:
        whole = one.generate([ask(text)], decoding)[0].text
        assert "".join(one.stream(ask(text), decoding)) == whole
    assert one.generate([ask(TEXTS[0])], decoding)[0].text == engine(kind).generate([ask(TEXTS[0])], decoding)[0].text


def test_a_stream_left_half_way_does_no_harm(engine: Callable, ask: Callable) -> None:
    one, decoding = engine("llama"), Decoding(max_new_tokens=8)
    wanted = engine("llama").generate([ask(text) for text in TEXTS], decoding)
    next(one.stream(ask(TEXTS[2]), decoding))
    assert one.generate([ask(text) for text in TEXTS], decoding) == wanted


@pytest.mark.parametrize("kind", TREES)
def test_what_was_asked_before_changes_nothing(engine: Callable, ask: Callable, kind: str) -> None:
    used = engine(kind)
    asks = [ask(text) for text in TEXTS], [ask(text, system="answer with other words") for text in TEXTS], [ask("z")]
    for prompts in (*asks, *asks):
        new = engine(kind)
        assert [c.label for c in used.choose(prompts, LABELS)] == [c.label for c in new.choose(prompts, LABELS)]
        got, wanted = used.choose(prompts, LABELS), new.choose(prompts, LABELS)
        assert [c.logprob for c in got] == pytest.approx([c.logprob for c in wanted], rel=1e-4)
        decoding = Decoding(max_new_tokens=5)
        assert used.generate(prompts, decoding) == new.generate(prompts, decoding)
        assert used.score(prompts, ["de"] * len(prompts)) == pytest.approx(new.score(prompts, ["de"] * len(prompts)))


def test_equal_prompts_get_equal_answers(engine: Callable, ask: Callable) -> None:
    found = engine("llama").choose([ask("a"), ask("b"), ask("a")], LABELS)
    assert (found[0].label, found[0].logprob) == (found[2].label, pytest.approx(found[2].logprob))
    assert found[0].confidence == pytest.approx(found[2].confidence, rel=1e-4)
    texts = engine("llama").generate([ask("a")] * 3, Decoding(max_new_tokens=4))
    assert texts[0] == texts[1] == texts[2]


def test_more_prompts_than_one_pass_holds(engine: Callable, ask: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = [ask(f"{text} {i}") for i in range(6) for text in TEXTS]
    wanted = engine("llama").choose(prompts, LABELS), engine("llama").generate(prompts, Decoding(max_new_tokens=4))
    monkeypatch.setattr("rung.lm.inference.causal.NODES", 60)
    told: list[int] = []
    small = engine("llama")
    found = small.choose(prompts, LABELS, told.append)
    assert [c.label for c in found] == [c.label for c in wanted[0]]
    assert small.generate(prompts, Decoding(max_new_tokens=4)) == wanted[1]
    assert sum(told) == len(prompts)
    assert len(told) > 1


def test_the_first_label_of_one_token_prompts(engine: Callable) -> None:
    """Prompts that share nothing: there is no front to keep."""
    prompts = [Prompt((Message("user", text),), text) for text in ("a", "b")]
    used = engine("llama-plain")
    assert used.choose(prompts, LABELS)[1].label == engine("llama-plain").choose(prompts[1:], LABELS)[0].label


@pytest.mark.parametrize("call", ["choose", "generate", "score", "stream"])
def test_a_prompt_over_the_context_is_refused(engine: Callable, ask: Callable, call: str) -> None:
    one, prompts = engine("gpt2-short"), [ask("late " * 40)]
    with pytest.raises(DataError, match="context of 48"):
        match call:
            case "choose":
                one.choose(prompts, LABELS)
            case "generate":
                one.generate(prompts, Decoding(max_new_tokens=4))
            case "score":
                one.score(prompts, ["de"])
            case "stream":
                list(one.stream(prompts[0], Decoding(max_new_tokens=4)))


def test_no_prompts_no_answers(engine: Callable) -> None:
    one = engine("llama")
    assert one.choose([], LABELS) == one.generate([], Decoding()) == one.score([], []) == []


def test_a_decode_batch_is_bounded_by_its_rows_and_its_tokens(
    engine: Callable, ask: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Few rows at once, or few places for their prompts' own parts: more batches, and the same answers."""
    prompts = [ask(f"{text} {'x' * i}") for i in range(5) for text in TEXTS]
    wanted = engine("llama").generate(prompts, Decoding(max_new_tokens=6))
    sizes: list[tuple[int, int]] = []
    decode = sample.decode

    def noted(model, forks, logits, *rest):
        sizes.append(tuple(forks.real.shape))
        return decode(model, forks, logits, *rest)

    monkeypatch.setattr(sample, "decode", noted)
    for together, own in ((3, 10_000), (1000, 40), (1000, 1)):
        sizes.clear()
        monkeypatch.setattr("rung.lm.inference.decode.DECODE_BATCH", together)
        monkeypatch.setattr("rung.lm.inference.decode.DECODE_TOKENS", own)
        assert engine("llama").generate(prompts, Decoding(max_new_tokens=6)) == wanted
        assert sum(rows for rows, _ in sizes) == len(prompts)
        assert all(rows <= together and (rows == 1 or rows * width <= own) for rows, width in sizes)


@pytest.mark.parametrize("kind", ["llama", "gemma3", "gpt2"])
def test_samples_of_one_prompt_read_it_once(engine: Callable, ask: Callable, kind: str) -> None:
    """Several answers to one prompt: its keys and values stand in the front, and none is copied."""
    one = engine(kind)
    ids = one._ids(ask("how are you"))
    [found] = one.samples([ids], 3, Decoding(max_new_tokens=5))
    assert found[0] == found[1] == found[2], "greedy"
    assert found[0] == tuple(one._decoder.tokens(ids, Decoding(max_new_tokens=5)))


def test_a_batch_made_of_parts_leaves_them_no_memory_and_keeps_their_rows(
    loaded: Callable[[str], Loaded],
) -> None:
    forest = Forest(loaded("llama").model)
    forest.grow([5, 6, 7, 8, 9], [-1, 0, 1, 0, 3], [4])
    long, short = forest.fork([2, 4], 1), forest.fork([3], 1)
    kept = [(layer.keys[..., : layer.size, :].clone(), layer.size) for layer in long.cache.layers]
    batch = concatenate([long, short])
    assert not sum(layer.keys.numel() + layer.values.numel() for part in (long, short) for layer in part.cache.layers)
    chosen = batch.select(torch.tensor([2, 0]))
    assert chosen.real.tolist() == [[False, True], [True, True]]
    for layer, (keys, size) in zip(chosen.cache.layers, kept):
        assert torch.equal(layer.keys[1, :, :size], keys[0]) and layer.keys.shape[0] == 2
