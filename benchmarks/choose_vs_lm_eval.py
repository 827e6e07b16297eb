"""Choosing among 77 labels behind 16 shared demonstrations: rung's best-first search against two others, same prompts.

lm-evaluation-harness scores every label after the whole prompt. The careful loop keeps the demonstrations' cache,
adds the question once and scores all labels in one padded batch on it. Picks and scores must be the same.
"""

from __future__ import annotations

import copy

import common
import torch
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM, DynamicCache

from rung.lm.base import Prompt
from rung.lm.inference.causal import CausalEngine
from rung.lm.models.load import load, quiet
from rung.types import Message


def prompts(count: int) -> tuple[list[Prompt], list[str]]:
    train, test = common.bank(), common.bank("test")
    labels = sorted({label for _, label in train})
    turns = [Message("system", "Name the intent of the customer's message to the bank.")]
    for text, label in train[:: len(train) // 16][:16]:
        turns += [Message("user", text), Message("assistant", label)]
    picked = test[:: len(test) // count][:count]
    return [Prompt((*turns, Message("user", text)), text) for text, _ in picked], labels


def harness(model, chat, asked: list[Prompt], labels: list[str]) -> list[list[float]]:
    with quiet():
        scorer = HFLM(pretrained=model, tokenizer=chat.tokenizer, batch_size=16, max_length=4096)
    end = chat.tokenizer.decode([chat.end])
    requests = [
        Instance("loglikelihood", {}, (chat.text(p.messages), label + end), i) for p in asked for i, label in enumerate(labels)
    ]
    found = [score for score, _ in scorer.loglikelihood(requests, disable_tqdm=True)]
    return [found[i : i + len(labels)] for i in range(0, len(found), len(labels))]


@torch.no_grad()
def careful(model, chat, asked: list[Prompt], labels: list[str]) -> list[list[float]]:
    ids = [chat.prompt(p.messages) for p in asked]
    shared = 0
    while all(i[shared] == ids[0][shared] for i in ids) and shared < min(map(len, ids)) - 1:
        shared += 1
    front = DynamicCache()
    model(torch.tensor([ids[0][:shared]]), past_key_values=front)
    answers = [chat.answer(label) for label in labels]
    width = max(map(len, answers))
    batch = torch.tensor([list(a) + [0] * (width - len(a)) for a in answers])
    lengths = torch.tensor([len(a) for a in answers])
    out = []
    for tokens in ids:
        cache = copy.deepcopy(front)
        first = model(torch.tensor([tokens[shared:]]), past_key_values=cache).logits[:, -1].log_softmax(-1)
        cache.batch_repeat_interleave(len(labels))
        logs = model(batch[:, :-1], past_key_values=cache).logits.log_softmax(-1)
        steps = logs.gather(2, batch[:, 1:, None])[..., 0]
        steps[torch.arange(width - 1)[None] >= (lengths - 1)[:, None]] = 0
        out.append((first[0, batch[:, 0]] + steps.sum(1)).tolist())
    return out


def main() -> None:
    args = common.arguments(__doc__)
    machine = common.machine()
    many, few, one = (64, 4, 1) if args.quick else (256, 16, 3)
    asked, labels = prompts(many)
    loaded = load(common.base_folder(), machine)
    with quiet():
        plain = AutoModelForCausalLM.from_pretrained(common.base_folder(), dtype=torch.float32).eval()
    engine = CausalEngine(loaded)
    engine.choose(asked[:2], labels)  # warm
    times = []
    for _ in range(3):
        engine.clear_cache()  # the demonstrations' cache is computed within the time
        times.append(common.timed(lambda: engine.choose(asked, labels)))
    ours = engine.choose(asked, labels)
    our_seconds = common.median(times) / len(asked)
    tokens = sum(c.tokens_out for c in ours) / len(ours)
    print(f"{len(labels)} labels, {engine.count(asked[0])} tokens a prompt; {tokens:.0f} label tokens opened a question")
    print(f"rung: {our_seconds:.3f} s a question ({len(asked)} questions together)")

    began = common.time.perf_counter()
    loop = careful(plain, loaded.chat, asked[:few], labels)
    loop_seconds = (common.time.perf_counter() - began) / few
    print(f"careful loop: {loop_seconds:.2f} s a question ({few} questions)")
    began = common.time.perf_counter()
    lm_eval = harness(plain, loaded.chat, asked[:one], labels)
    harness_seconds = (common.time.perf_counter() - began) / one
    print(f"lm-evaluation-harness: {harness_seconds:.1f} s a question ({one} questions)")

    for name, scores in (("careful loop", loop), ("harness", lm_eval)):
        picks = [max(range(len(labels)), key=row.__getitem__) for row in scores]
        same = [labels[p] == c.label for p, c in zip(picks, ours)]
        gap = max(abs(row[p] - c.logprob) for row, p, c in zip(scores, picks, ours))
        print(
            f"same picks as the {name}: {sum(same)} of {len(same)}; largest difference of the winner's log-probability {gap:.1e}"
        )
        assert all(same), "the picks differ"
    careful_ratio = loop_seconds / our_seconds
    print(f"ratio={harness_seconds / our_seconds:.0f} harness over rung, seconds a question; careful loop {careful_ratio:.1f}")


if __name__ == "__main__":
    main()
