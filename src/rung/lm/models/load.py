"""Loads a causal model's folder: weights, tokenizer, adapters, and whether it supports prefix trees."""

from __future__ import annotations

import ctypes
import importlib.util
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

from rung.errors import ModelError
from rung.lm.base import Decoding
from rung.lm.models import fits, frozen_linear, onednn_linear, opening, weights
from rung.lm.models.chat import Chat
from rung.lm.quiet import quiet
from rung.lm.trees import attention, virtual
from rung.machine import Machine

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@dataclass(frozen=True)
class Loaded:
    """A model in memory with its chat."""

    model: Any
    chat: Chat
    trees: bool
    """Whether the model computes a prefix tree exactly like separate sequences; tested on load."""
    context: int
    """Positions that the model supports."""

    @property
    def max_length(self) -> int:
        """Most tokens of a prompt with its answer: the context without the virtual tokens before every row."""
        return self.context - virtual.size(self.model)

    def max_new_tokens(self, prompt: Sequence[int], decoding: Decoding) -> int:
        """Most tokens of an answer: the decoding's limit, or what the prompt leaves of the context."""
        return min(decoding.max_new_tokens, self.max_length - len(prompt))

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def load(
    base: Path,
    machine: Machine,
    files: str = "",
    training: bool = False,
    four_bit: bool = False,
    frozen: Literal["", "base", "below"] = "",
) -> Loaded:
    """Load safetensors weights in the dtype that is fastest on this machine and precise enough; never runs remote code.

    `files`: folder of a fit on the base (`rung.lm.models.fits`); adapters are merged into the weights where possible.
    `four_bit`: weights in 4-bit NormalFloat, to train an adapter on them (https://arxiv.org/abs/2305.14314). An adapter that
    was trained on 4-bit weights is loaded with them and not merged: it corrects for the quantized weights.
    `frozen`: linear layers are bfloat16 and not trained (`rung.lm.models.frozen_linear`), with all fits merged before they are
    rounded (`base`), or all but the last, which stays beside them as it was trained (`below`). Only models that support prefix
    trees: others are known too little.
    """
    from rung.lm.models import adapters  # late: peft takes seconds to import

    folder, fitted = fits.split(base, files)
    four_bit = four_bit or (bool(fitted) and fits.is_four_bit(fitted[-1]))
    below, beside = (fitted[:-1], fitted[-1:]) if frozen == "below" else (fitted, [])
    torch.set_num_threads(machine.threads)
    keep_freed_memory()
    # float32 on a CPU: the parity tests assume its rounding
    dtype = torch.float32 if machine.device == "cpu" else getattr(torch, machine.dtype)
    with quiet():
        with opening.model_errors(folder):
            if frozen and not below and _reads_as_bf16(folder):
                dtype = torch.bfloat16  # nothing is lost, and no copy in float32 is ever in memory
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        # no attention is named: models without one through PyTorch's function (Bloom, Mamba) would refuse to load
        model = _weights(folder, dtype, machine.device, four_bit)
        for adapter in below:
            model = adapters.restore(model, adapter, merged=not four_bit)
        onednn_linear.use_onednn(model, machine)
        if not four_bit:
            model.requires_grad_(True)  # peft leaves merged weights frozen
        model.train(training)
        trees = _supports_trees(virtual.base(model))
        if frozen:
            frozen_linear.freeze(model) if trees else model.float()
        for adapter in beside:
            model = adapters.restore(model, adapter, merged=not (trees or four_bit))
    if trees:
        model.set_attn_implementation(attention.NAME)
    return Loaded(model, Chat(tokenizer), trees, int(getattr(model.config, "max_position_embeddings", 0) or 2**20))


def _reads_as_bf16(folder: Path) -> bool:
    """Whether loading a model in bfloat16 rounds nothing: all its tensors are stored so, and it computes no buffers in the type
    that it is loaded in, as Gemma 3 does with the scale of its embeddings."""
    if weights.types(folder) != {"BF16"}:
        return False
    with torch.device("meta"):
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        bare = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    return all(one.dtype != torch.bfloat16 for one in bare.buffers())


def saves_completely(model: Any) -> bool:
    """Whether the model's configuration and weights alone restore it: not with virtual tokens or unmerged adapters."""
    if virtual.size(model):
        return False
    with torch.device("meta"), quiet():
        bare = AutoModelForCausalLM.from_config(model.config)
    return bare.state_dict().keys() == model.state_dict().keys()


def _weights(folder: Path, dtype: torch.dtype, device: str, four_bit: bool) -> Any:
    # no attention is named: models without one through PyTorch's function (Bloom, Mamba) would refuse to load
    if not four_bit:
        return _check_generates(opening.load_strict(AutoModelForCausalLM, folder, dtype=dtype), folder).to(device)
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError("4-bit weights need bitsandbytes, which is not installed.", remedy="Run: pip install bitsandbytes")
    rounded = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    given: dict[str, Any] = {"dtype": dtype, "quantization_config": rounded, "device_map": {"": device}}
    return _check_generates(opening.load_strict(AutoModelForCausalLM, folder, **given), folder)


def _check_generates(model: Any, folder: Path) -> Any:
    """ModelError for a masked language model: its weights fit a causal model, but it attends to the tokens it would predict."""
    kinds = getattr(model.config, "architectures", None) or []
    if kinds and all(kind.endswith("ForMaskedLM") for kind in kinds):
        raise ModelError(
            f"a {kinds[0]} is a masked language model and cannot generate text, so it cannot be a base.",
            where=str(folder),
            remedy="Choose a causal language model; set an encoder under `encoder`.",
        )
    return model


@cache
def keep_freed_memory() -> None:
    """Make glibc reuse freed blocks instead of returning them to the system.

    A training step frees and reallocates the same large buffers; getting them from the system each time causes
    page faults over hundreds of megabytes per step. Without glibc this does nothing.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    trim_threshold, mmap_threshold, arena_max = -1, -3, -8  # from malloc.h
    mallopt(mmap_threshold, 32 * 2**20)  # glibc's maximum
    mallopt(trim_threshold, 2**31 - 1)
    mallopt(arena_max, 1)  # backward runs on another thread, whose own arena could not hold large blocks


@torch.no_grad()
def _supports_trees(model: Any) -> bool:
    """Compare a tree of two branches with the two separate sequences. Recurrent and ALiBi models fail, as they should."""
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
        # bfloat16 rounds a logit of 16 to an eighth; a model without tree support is off by whole nats
        return bool(torch.allclose(got.cpu(), wanted.cpu(), atol=1e-3 if exact else 0.1, rtol=1e-5 if exact else 0.02))
    except torch.OutOfMemoryError:
        raise
    except (TypeError, ValueError, AssertionError, RuntimeError, KeyError):
        return False  # this architecture's forward does not accept the arguments: the padded path is used
    finally:
        model.set_attn_implementation(implementation)
        model.train(was_training)
