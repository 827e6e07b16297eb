"""A merged model as one GGUF file, for llama.cpp and what is built on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rung.lm.export import gguf_shapes, gguf_vocabulary
from rung.lm.export.merged import Merged

BLOCK = 32
"""Weights of a row that Q8_0 scales together."""


def write(made: Merged, path: Path, kind: str, name: str, licence: str = "") -> None:
    """Write the model to `path`; `kind` is f32, f16 or q8_0. Vectors stay float32.

    With q8_0 a matrix whose rows are no whole number of blocks is written as f16. ModelError for a shape or a tokenizer that
    is not written here.
    """
    from gguf import GGUFWriter, LlamaFileType

    types = {"f32": LlamaFileType.ALL_F32, "f16": LlamaFileType.MOSTLY_F16, "q8_0": LlamaFileType.MOSTLY_Q8_0}
    config = made.model.config
    shape = gguf_shapes.architecture(config)
    writer = GGUFWriter(path, shape, use_temp_file=False)
    writer.add_type("model")
    writer.add_name(name)
    if licence:
        writer.add_license(licence)
    writer.add_file_type(types[kind])
    writer.add_quantization_version(2)
    gguf_shapes.describe(writer, config)
    gguf_vocabulary.write(writer, made.chat, config.vocab_size)
    for tensor, value in gguf_shapes.tensors(made.model, shape):
        data, stored = _stored(value.numpy(), kind)
        writer.add_tensor(tensor, data, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _stored(value: np.ndarray, kind: str) -> tuple[np.ndarray, Any]:
    """The numbers as they are stored, and the type to be named."""
    from gguf import GGMLQuantizationType as Type
    from gguf import quants

    if value.ndim == 1 or kind == "f32":
        return np.ascontiguousarray(value, np.float32), Type.F32
    if kind == "q8_0" and value.shape[-1] % BLOCK == 0:
        return quants.quantize(np.ascontiguousarray(value, np.float32), Type.Q8_0), Type.Q8_0
    return np.ascontiguousarray(value, np.float16), Type.F16
