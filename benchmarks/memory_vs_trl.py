"""Peak memory of LoRA training, 32 rows a step: rung's trees against TRL's SFTTrainer, each in a process of its own.

The peak is the process's, from when the model is loaded to when training is done; what stood in memory by then (weights and
libraries) is told too. TRL takes the step whole, as it is fastest, and, for comparison, eight rows at a time.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import common

SIDES = ("rung", "trl", "trl-by-eight")
STEPS = 2


def side(name: str) -> None:
    """Train on one side and print the peak in bytes."""
    from lora_step import BATCH, fresh, rows_of
    from lora_vs_trl import trl_trainer

    from rung.evaluate import memory
    from rung.lm.models.load import load, quiet
    from rung.lm.training import train

    machine = common.machine()
    with tempfile.TemporaryDirectory() as folder:
        if name == "rung":
            loaded, model = fresh(machine)
            rows = rows_of(loaded.chat, BATCH * STEPS)
            before = _held()
            memory.reset_peak()
            plan = train.TrainConfig(learning_rate=5e-4, epochs=1, batch=BATCH)
            train.run(replace(loaded, model=model), rows, plan, Path(folder) / "work")
        else:
            chat = load(common.base_folder(), machine).chat
            rows = rows_of(chat, BATCH * STEPS)
            trainer, _ = trl_trainer(machine, chat, rows, False, folder)
            if name == "trl-by-eight":
                trainer.args.per_device_train_batch_size = trainer._train_batch_size = 8
                trainer.args.gradient_accumulation_steps = BATCH // 8
            before = _held()
            memory.reset_peak()
            with quiet():
                trainer.train()
    print(f"peak={before},{memory.peak()}")


def _held() -> int:
    import psutil

    return psutil.Process().memory_info().rss


def main() -> None:
    common.arguments(__doc__)
    common.machine()
    peaks = {}
    for name in SIDES:
        done = subprocess.run([sys.executable, __file__, name], capture_output=True, text=True, check=True)
        before, peaks[name] = map(int, done.stdout.rpartition("peak=")[2].split(","))
        print(f"{name}: {peaks[name] / 2**20:.0f} MiB at the peak, {before / 2**20:.0f} MiB before the first step")
    share = peaks["rung"] / peaks["trl"]
    print(f"rung takes {share:.2f} of what TRL takes with a step whole, {peaks['rung'] / peaks['trl-by-eight']:.2f} by eight")
    print(f"ratio={1 / share:.2f} peak memory of LoRA training, TRL over rung, 32 rows a step on both sides")


if __name__ == "__main__":
    side(sys.argv[1]) if sys.argv[1:2] and sys.argv[1] in SIDES else main()
