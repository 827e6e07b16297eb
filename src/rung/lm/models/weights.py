"""The weight files of a model's folder: which ones are read, and a clean copy of the folder for the libraries.

A folder can hold more than its model: an adapter next to the weights it was merged into, a second set of weights in another
layout, tensor names with wrapper prefixes. The libraries would apply the adapter a second time, and fill tensors that they
do not find with random numbers. So a clean copy of such a folder is written once to the cache.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from rung.errors import ModelError
from rung.files import write_json

ONE, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER_CONFIG, ADAPTER = "adapter_config.json", "adapter_model.safetensors"
COPY_AGAIN = "Copy or download the model again."

WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\.")
"""Name parts that torch.compile, FSDP, activation checkpointing and DeepSpeed insert where they wrap a module."""
PARALLEL = re.compile(r"^(?:module\.)+")
"""Prefix that data parallel training adds to every name."""


def files(folder: Path) -> list[Path]:
    """The weight files to read, in order: `model.safetensors`, or else the shards in the index.

    Other weights in the folder are ignored. ModelError if there are none, or a shard is missing.
    """
    folder = transformer_folder(folder)
    one, index = folder / ONE, folder / INDEX
    shards = shards_of(index) if index.exists() else []
    if missing := [shard for shard in shards if not (folder / shard).is_file()]:
        raise ModelError(
            f"{len(missing)} of {len(shards)} weight files are missing, the first is {missing[0]!r}.",
            where=str(index),
            remedy=COPY_AGAIN,
        )
    if one.exists():
        return [one]
    if shards:
        return [folder / shard for shard in shards]
    raise ModelError(
        f"it has neither {ONE} nor {INDEX}, so no library finds its weights.",
        where=str(folder),
        remedy=f"Rename a single weight file to {ONE}; shards need their {INDEX}.",
    )


def transformer_folder(folder: Path) -> Path:
    """The folder of the transformer itself: sentence-transformers may store it in a sub-folder."""
    modules = folder / "modules.json"
    if (folder / "config.json").exists() or not modules.exists():
        return folder
    try:
        first = folder / json.loads(modules.read_text(encoding="utf-8"))[0]["path"]
    except (ValueError, LookupError, TypeError) as error:
        raise ModelError(f"not a list of modules ({error!r}).", where=str(modules), remedy=COPY_AGAIN) from error
    return first if first.resolve().is_relative_to(folder.resolve()) else folder


def shards_of(index: Path) -> list[str]:
    """The unique file names in an index of shards. ModelError if it is not such an index."""
    try:
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"not an index of weight files ({error}).", where=str(index), remedy=COPY_AGAIN) from error


def header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file: `dtype`, `shape` and `data_offsets` of each tensor; `__metadata__` if present.

    Reads only the header. ModelError if the file is truncated or not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):  # checks the header and the file's length
            pass
    except (SafetensorError, OSError) as error:
        raise ModelError(f"truncated, or not a safetensors file ({error}).", where=str(path), remedy=COPY_AGAIN) from error
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(size))


def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shape of every tensor of a folder's model, by its name in the model."""
    return {
        plain: tuple(about["shape"])
        for path in files(folder)
        for plain, about in _renamed(header(path)).items()
        if plain != "__metadata__"
    }


def types(folder: Path) -> set[str]:
    """The types that a folder's tensors are stored in, as safetensors names them: BF16, F32, …"""
    return {about["dtype"] for path in files(folder) for name, about in header(path).items() if name != "__metadata__"}


def plain_name(name: str, parallel: bool) -> str:
    """A tensor's name without wrapper parts. `parallel`: every name of the model begins with `module.`."""
    plain = WRAPPERS.sub("", name)
    return PARALLEL.sub("", plain) if parallel else plain


def _renamed(names: dict[str, Any]) -> dict[str, Any]:
    """The header with plain names."""
    tensors = [WRAPPERS.sub("", name) for name in names if name != "__metadata__"]
    parallel = bool(tensors) and all(PARALLEL.match(name) for name in tensors)
    return {name if name == "__metadata__" else plain_name(name, parallel): about for name, about in names.items()}


def is_plain(folder: Path) -> bool:
    """Whether the libraries read this folder's model correctly as it is."""
    if (transformer_folder(folder) / ADAPTER_CONFIG).exists():
        return False
    return all(names.keys() == _renamed(names).keys() for names in map(header, files(folder)))


def write_plain(folder: Path, target: Path, names: Sequence[str]) -> None:
    """Write the files `names` of `folder` to `target`, with plain tensor names, without an adapter and spare weights.

    Unchanged files are hard-linked if the disk allows; only files with renamed tensors are copied.
    """
    weights = {path.relative_to(folder).as_posix() for path in files(folder)}
    for name in names:
        source, copy = folder / name, target / name
        spare = source.parent == transformer_folder(folder) and _is_weight(name) and name not in weights
        if spare or source.name in (ADAPTER_CONFIG, ADAPTER):
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        if name in weights and header(source).keys() != _renamed(header(source)).keys():
            _rewrite(source, copy)
        else:
            _link(source, copy)
    shards = [target / name for name in sorted(weights)]
    if [shard.name for shard in shards] != [ONE]:
        placed = {tensor: shard.name for shard in shards for tensor in header(shard) if tensor != "__metadata__"}
        write_json(shards[0].parent / INDEX, {"metadata": {}, "weight_map": placed})


def _is_weight(name: str) -> bool:
    return name.endswith((".safetensors", ".safetensors.index.json"))


def _rewrite(source: Path, target: Path) -> None:
    """Copy a file with plain tensor names: a new header, the same data."""
    names = header(source)
    renamed = _renamed(names)
    if len(renamed) < len(names):
        raise ModelError(
            "two of its tensors have the same name without wrapper prefixes.",
            where=str(source),
            remedy="Save the unwrapped model: model.module, or model._orig_mod.",
        )
    text = json.dumps(renamed, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # data must be aligned to eight bytes
    with source.open("rb") as old, target.open("wb") as new:  # written into: a cache entry under way
        (size,) = struct.unpack("<Q", old.read(8))
        old.seek(8 + size)
        new.write(struct.pack("<Q", len(text)) + text)
        shutil.copyfileobj(old, new, 1 << 24)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


def raise_adapter_only(config: Path, where: str) -> NoReturn:
    """Raise ModelError for a folder with only an adapter; `config` names its base."""
    try:
        base = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path") or ""
    except (ValueError, AttributeError):
        base = ""
    named = f"the adapter of {base!r}" if base else "an adapter of an unnamed base"
    raise ModelError(
        f"it holds only {named}, not the model itself.",
        where=where,
        remedy="Merge it first: peft's AutoPeftModelForCausalLM.from_pretrained(folder).merge_and_unload().save_pretrained(new), "
        "with the tokenizer in the same folder; then name the new folder.",
    )
