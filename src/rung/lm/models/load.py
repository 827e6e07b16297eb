"""Open a causal model's folder: weights, tokenizer, adapters, and whether it can take prefix trees."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from rung.errors import ModelError
from rung.lm.base import Decoding
from rung.lm.models import fits, onednn_linear, opening
from rung.lm.models.chat import Chat
from rung.lm.quiet import quiet
from rung.lm.trees import attention, virtual
from rung.machine import Machine

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@dataclass(frozen=True)
class Loaded:
    """A model in memory with its chat and its way of attending."""

    model: Any
    chat: Chat
    trees: bool
    """Whether the model computes a prefix tree as it computes the sequences one by one; found out by trying."""
    context: int
    """Positions the model knows."""

    @property
    def room(self) -> int:
        """Longest prompt and answer together, in tokens; virtual tokens in front of every row take up positions too."""
        return self.context - virtual.size(self.model)

    def left(self, prompt: Sequence[int], decoding: Decoding) -> int:
        """Tokens that an answer may have: what its own prompt leaves of the room, at most what the decoding allows."""
        return min(decoding.max_new_tokens, self.room - len(prompt))

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def load(base: Path, machine: Machine, files: str = "", training: bool = False, four_bit: bool = False) -> Loaded:
    """Read safetensors weights in the type the machine is fastest and exact enough in; never remote code.

    `files`: folder of what was fitted on the base (`rung.lm.models.fits`); adapters are merged into the weights where they can
    be. `four_bit`: weights in 4-bit NormalFloat, to train an adapter beside them (https://arxiv.org/abs/2305.14314). An
    adapter that was trained so is opened so, and not merged: it was trained against the rounded weights.
    """
    from rung.lm.models import adapters  # late: peft takes seconds to import

    folder, fitted = fits.split(base, files)
    four_bit = four_bit or (bool(fitted) and fits.is_four_bit(fitted[-1]))
    torch.set_num_threads(machine.threads)
    keep_freed_memory()
    # float32 to train in on a CPU: its rounding is what the parity tests are held to.
    dtype = torch.float32 if machine.device == "cpu" else getattr(torch, machine.dtype)
    with quiet():
        with opening.named_faults(folder):
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        # no attention is named: models without one through PyTorch's function (Bloom, Mamba) would refuse to load
        model = _weights(folder, dtype, machine.device, four_bit)
        for adapter in fitted:
            model = adapters.put(model, adapter, merged=not four_bit)
        onednn_linear.quicken(model, machine)
        if not four_bit:
            model.requires_grad_(True)  # peft leaves what it merged into frozen
        model.train(training)
        trees = _takes_trees(virtual.base(model))
    if trees:
        model.set_attn_implementation(attention.NAME)
    return Loaded(model, Chat(tokenizer), trees, int(getattr(model.config, "max_position_embeddings", 0) or 2**20))


def whole(model: Any) -> bool:
    """Whether the model's configuration and weights, saved together, are this model again.

    They are not where something that cannot be merged stands in front of the rows or beside the weights.
    """
    if virtual.size(model):
        return False
    with torch.device("meta"), quiet():
        bare = AutoModelForCausalLM.from_config(model.config)
    return bare.state_dict().keys() == model.state_dict().keys()


def _weights(folder: Path, dtype: torch.dtype, device: str, four_bit: bool) -> Any:
    # no attention is named: models without one through PyTorch's function (Bloom, Mamba) would refuse to load
    if not four_bit:
        return _writes(opening.whole(AutoModelForCausalLM, folder, dtype=dtype), folder).to(device)
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError("4-bit weights need bitsandbytes, which is not installed.", remedy="Run: pip install bitsandbytes")
    rounded = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    given: dict[str, Any] = {"dtype": dtype, "quantization_config": rounded, "device_map": {"": device}}
    return _writes(opening.whole(AutoModelForCausalLM, folder, **given), folder)


def _writes(model: Any, folder: Path) -> Any:
    """Refuse a model that was trained to fill gaps: its weights fit a language model's, but it sees what it is to foretell."""
    kinds = getattr(model.config, "architectures", None) or []
    if kinds and all(kind.endswith("ForMaskedLM") for kind in kinds):
        raise ModelError(
            f"a {kinds[0]} fills gaps in a text, it does not write, so it cannot be a base.",
            where=str(folder),
            remedy="Name a language model; an encoder stands under `encoder`.",
        )
    return model


@cache
def keep_freed_memory() -> None:
    """Tell glibc to keep freed blocks instead of giving them back to the system.

    A training step frees and asks again for the same large buffers; fetching them from the system each time means
    page faults over hundreds of megabytes a step. Elsewhere than on glibc this does nothing.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    trim_threshold, mmap_threshold, arena_max = -1, -3, -8  # from malloc.h
    mallopt(mmap_threshold, 32 * 2**20)  # the largest that glibc takes
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(arena_max, 1)  # backward runs on another thread, whose own arena could not hold large blocks


@torch.no_grad()
def _takes_trees(model: Any) -> bool:
    """Try a tree of two branches against the two sequences themselves. Recurrent or ALiBi models fail, as they should."""
    from rung.lm.trees import tree
    from rung.lm.trees.forward import run_tree

    was_training, implementation = model.training, model.config._attn_implementation
    model.eval()
    top = model.config.vocab_size - 1
    pair = [tuple(min(t, top) for t in tokens) for tokens in ((5, 6, 7, 8, 9), (5, 6, 10, 11, 12))]
    try:
        model.set_attn_implementation(attention.NAME)
        grown = tree.build([tree.Row(tokens, (False, False, True, True, True)) for tokens in pair])
        found = run_tree(model, grown)
        model.set_attn_implementation(implementation)
        device = next(model.parameters()).device
        plain = [model(torch.tensor([tokens], device=device)).logits[0].float().log_softmax(-1) for tokens in pair]
        wanted = torch.stack([plain[row][k, pair[row][k + 1]] for row in range(2) for k in range(1, 4)])
        got = found[torch.from_numpy(grown.pair_target)]
        exact = model.dtype == torch.float32
        # bfloat16 rounds a logit of 16 to an eighth; what takes no tree is off by whole nats
        return bool(torch.allclose(got.cpu(), wanted.cpu(), atol=1e-3 if exact else 0.1, rtol=1e-5 if exact else 0.02))
    except torch.OutOfMemoryError:
        raise
    except (TypeError, ValueError, AssertionError, RuntimeError, KeyError):
        return False  # this architecture's forward does not know the arguments: the padded path computes the same
    finally:
        model.set_attn_implementation(implementation)
        model.train(was_training)
