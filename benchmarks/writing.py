"""Writing answers behind shared demonstrations: rung's engine against transformers' own `generate`, greedy, same answers.

Messages to a bank behind eight demonstrations, every answer cut at 24 tokens. transformers takes left-padded batches of 16
and of 48, sorted by length, and its faster one counts; both sides write in rounds that alternate. The last line is the
ratio of answers a second.
"""

from __future__ import annotations

from collections.abc import Sequence

import common
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from rung.lm.base import Decoding, Prompt
from rung.lm.inference.causal import CausalEngine
from rung.lm.models.load import load
from rung.lm.quiet import quiet
from rung.types import Message

MOST = 24
SHOTS = 8
ASKED = "Write one polite sentence that answers the customer, and name what the bank will do."


def prompts(count: int) -> list[Prompt]:
    rows = common.bank()[:: max(1, len(common.bank()) // (count + SHOTS))]
    turns = [Message("system", f"{common.SYSTEM} {ASKED}")]
    for text, label in rows[:SHOTS]:
        turns.append(Message("user", text))
        turns.append(
            Message("assistant", f"Thank you for writing. We look into {label.replace('_', ' ')} and answer within a day.")
        )
    return [Prompt((*turns, Message("user", text)), text) for text, _ in rows[SHOTS : SHOTS + count]]


def plainly(model, tokenizer, asked: Sequence[Prompt], size: int) -> list[str]:
    """Answers by `generate`, so many prompts at a time."""
    said = [[{"role": turn.role, "content": turn.content} for turn in prompt.messages] for prompt in asked]
    texts = [tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True) for turns in said]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    out = [""] * len(texts)
    for k in range(0, len(order), size):
        part = order[k : k + size]
        batch = tokenizer([texts[i] for i in part], return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.no_grad():
            found = model.generate(**batch, max_new_tokens=MOST, do_sample=False)
        for i, row in zip(part, found):
            out[i] = tokenizer.decode(row[batch["input_ids"].shape[1] :], skip_special_tokens=True).strip()
    return out


def main() -> None:
    args = common.arguments(__doc__)
    machine = common.machine()
    asked = prompts(48)
    engine = CausalEngine(load(common.base_folder(), machine))
    tokenizer = AutoTokenizer.from_pretrained(common.base_folder(), padding_side="left")
    with quiet():
        model = AutoModelForCausalLM.from_pretrained(common.base_folder(), dtype=torch.float32).eval()
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    print(f"{len(asked)} prompts of about {engine.count(asked[0])} tokens, {SHOTS} demonstrations in front of all")

    def ours() -> list[str]:
        engine.clear_cache()  # the demonstrations are read within the time
        return [found.text for found in engine.generate(asked, Decoding(max_new_tokens=MOST))]

    same = sum(a == b for a, b in zip(ours(), plainly(model, tokenizer, asked, 16)))
    print(f"same answers: {same} of {len(asked)}")
    times: dict[str, list[float]] = {"rung": [], "in 16": [], "in 48": []}
    for _ in range(2 if args.quick else 5):
        times["rung"].append(common.timed(ours))
        for name, size in (("in 16", 16), ("in 48", 48)):
            times[name].append(common.timed(lambda size=size: plainly(model, tokenizer, asked, size)))
    for name, some in times.items():
        print(f"{name:6} {len(asked) / common.median(some):.2f} answers a second, median of {len(some)}")
    theirs = min(common.median(times["in 16"]), common.median(times["in 48"]))
    print(f"ratio={theirs / common.median(times['rung']):.1f} answers a second over transformers' generate")


if __name__ == "__main__":
    main()
