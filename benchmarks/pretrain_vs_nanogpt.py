"""Pre-training tokens a second: rung's training loop against a plain PyTorch loop in the manner of nanoGPT's.

10 M parameters, tinyshakespeare, one tokenizer. Both sides begin with the same weights and read the same windows in the
same order, with AdamW, the same schedule and clipping. The plain side is a Llama written out in a page of PyTorch with
causal scaled-dot-product attention and a bare loop. Rounds of steps are interleaved and alternate in which side begins;
the speed is the median over rounds of a pair, the ratio the median of the rounds' ratios. The losses of both sides are
compared step by step: rounding is all that may differ.
"""

from __future__ import annotations

import math
import queue
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import common
import torch
from torch import nn
from torch.nn import functional as F

from rung.data import corpus
from rung.lm.models import llama_shape, load, onednn_linear
from rung.lm.models.chat import Chat
from rung.lm.raw_text import bpe, shards
from rung.lm.training import raw_text_steps, train
from rung.machine import Machine

PARAMETERS, VOCABULARY, CONTEXT, BATCH = 10_000_000, 4096, 128, 8
PEAK, FLOOR, WARMUP, DECAY, BETAS, CLIP = 1e-3, 0.1, 0.05, 0.1, (0.9, 0.95), 1.0
ROUND = 5
"""Steps a side before the other side's turn."""


class Norm(nn.Module):
    def __init__(self, width: int, eps: float):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, inner = config.hidden_size, config.intermediate_size
        self.heads = config.num_attention_heads
        self.norm1, self.norm2 = Norm(width, config.rms_norm_eps), Norm(width, config.rms_norm_eps)
        self.qkv, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.gate_up, self.down = nn.Linear(width, 2 * inner, bias=False), nn.Linear(inner, width, bias=False)

    def forward(self, x: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        b, t, width = x.shape
        q, k, v = (
            part.view(b, t, self.heads, width // self.heads).transpose(1, 2) for part in self.qkv(self.norm1(x)).split(width, -1)
        )
        y = F.scaled_dot_product_attention(rotated(q, turn), rotated(k, turn), v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(b, t, width))
        gate, up = self.gate_up(self.norm2(x)).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


def rotated(x: torch.Tensor, turn: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    cos, sin = turn
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


class Plain(nn.Module):
    """A Llama with tied embeddings."""

    def __init__(self, config):
        super().__init__()
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers))
        self.norm = Norm(config.hidden_size, config.rms_norm_eps)
        half = config.hidden_size // config.num_attention_heads // 2
        theta = config.rope_parameters["rope_theta"]
        angles = torch.outer(torch.arange(CONTEXT).float(), theta ** -(torch.arange(half).float() / half))
        self.turn = (angles.cos(), angles.sin())

    def forward(self, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x, self.turn)
        logits = F.linear(self.norm(x), self.embed.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def plain_from(model) -> Plain:
    """The same weights in the plain model."""
    made, base = Plain(model.config), model.model
    with torch.no_grad():
        made.embed.weight.copy_(base.embed_tokens.weight)
        made.norm.weight.copy_(base.norm.weight)
        for mine, theirs in zip(made.blocks, base.layers):
            attention, inner = theirs.self_attn, theirs.mlp
            mine.qkv.weight.copy_(torch.cat([attention.q_proj.weight, attention.k_proj.weight, attention.v_proj.weight]))
            mine.out.weight.copy_(attention.o_proj.weight)
            mine.gate_up.weight.copy_(torch.cat([inner.gate_proj.weight, inner.up_proj.weight]))
            mine.down.weight.copy_(inner.down_proj.weight)
            mine.norm1.weight.copy_(theirs.input_layernorm.weight)
            mine.norm2.weight.copy_(theirs.post_attention_layernorm.weight)
    return made


def plain_loop(model: Plain, steps: raw_text_steps.RandomWindows) -> Iterator[float]:
    """Losses, step by step."""
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": DECAY}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK, betas=BETAS, fused=True)
    warm = math.ceil(WARMUP * len(steps))
    for step in range(len(steps)):
        fallen = 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, len(steps) - warm)))
        for group in optimizer.param_groups:
            group["lr"] = PEAK * (step / warm if step < warm else FLOOR + (1 - FLOOR) * fallen)
        ids = torch.tensor([row.tokens for row in steps[step]])
        loss = model(ids[:, :-1], ids[:, 1:])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield loss.item()


