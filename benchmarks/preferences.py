"""What tuning on preferences and rewards does on real rows: DPO against SFT by held-out pairs, and GRPO's reward over its steps.

(1) hh_rlhf: LoRA trained on the better answers (SFT) against LoRA trained by DPO on the same pairs for as long; both ranked on
held-out pairs by what each answer gained over the untouched model, paired. (2) Additions: GRPO rewarded for a right answer,
greedy answers to another draw before and after, paired. `--minutes` says how long it may take; sizes are cut to it, and told.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import common
import pairs

from rung.data.preferences import split_holdout
from rung.lm.base import Decoding, Prompt
from rung.lm.inference.causal import CausalEngine
from rung.lm.models import adapters
from rung.lm.models.load import Loaded
from rung.lm.training import grpo_groups, preferences, train
from rung.metrics import pairs as ranking
from rung.metrics import resample
from rung.types import Message

BATCH = 8


def tuned(machine, items, loss, made, rate: float) -> Loaded:
    loaded, _ = pairs.base(machine)
    loaded = replace(loaded, model=adapters.lora(loaded.model, 16, 32, 0.0, 0))
    with tempfile.TemporaryDirectory() as folder:
        plan = train.TrainConfig(learning_rate=rate, epochs=1, batch=BATCH)
        train.run(loaded, items, plan, Path(folder) / "work", loss=loss, items=made)
    return loaded


def by_pairs(machine, seconds: float) -> float:
    """SFT and DPO on hh_rlhf; returns DPO's held-out reward accuracy over SFT's."""
    from rung.lm.training.losses import sft

    loaded, _ = pairs.base(machine)
    learnt, held = split_holdout(pairs.hh(), 0.2, 0)
    rows, shown = (pairs.rows(loaded, list(some), count, most=256) for some, count in ((learnt, 4000), (held, 4000)))
    probe = [row for two in rows[:8] for row in two]
    pace = common.timed(lambda: preferences.score_rows(loaded, probe)) / 8  # a pair read once
    # read: held three times, learnt once; trained: DPO three times a reading, SFT half of that
    most = max(BATCH, int(seconds / pace / (0.25 * 3 + 1 + 4.5)))
    rows, shown = rows[:most], shown[: max(8, most // 4)]
    print(
        f"{len(rows)} pairs of hh_rlhf up to 256 tokens to learn from, {len(shown)} held out by question; cut to the time given"
    )
    flat, held_flat = ([row for two in some for row in two] for some in (rows, shown))
    known = dict(zip([*flat, *held_flat], preferences.score_rows(loaded, [*flat, *held_flat])))
    asked = [better.tokens[: better.targets.index(True)] for better, _ in shown]
    before = [(known[better], known[worse]) for better, worse in shown]
    gains = {}
    items = preferences.with_reference([preferences.Pair(*two) for two in rows], known)
    runs = {"SFT": (([two[0] for two in rows], sft, train.Items()), 5e-4), "DPO": ((items, *preferences.dpo(0.1)), 1e-4)}
    for name, (given, rate) in runs.items():
        now = tuned(machine, *given, rate)
        after = preferences.score_rows(now, held_flat)
        both = list(zip(after[::2], after[1::2]))
        found = ranking.change(before, both, asked)
        gains[name] = [(b - b0, w - w0) for (b0, w0), (b, w) in zip(before, both)]
        print(f"{name}: " + "; ".join(f"{key} {value}" for key, value in found.items()))
    ranked = {name: ranking.ranked(gain) for name, gain in gains.items()}
    print(f"DPO's reward accuracy less SFT's: {resample.paired_bootstrap(ranked['SFT'], ranked['DPO'], asked)}")
    return sum(ranked["DPO"]) / sum(ranked["SFT"])


def by_reward(machine, seconds: float) -> float:
    """GRPO on additions of digits, for up to 50 steps."""
    loaded, _ = pairs.base(machine)
    rows, held = pairs.additions(400), pairs.additions(100, seed=1)
    chat, room = loaded.chat, 24
    messages = [(Message("user", row.input),) for row in (*rows, *held)]

    def worth(text: str, wanted: str) -> float:
        return float(re.findall(r"\d+", text)[-1:] == [wanted])

    def greedy(model: Loaded) -> list[float]:
        asked = [Prompt(turns, row.input) for turns, row in zip(messages[len(rows) :], held)]
        found = CausalEngine(model).generate(asked, Decoding(max_new_tokens=room))
        return [worth(answer.text, row.output) for answer, row in zip(found, held)]

    def asked(turns, row) -> grpo_groups.RewardedPrompt:
        return grpo_groups.RewardedPrompt(
            chat.prompt(turns), lambda answers: [worth(chat.decode(answer), row.output) for answer in answers]
        )

    started = common.time.perf_counter()
    before = greedy(loaded)
    pace = common.time.perf_counter() - started  # 100 answers; a step draws 32 and learns them, about as long again
    steps = min(50, max(4, int((seconds - 2 * pace) / (0.64 * pace))))
    loaded = replace(loaded, model=adapters.lora(loaded.model, 16, 32, 0.0, 0))
    means: list[float] = []
    how = grpo_groups.Sampling(count=8, max_new_tokens=room, clip=0.2, beta=0.0, updates=1, seed=0, tokens=2048)
    loss, items = grpo_groups.grpo(loaded, how, lambda _, rewards: means.append(sum(rewards) / len(rewards)))
    given = [asked(turns, row) for turns, row in zip(messages, rows)][: 4 * steps]
    with tempfile.TemporaryDirectory() as folder:
        plan = train.TrainConfig(learning_rate=2e-4, epochs=1, batch=4)
        train.run(loaded, given, plan, Path(folder) / "work", loss=loss, items=items)
    fifth = max(1, steps // 5)
    print(
        f"GRPO, {steps} steps of 4 prompts with 8 answers: reward {sum(means[:fifth]) / fifth:.2f} in the first fifth, ", end=""
    )
    print(f"{sum(means[-fifth:]) / fifth:.2f} in the last; step by step {' '.join(f'{mean:.2f}' for mean in means)}")
    after = greedy(loaded)
    print(f"another draw, greedy: {sum(before) / 100:.2f} before, {sum(after) / 100:.2f} after, ", end="")
    print(f"a rise of {resample.paired_bootstrap(before, after)}")
    return sum(after) / sum(before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20, help="how long it may take, about")
    parser.add_argument("--quick", action="store_true", help="eight minutes")
    parser.add_argument("--only", choices=("pairs", "reward"), help="one of the two, in half the time")
    args = parser.parse_args()
    seconds = 60 * (8 if args.quick else args.minutes)
    machine = common.machine()
    if args.only != "pairs":
        rise = by_reward(machine, seconds / 2)
    if args.only != "reward":
        ratio = by_pairs(machine, seconds / 2)
        print(f"ratio={ratio:.2f} held-out reward accuracy, DPO over SFT on the better answers")
    else:
        print(f"ratio={rise:.2f} share of right answers after GRPO over that before")


if __name__ == "__main__":
    main()
