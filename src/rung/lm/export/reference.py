"""The original: rung's own engine, and by how much it prefers its answer to another token."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from rung.lm.base import Decoding, Prompt
from rung.lm.export.reader import Tokens, Written
from rung.lm.inference.causal import CausalEngine
from rung.lm.models.load import load
from rung.lm.trees import tree
from rung.lm.trees.forward import padded_logits, tree_logits
from rung.machine import Machine


def float32_engine(base: Path, files: str, machine: Machine) -> CausalEngine:
    """Rung's engine of the model in `base` with the fits in `files`, float32 on the CPU."""
    return CausalEngine(load(base, replace(machine, device="cpu", dtype="float32"), files))


class Reference:
    """A loaded model of rung, asked for tokens."""

    def __init__(self, engine: CausalEngine):
        self._engine, self.chat = engine, engine.chat

    def prompt(self, prompt: Prompt) -> Tokens:
        """A prompt's tokens."""
        return self.chat.prompt(prompt.messages, prompt.begun)

    def write(self, prompts: list[Tokens], most: int) -> list[Written]:
        """The greedy answers, written together."""
        return [self._written(tokens) for [tokens] in self._engine.samples(prompts, 1, Decoding(max_new_tokens=most))]

    @torch.no_grad()
    def margins(self, prompt: Tokens, answer: Tokens, others: list[int]) -> list[float]:
        """At each place of the answer, by how many nats the model finds the token of the answer likelier than the other."""
        row = tree.Row(prompt + answer, (False,) * len(prompt) + (True,) * len(answer))
        loaded = self._engine.loaded
        if loaded.trees:
            logits, place = tree_logits(loaded.model, tree.build([row]))
            logits = logits[place]
        else:
            logits, _ = padded_logits(loaded.model, [row])
        logits = logits.float()
        places = torch.arange(len(answer))
        return (logits[places, list(answer)] - logits[places, others]).tolist()

    def _written(self, tokens: Tokens) -> Written:
        ended = bool(tokens) and tokens[-1] in self.chat.stops
        bare = tokens[:-1] if ended else tokens
        return Written(tuple(bare), self.chat.decode(bare).strip(), ended, tuple(tokens[len(bare) :]))