def rung_loop(loaded: load.Loaded, steps: raw_text_steps.RandomWindows, folder: Path) -> Iterator[float]:
    """Losses of `train.run`, step by step: it runs in a thread that waits its turn after each step."""
    told: queue.Queue[float | BaseException] = queue.Queue()
    turn = threading.Semaphore(0)
    plan = train.TrainConfig(
        learning_rate=PEAK,
        epochs=1,
        batch=1,
        save=10**9,
        tokens=2**30,
        warmup=WARMUP,
        floor=FLOOR,
        betas=BETAS,
        weight_decay=DECAY,
        clip=CLIP,
    )

    def watched(done: int, total: int, loss: float) -> None:
        told.put(loss)
        turn.acquire()

    def work() -> None:
        turn.acquire()
        try:
            train.run(
                loaded,
                range(len(steps)),
                plan,
                folder,
                loss=raw_text_steps.dense_loss,
                items=raw_text_steps.items_of(steps),
                watch=train.Watch(watched),
            )
        except BaseException as error:  # handed over: a failure must not leave the other side waiting
            told.put(error)

    threading.Thread(target=work, daemon=True).start()
    for _ in range(len(steps)):
        turn.release()
        found = told.get()
        if isinstance(found, BaseException):
            raise found
        yield found


def rounds(sides: dict[str, Iterator[float]], count: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Seconds of each round and losses of each step, by side; the side that begins alternates."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    losses: dict[str, list[float]] = {name: [] for name in sides}

    def some(name: str) -> Callable[[], None]:
        return lambda: losses[name].extend(next(sides[name]) for _ in range(ROUND))

    for number in range(count):
        for name in list(sides)[:: 1 if number % 2 else -1]:
            seconds[name].append(common.timed(some(name)))
    return seconds, losses


def main() -> None:
    args = common.arguments(__doc__)
    machine: Machine = common.machine()
    torch.set_num_threads(machine.threads)
    load.keep_freed_memory()  # for both sides
    count = (60 if args.quick else 500) // ROUND
    found = corpus.find_texts(common.DATA / "tinyshakespeare", ["input.txt"])
    with tempfile.TemporaryDirectory() as place:
        tokenizer = bpe.train(corpus.documents(found), VOCABULARY)
        tokens = shards.write(Path(place) / "text", corpus.documents(found), tokenizer, "all").tokens
        model = llama_shape.fresh(PARAMETERS, CONTEXT, tokenizer, seed=0)
        loaded = load.Loaded(model, Chat(tokenizer), trees=False, context=CONTEXT)
        onednn_linear.use_onednn(model, machine)
        steps = raw_text_steps.RandomWindows(tokens, CONTEXT, BATCH, count * ROUND, seed=0)
        size = sum(p.numel() for p in model.parameters())
        config = model.config
        print(
            f"{size:,} parameters ({config.num_hidden_layers} layers, width {config.hidden_size}), {len(tokens):,} tokens, "
            f"{BATCH} windows of {CONTEXT} tokens a step, {len(steps)} steps"
        )
        sides = {"rung": rung_loop(loaded, steps, Path(place) / "work"), "plain": plain_loop(plain_from(model), steps)}
        seconds, losses = rounds(sides, count)
    taken = {name: some[1:] for name, some in seconds.items()}  # the first round warms up
    for name, some in taken.items():
        print(f"{name}: {ROUND * BATCH * CONTEXT / common.median(some):,.0f} tokens a second, median of {len(some)} rounds")
    apart = max(abs(a - b) for a, b in zip(losses["rung"], losses["plain"]))
    last = {name: sum(some[-10:]) / 10 for name, some in losses.items()}
    print(
        f"loss of the first step {losses['rung'][0]:.4f} and {losses['plain'][0]:.4f}; mean of the last 10 {last['rung']:.4f} "
        f"and {last['plain']:.4f}; never further apart than {apart:.4f}"
    )
    ratio = common.median([b / a for a, b in zip(taken["rung"], taken["plain"])])
    print(
        f"ratio={ratio:.3f} tokens a second, rung over the plain loop; losses at most {apart:.4f} apart over {len(steps)} steps"
    )


if __name__ == "__main__":
    main()
