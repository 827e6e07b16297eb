"""GRPO, steps a minute: rung against TRL's GRPOTrainer with transformers' generation; 8 answers a prompt, 2 prompts a step.

Same model, LoRA, prompts, loss form (dapo, no reference), longest answer and temperature. Both sides draw from the same
distribution and not the same draws, so the tokens written are told for each. The two take turns; medians are compared.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import common
import pairs
from datasets import Dataset
from lora_step import fresh
from lora_vs_trl import Clock, plain
from trl import GRPOConfig, GRPOTrainer

from rung.lm.models.load import quiet
from rung.lm.training import grpo_groups, train
from rung.types import Message

SAMPLES, BATCH, ROOM, RATE = 8, 2, 48, 1e-4
SYSTEM = (
    "You solve sums for children in their first school years. Read the story, add what is to be added, and answer with one "
    "short sentence that ends in the number. Write nothing before it and nothing after it, and do not explain the sum."
)


def worth(text: str, wanted: str) -> float:
    return float(wanted in text)


def ours(machine, rows, steps: int) -> tuple[list[float], list[int], list[float]]:
    """Seconds of each step after the first, tokens of each, mean rewards."""
    loaded, model = fresh(machine)
    loaded = replace(loaded, model=model)
    written: list[int] = []
    means: list[float] = []

    def asked(row) -> grpo_groups.RewardedPrompt:
        def reward(answers) -> list[float]:
            written.append(sum(map(len, answers)))
            return [worth(loaded.chat.decode(answer), row.output) for answer in answers]

        return grpo_groups.RewardedPrompt(loaded.chat.prompt((Message("system", SYSTEM), Message("user", row.input))), reward)

    how = grpo_groups.Sampling(count=SAMPLES, max_new_tokens=ROOM, clip=0.2, beta=0.0, updates=1, seed=0, tokens=2048)
    loss, items = grpo_groups.grpo(loaded, how, lambda _, rewards: means.append(sum(rewards) / len(rewards)))
    marks: list[float] = []
    plan = train.TrainConfig(learning_rate=RATE, epochs=1, batch=BATCH)
    with tempfile.TemporaryDirectory() as folder:
        watch = train.Watch(step=lambda *_: marks.append(common.time.perf_counter()))
        given = [asked(row) for row in rows[: steps * BATCH]]
        train.run(loaded, given, plan, Path(folder) / "work", loss=loss, items=items, watch=watch)
    return [b - a for a, b in pairwise(marks)], [sum(written[i : i + BATCH]) for i in range(0, len(written), BATCH)], means


def theirs(machine, chat, rows, steps: int) -> tuple[list[float], list[int], list[float]]:
    written: list[int] = []
    means: list[float] = []

    def reward(completions, completion_ids, answer, **_) -> list[float]:
        written.append(sum(map(len, completion_ids)))
        found = [worth(turns[-1]["content"], wanted) for turns, wanted in zip(completions, answer)]
        means.append(sum(found) / len(found))
        return found

    table = [
        {"prompt": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": row.input}], "answer": row.output}
        for row in rows[: steps * BATCH]
    ]
    with tempfile.TemporaryDirectory() as folder:
        config = GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=SAMPLES * BATCH,
            num_generations=SAMPLES,
            max_completion_length=ROOM,
            max_steps=steps,
            temperature=1.0,
            top_p=1.0,
            top_k=0,
            beta=0.0,
            learning_rate=RATE,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            dataloader_pin_memory=False,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_steps=10**6,
        )
        clock = Clock()
        with quiet():
            trainer = GRPOTrainer(
                plain(machine),
                reward_funcs=reward,
                args=config,
                train_dataset=Dataset.from_list(table),
                processing_class=chat.tokenizer,
                callbacks=[clock],
            )
            trainer.train()
    return clock.steps[1:], written, means


def main() -> None:
    args = common.arguments(__doc__)
    machine = common.machine()
    loaded, _ = pairs.base(machine)
    steps, turns = (4, 1) if args.quick else (6, 3)
    rows = pairs.sums(steps * BATCH)
    prompt = len(loaded.chat.prompt((Message("system", SYSTEM), Message("user", rows[0].input))))
    print(f"{BATCH} prompts of about {prompt} tokens a step, {SAMPLES} answers of at most {ROOM}, {turns} turns of {steps} steps")
    taken: dict[str, list[float]] = {"rung": [], "TRL": []}
    for turn in range(turns):
        for name, found in (("rung", ours(machine, rows, steps)), ("TRL", theirs(machine, loaded.chat, rows, steps))):
            seconds, written, means = found
            taken[name] += seconds
            tokens, reward = sum(written) / len(written), sum(means) / len(means)
            step = common.median(seconds)
            print(f"turn {turn + 1}, {name}: {step:.1f} s a step, {tokens:.0f} tokens written, reward {reward:.2f}")
    speeds = {name: 60 / common.median(seconds) for name, seconds in taken.items()}
    for name, speed in speeds.items():
        print(f"{name}: {speed:.2f} steps a minute")
    print(f"ratio={speeds['rung'] / speeds['TRL']:.2f} GRPO steps a minute, rung over TRL")


if __name__ == "__main__":
    main()
