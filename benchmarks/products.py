"""What oneDNN's products bring where a machine takes them: the same work with PyTorch's own choice and with oneDNN, in turns.

Five kinds of work on the default models: a step of LoRA training, answers written behind shared demonstrations, choosing among
77 labels many at once and one at a time, sentences embedded. Each is done by one loaded model whose layers are switched to and
fro; medians of paired rounds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import common
import torch
from lora_step import BATCH, fresh, rows_of

from rung.lm.base import Decoding, Prompt
from rung.lm.inference.causal import CausalEngine
from rung.lm.inference.embed import Embedder
from rung.lm.models import onednn_linear
from rung.lm.models.load import load
from rung.lm.models.resolve import find
from rung.lm.training.losses import sft
from rung.types import Message


def switch(model: Any, on: bool, machine: Any) -> None:
    for layer in model.modules():
        if type(layer) is onednn_linear.OneDnnLinear:
            layer.__class__ = torch.nn.Linear
    onednn_linear.use_onednn(model, replace(machine, onednn=on))


def works(machine: Any) -> dict[str, tuple[Any, Callable[[], object]]]:
    """By name, the model whose layers compute and the work."""
    loaded, model = fresh(machine)
    rows = rows_of(loaded.chat, BATCH)
    plain = load(common.base_folder(), machine)
    engine, embedder = CausalEngine(plain), Embedder(find("all-minilm-l6-v2").folder, machine)
    data = common.bank("test")
    shown = [turn for text, label in data[-8:] for turn in (Message("user", text), Message("assistant", label))]
    prompts = [Prompt((Message("system", common.SYSTEM), *shown, Message("user", text)), text) for text, _ in data[:32]]
    labels = sorted({label for _, label in data})

    def write() -> object:
        engine.clear_cache()
        return engine.generate(prompts, Decoding(max_new_tokens=24))

    def choose() -> object:
        engine.clear_cache()
        return engine.choose(prompts[:16], labels)

    def singly() -> object:
        engine.clear_cache()
        return [engine.choose([prompt], labels) for prompt in prompts[:16]]

    return {
        "a step of LoRA training": (model, lambda: sft(model, rows, True).backward()),
        "32 answers written": (plain.model, write),
        "16 choices among 77 labels": (plain.model, choose),
        "the same, one request at a time": (plain.model, singly),
        "500 sentences embedded": (embedder.model, lambda: embedder.embed([text for text, _ in data[:500]])),
    }


def main() -> None:
    args = common.arguments(__doc__)
    machine = common.machine()
    assert onednn_linear.has_onednn(), "this build of PyTorch has no oneDNN product"
    print(f"taken here: {'oneDNN' if machine.onednn else 'what PyTorch chooses'}")
    ratios = []
    for name, (model, work) in works(machine).items():
        times: dict[bool, list[float]] = {False: [], True: []}
        for k in range(6 if args.quick else 16):
            for on in (False, True) if k % 2 else (True, False):
                switch(model, on, machine)
                times[on].append(common.timed(work))
        before, after = (common.median(times[on][1:]) for on in (False, True))
        ratios.append(common.median([a / b for a, b in zip(times[False][1:], times[True][1:])]))
        print(f"{name}: {before:.2f} s and {after:.2f} s, {ratios[-1]:.2f} times as fast by oneDNN")
    print(f"ratio={common.median(ratios):.2f} speed by oneDNN over PyTorch's own choice, median of {len(ratios)} kinds of work")


if __name__ == "__main__":
    main()
