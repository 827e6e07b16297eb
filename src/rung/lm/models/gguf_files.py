"""GGUF files on disk: their metadata, and merging the parts of a split file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rung.errors import ModelError

PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE)
"""Names of parts, as llama.cpp's gguf-split writes them."""

LAYER = re.compile(r"blk\.(\d+)\.")

OTHER_TYPES = {
    "mmproj": "a model's image encoder",
    "imatrix": "statistics for quantizing",
    "vocab": "a vocabulary without weights",
}
"""Values of `general.type` besides `model` and `adapter`."""


def reader(path: Path) -> Any:
    """A reader of the file. ModelError if it is not a GGUF file, or truncated."""
    from gguf import GGUFReader

    try:
        return GGUFReader(path)
    except (ValueError, IndexError, KeyError, OSError) as error:
        raise ModelError(
            f"not a GGUF file, or truncated ({error}).", where=str(path), remedy="Download or copy it again."
        ) from error


def value(opened: Any, key: str) -> Any:
    """A value of the file's metadata; None if it is absent."""
    field = opened.fields.get(key)
    return field.contents() if field else None


def parts(path: Path) -> list[Path]:
    """All files of the model that `path` is or is a part of, in order. ModelError if it is no model or parts are missing."""
    opened = reader(path)
    _check_is_model(opened, path)
    count = int(value(opened, "split.count") or 1)
    if count < 2:
        return [path]
    named = PART.fullmatch(path.name)
    if not named or int(named["count"]) != count:
        raise ModelError(
            f"one of {count} parts of a split file, but its name does not say which.",
            where=str(path),
            remedy=f"Restore the parts' original names: {path.stem}-00001-of-{count:05}.gguf and so on.",
        )
    found = [path.with_name(f"{named['stem']}-{number:05}-of-{count:05}{path.suffix}") for number in range(1, count + 1)]
    if missing := [part.name for part in found if not part.is_file()]:
        raise ModelError(
            f"{len(missing)} of the {count} parts of this split file are missing: {', '.join(missing)}.",
            where=str(path),
            remedy="Put all parts into one folder and name any of them.",
        )
    return found


def float32_bytes(files: list[Path]) -> int:
    """Bytes of the weights in float32."""
    return sum(4 * int(tensor.n_elements) for file in files for tensor in reader(file).tensors)


def check_layers(files: list[Path]) -> None:
    """ModelError if the files hold more layers than their metadata states: transformers would silently drop them."""
    opened = [reader(file) for file in files]
    stated = value(opened[0], f"{value(opened[0], 'general.architecture')}.block_count")
    numbers = [int(found[1]) for one in opened for tensor in one.tensors if (found := LAYER.match(tensor.name))]
    if stated is not None and numbers and max(numbers) >= stated:
        raise ModelError(
            f"left over: its metadata states {stated} layers, but it has tensors of layer {max(numbers) + 1}.",
            where=str(files[0]),
            remedy="Convert or download the model again.",
        )


def join(files: list[Path], target: Path) -> None:
    """Merge the parts of a split file into `target`."""
    from gguf import GGUFWriter

    opened = [reader(file) for file in files]
    tensors = [tensor for one in opened for tensor in one.tensors]
    wanted = value(opened[0], "split.tensors.count")
    if wanted is not None and len(tensors) != wanted:
        raise ModelError(
            f"the parts hold {len(tensors)} tensors, but the first part states {wanted}.",
            where=str(files[0]),
            remedy="The parts belong to different models, or one is truncated: download them again.",
        )
    writer = GGUFWriter(target, str(value(opened[0], "general.architecture")))
    writer.data_alignment = opened[0].alignment
    for field in opened[0].fields.values():
        if not field.name.startswith(("GGUF.", "split.")) and field.name != "general.architecture":
            inner = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
    for tensor in tensors:
        writer.add_tensor_info(tensor.name, tensor.data.shape, tensor.data.dtype, tensor.data.nbytes, tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for tensor in tensors:
        writer.write_tensor_data(tensor.data)
    writer.close()


def _check_is_model(opened: Any, path: Path) -> None:
    """ModelError for a file that is not a whole model: an adapter, or one of OTHER_TYPES."""
    kind = value(opened, "general.type") or "model"
    if kind == "adapter" or value(opened, "adapter.type"):
        keys = ("general.base_model.0.repo_url", "general.base_model.0.name", "general.basename")
        base = next((found for key in keys if (found := value(opened, key))), "")
        raise ModelError(
            f"it holds only {f'the adapter of {base!r}' if base else 'an adapter of an unnamed base'}, not a model.",
            where=str(path),
            remedy="Merge it into its base (llama.cpp's llama-export-lora does), and name the file that this writes.",
        )
    if kind != "model":
        raise ModelError(
            f"it holds {OTHER_TYPES.get(kind, f'a {kind!r}')}, not a language model.",
            where=str(path),
            remedy="Name the file with the model itself.",
        )
