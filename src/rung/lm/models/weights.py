"""The weight files of a model's folder: which of them are read, and the folder as the libraries should see it.

A folder can hold more than its model: an adapter beside the weights that it was merged into, a second set of weights in
another layout, names that wrappers left in front of every tensor. The libraries add the adapter a second time and fill
what they do not find under its name with random numbers. So such a folder is written once, in plain form, to the cache.
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

ONE, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER_CONFIG, ADAPTER = "adapter_config.json", "adapter_model.safetensors"
COPY_AGAIN = "Copy or download the model again."

WRAPPERS = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\.")
"""What torch.compile, FSDP, activation checkpointing and DeepSpeed put into tensor names, wherever a module was wrapped."""
PARALLEL = re.compile(r"^(?:module\.)+")
"""What data parallel training puts in front of every name."""


def files(folder: Path) -> list[Path]:
    """The weight files that are read, in order: `model.safetensors`, or else the shards that the index names.

    Any other set in the folder is left alone. ModelError where there is none, or a shard is missing.
    """
    folder = place(folder)
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
        f"neither {ONE} nor {INDEX} is in it, so its weights have names that no library reads.",
        where=str(folder),
        remedy=f"Name a single weight file {ONE}; shards need their {INDEX}.",
    )


def place(folder: Path) -> Path:
    """Where the language model of a folder lies: sentence-transformers may keep it in a folder of its own."""
    modules = folder / "modules.json"
    if (folder / "config.json").exists() or not modules.exists():
        return folder
    try:
        first = folder / json.loads(modules.read_text(encoding="utf-8"))[0]["path"]
    except (ValueError, LookupError, TypeError) as error:
        raise ModelError(f"no list of modules ({error!r}).", where=str(modules), remedy=COPY_AGAIN) from error
    return first if first.resolve().is_relative_to(folder.resolve()) else folder


def shards_of(index: Path) -> list[str]:
    """The file names in an index of shards, each once. ModelError where it is no such index."""
    try:
        return sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"no index of weight files ({error}).", where=str(index), remedy=COPY_AGAIN) from error


def head(path: Path) -> dict[str, Any]:
    """The head of a safetensors file: of each tensor `dtype`, `shape` and `data_offsets`; `__metadata__` where there is any.

    Only the head is read. ModelError where the file is cut off or no safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np"):  # checks the head, and that the file is as long as it says
            pass
    except (SafetensorError, OSError) as error:
        raise ModelError(f"damaged, cut off, or no safetensors file ({error}).", where=str(path), remedy=COPY_AGAIN) from error
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(size))


def shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Of every tensor that is read from a folder its name, as the model knows it, and its shape."""
    return {
        plain: tuple(about["shape"])
        for path in files(folder)
        for plain, about in _renamed(head(path)).items()
        if plain != "__metadata__"
    }


def plain_name(name: str, parallel: bool) -> str:
    """A tensor's name without what wrappers put into it. `parallel`: every name of the model begins with `module.`."""
    plain = WRAPPERS.sub("", name)
    return PARALLEL.sub("", plain) if parallel else plain


def _renamed(names: dict[str, Any]) -> dict[str, Any]:
    """The head with plain names."""
    tensors = [WRAPPERS.sub("", name) for name in names if name != "__metadata__"]
    parallel = bool(tensors) and all(PARALLEL.match(name) for name in tensors)
    return {name if name == "__metadata__" else plain_name(name, parallel): about for name, about in names.items()}


def is_plain(folder: Path) -> bool:
    """Whether the libraries read from this folder the model and nothing else."""
    if (place(folder) / ADAPTER_CONFIG).exists():
        return False
    return all(names.keys() == _renamed(names).keys() for names in map(head, files(folder)))


def write_plain(folder: Path, target: Path, names: Sequence[str]) -> None:
    """Write the files of `folder` called `names` to `target`: weights under plain names, no adapter, one set of weights.

    Files that stay as they are get a second name where the disk allows; only those with other tensor names are copied.
    """
    weights = {path.relative_to(folder).as_posix() for path in files(folder)}
    for name in names:
        source, copy = folder / name, target / name
        spare = source.parent == place(folder) and _is_weight(name) and name not in weights
        if spare or source.name in (ADAPTER_CONFIG, ADAPTER):
            continue
        copy.parent.mkdir(parents=True, exist_ok=True)
        if name in weights and head(source).keys() != _renamed(head(source)).keys():
            _rewrite(source, copy)
        else:
            _link(source, copy)
    shards = [target / name for name in sorted(weights)]
    if [shard.name for shard in shards] != [ONE]:
        placed = {tensor: shard.name for shard in shards for tensor in head(shard) if tensor != "__metadata__"}
        (shards[0].parent / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": placed}), encoding="utf-8")


def _is_weight(name: str) -> bool:
    return name.endswith((".safetensors", ".safetensors.index.json"))


def _rewrite(source: Path, target: Path) -> None:
    """The file with plain names: another head, the same bytes behind it."""
    names = head(source)
    renamed = _renamed(names)
    if len(renamed) < len(names):
        raise ModelError(
            "two of its tensors have one name once the names of wrappers are taken off.",
            where=str(source),
            remedy="Save the unwrapped model: model.module, or model._orig_mod.",
        )
    text = json.dumps(renamed, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data must begin at a multiple of eight
    with source.open("rb") as old, target.open("wb") as new:
        (size,) = struct.unpack("<Q", old.read(8))
        old.seek(8 + size)
        new.write(struct.pack("<Q", len(text)) + text)
        shutil.copyfileobj(old, new, 1 << 24)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:  # another disk, or one without links
        shutil.copyfile(source, target)


def refuse_adapter_alone(config: Path, where: str) -> NoReturn:
    """Raise ModelError for a folder that holds an adapter and not the model that it belongs to; `config` names that."""
    try:
        base = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path") or ""
    except (ValueError, AttributeError):
        base = ""
    named = f"the adapter of {base!r}" if base else "an adapter whose base it does not name"
    raise ModelError(
        f"it holds only {named}, not the model itself.",
        where=where,
        remedy="Merge it first: peft's AutoPeftModelForCausalLM.from_pretrained(folder).merge_and_unload().save_pretrained(new), "
        "with the tokenizer beside it; then name the new folder.",
    )
