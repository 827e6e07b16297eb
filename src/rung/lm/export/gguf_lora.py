"""A LoRA adapter of peft as GGUF, for llama.cpp's --lora and Ollama's ADAPTER.

Keys and names are those of llama.cpp's convert_lora_to_gguf.py (https://github.com/ggml-org/llama.cpp, MIT). Of queries and
keys the rows of B are permuted as the rows of the weight that B · A is added to.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from rung.errors import ModelError
from rung.lm.export import gguf_shapes
from rung.lm.export.lora_settings import more_than_plain, settings
from rung.lm.models import weights

PREFIX = "base_model.model."
FACTORS = {".lora_A.weight": ".lora_a", ".lora_B.weight": ".lora_b"}


def write(adapter: Path, config: Any, path: Path, name: str) -> None:
    """Write the adapter, float32, for a base of this configuration.

    ModelError for more than plain LoRA, or for a factor on a layer that GGUF has no name for.
    """
    from gguf import GGUFType, GGUFWriter, Keys

    found = settings(adapter)
    if more := more_than_plain(found):
        raise _refused(", ".join(more), adapter)
    shape = gguf_shapes.architecture(config)
    writer = GGUFWriter(path, shape, use_temp_file=False)
    writer.add_type(GGUFType.ADAPTER)
    writer.add_name(name)
    writer.add_string(Keys.Adapter.TYPE, str(found["peft_type"]).lower())
    writer.add_float32(Keys.Adapter.LORA_ALPHA, _alpha(found))
    for tensor, value in _tensors(adapter, config, shape):
        writer.add_tensor(tensor, np.ascontiguousarray(value.numpy(), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tensors(adapter: Path, config: Any, shape: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Every factor by its name in GGUF."""
    from safetensors.torch import load_file

    names = gguf_shapes.names(config, shape)
    for name, value in load_file(adapter / weights.ADAPTER).items():
        ending = next((one for one in FACTORS if name.endswith(one)), None)
        if ending is None:
            raise _refused(f"it has a tensor {name!r}, which is no factor of LoRA", adapter)
        weight = name.removeprefix(PREFIX).removesuffix(ending) + ".weight"
        factor = value.float()
        if ending == ".lora_B.weight":
            factor = gguf_shapes.ordered(weight, factor, config, shape)
        yield names(weight) + FACTORS[ending], factor


def _alpha(found: dict[str, Any]) -> float:
    """What llama.cpp divides by the rank to get the scale."""
    alpha, rank = float(found["lora_alpha"]), int(found["r"])
    return alpha * rank**0.5 if found.get("use_rslora") else alpha


def _refused(why: str, adapter: Path) -> ModelError:
    return ModelError(
        f"this adapter has no form in GGUF: {why}.", where=str(adapter), remedy="Leave --adapter out: the merged weights hold it."
    )
