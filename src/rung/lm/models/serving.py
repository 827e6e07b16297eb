"""A base that serves: weights packed for oneDNN, and LoRA adapters that are added for the rows of a batch that ask for them.

One copy of the base is in memory, however many adapters it serves. An adapter is added beside the product, as peft does before
a merge, so its answers are those of the merged weights up to rounding.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import linear

from rung.lm.models import fits, frozen_linear, onednn_linear
from rung.lm.models.load import Loaded

CONFIG, TENSORS = "adapter_config.json", "adapter_model.safetensors"
ROWS = 16
"""Rows that weights are packed for. Measured: as good for 1 as for 80."""
PLAIN: dict[str, tuple[Any, ...]] = {
    "peft_type": ("LORA",),
    "bias": ("none",),
    "use_dora": (False, None),
    "fan_in_fan_out": (False, None),
    "lora_bias": (False, None),
    "modules_to_save": (None, []),
    "rank_pattern": (None, {}),
    "alpha_pattern": (None, {}),
    "layer_replication": (None,),
    "trainable_token_indices": (None,),
    "init_lora_weights": (True,),
}
"""What an adapter's configuration says, where it says anything, if the adapter is nothing but A and B beside a layer."""


@dataclass(frozen=True, eq=False)
class Adapter:
    """A LoRA in memory."""

    digest: str
    """Of its content: what it computes is never found under another one."""
    parts: Mapping[str, tuple[torch.Tensor, torch.Tensor]]
    """By the layer's name: A (in, rank), and B scaled (rank, out)."""


Ranges = Sequence[tuple[int, int, Adapter]]
"""Neighbouring rows of a batch and their adapter; rows in none are the base's."""


class Active:
    """Which adapters the pass at hand adds: one to all rows, or each to a range of rows."""

    def __init__(self) -> None:
        self.whole: Adapter | None = None
        self.ranges: Ranges = ()

    @contextmanager
    def of(self, whole: Adapter | None = None, ranges: Ranges = ()) -> Iterator[None]:
        before = self.whole, self.ranges
        self.whole, self.ranges = whole, ranges
        try:
            yield
        finally:
            self.whole, self.ranges = before


class ServedLinear(torch.nn.Linear):
    """A linear layer of a base that serves; only for inference."""

    name: str
    active: Active
    packed: Any
    """The weights as oneDNN wants them; None where they are not packed, and `weight` has them."""
    product: onednn_linear.Product
    """With the packed weights, or with `weight`."""

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        out = self.product(rows, self.weight if self.packed is None else self.packed, self.bias)
        if self.active.whole:
            self._add(self.active.whole, rows, out)
        for start, stop, adapter in self.active.ranges:
            self._add(adapter, rows[:, start:stop], out[:, start:stop])
        return out

    def _add(self, adapter: Adapter, rows: torch.Tensor, out: torch.Tensor) -> None:
        if pair := adapter.parts.get(self.name):
            out += (rows @ pair[0]) @ pair[1]


def prepare(loaded: Loaded) -> Active:
    """Make a model's linear layers those of a base that serves, packed on a CPU in float32. It can be trained no more."""
    active = Active()
    shared = [p.data_ptr() for m in loaded.model.modules() if isinstance(m, torch.nn.Embedding) for p in m.parameters()]
    packs = loaded.device.type == "cpu" and onednn_linear.has_onednn()
    for name, layer in loaded.model.named_modules():
        if type(layer) not in (torch.nn.Linear, onednn_linear.OneDnnLinear, frozen_linear.FrozenLinear):
            continue
        frozen = type(layer) is frozen_linear.FrozenLinear
        layer.__class__ = ServedLinear
        layer.name, layer.active, layer.packed = name, active, None
        layer.product = frozen_linear.product if frozen else linear
        if frozen_linear.packs() if frozen else packs and layer.weight.dtype == torch.float32:
            layer.product = frozen_linear.packed_product if frozen else onednn_linear.onednn
            layer.packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), ROWS)
            if layer.weight.data_ptr() not in shared:  # one copy is enough
                layer.weight = torch.nn.Parameter(layer.weight.new_empty(0), requires_grad=False)
    return active


def plain_lora(base: Path, files: str) -> Path | None:
    """The folder of the one LoRA that a fit is on this base; None where it is something else or more."""
    folder, found = fits.split(base, files)
    if folder != base or len(found) != 1 or fits.is_four_bit(found[0]) or not (found[0] / CONFIG).exists():
        return None
    config = json.loads((found[0] / CONFIG).read_text(encoding="utf-8"))
    plain = all(config.get(key, allowed[0]) in allowed for key, allowed in PLAIN.items())
    return found[0] if plain else None


def rank(folder: Path) -> int:
    """Of a LoRA."""
    return int(json.loads((folder / CONFIG).read_text(encoding="utf-8"))["r"])


def read(loaded: Loaded, folder: Path) -> Adapter | None:
    """A LoRA, named by its content; None where it has parts for other layers than those of a base that serves."""
    from safetensors.torch import load

    config, content = json.loads((folder / CONFIG).read_text(encoding="utf-8")), (folder / TENSORS).read_bytes()
    scale = config["lora_alpha"] / (config["r"] ** 0.5 if config.get("use_rslora") else config["r"])
    tensors = {name.removeprefix("base_model.model."): tensor for name, tensor in load(content).items()}
    names = {one.name for one in loaded.model.modules() if isinstance(one, ServedLinear)}
    wanted = {f"{name}.lora_{part}.weight" for name in names for part in "AB"}
    layers = {name.rpartition(".lora_")[0] for name in tensors}
    if not tensors.keys() <= wanted or len(tensors) != 2 * len(layers):
        return None
    dtype = next(loaded.model.parameters()).dtype

    def part(name: str, by: float) -> torch.Tensor:
        return (tensors[name].float() * by).t().contiguous().to(loaded.device, dtype)

    parts = {name: (part(f"{name}.lora_A.weight", 1.0), part(f"{name}.lora_B.weight", scale)) for name in layers}
    said = hashlib.sha256(content + json.dumps(config, sort_keys=True).encode()).hexdigest()
    return Adapter(said, parts)


class AdaptedModel:
    """A base that is asked with one adapter; everything else is the base's."""

    def __init__(self, model: Any, active: Active, adapter: Adapter):
        self._model, self._active, self._adapter = model, active, adapter

    def __call__(self, *args: Any, **named: Any) -> Any:
        with self._active.of(self._adapter):
            return self._model(*args, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)
