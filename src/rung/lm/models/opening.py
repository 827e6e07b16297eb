"""Loads weights through transformers, strictly: transformers fills missing tensors with random numbers."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from rung.errors import ModelError
from rung.lm.quiet import quiet

BUFFERS = re.compile(
    r"(^|\.)(inv_freq|position_ids|token_type_ids|masked_bias|num_batches_tracked|rope_(freqs|factors_long|factors_short)\.weight)$"
)
"""Computed, not trained, tensors that old checkpoints contain."""

UNUSED = re.compile(r"(^|\.)pooler\.")
"""BERT's pooler, which sentence encoders do not use and classifiers train from scratch."""

MAX_LISTED = 4
"""Tensors of each kind that an error lists."""


def load_strict(auto: Any, folder: Path, where: str = "", **options: Any) -> Any:
    """The model in a folder, loaded by a class of transformers with `options`; every tensor comes from the file.

    ModelError if a tensor is missing, left over or of another shape than in the configuration. `where`: what the error
    names instead of the folder.
    """
    model, info = _open(auto, folder, options)
    left = [name for name in info["unexpected_keys"] if not BUFFERS.search(name)]
    _check_tensors(where or str(folder), model, info["missing_keys"], left, info["mismatched_keys"])
    return model


def load_backbone(auto: Any, folder: Path, **options: Any) -> Any:
    """The same for a model that gets a new head: the backbone must be complete, an old head is ignored."""
    model, info = _open(auto, folder, options)
    in_backbone = _in_backbone(model)
    missing = [name for name in info["missing_keys"] if in_backbone(name) and not UNUSED.search(name)]
    left = [name for name in info["unexpected_keys"] if in_backbone(name) and not (BUFFERS.search(name) or UNUSED.search(name))]
    _check_tensors(str(folder), model, missing, left, [one for one in info["mismatched_keys"] if in_backbone(one[0])])
    return model


def check(model: Any, folder: Path, headed: bool = False) -> None:
    """The same check for a transformer that another library has loaded; loads it once more on the meta device.

    `headed`: its head must come from the file too.
    """
    with quiet():
        (load_strict if headed else load_backbone)(type(model), folder, config=model.config, device_map={"": "meta"})


def check_modules(model: Any, folder: Path, headed: bool = False) -> None:
    """The same for every transformer in a sentence-transformers model, whose `modules.json` lists their folders."""
    listed = folder / "modules.json"
    places = [one["path"] for one in json.loads(listed.read_text(encoding="utf-8"))] if listed.exists() else [""]
    for place, module in zip(places, model):
        if (transformer := getattr(module, "auto_model", None)) is not None:
            check(transformer, folder / place, headed)


@contextmanager
def model_errors(folder: Path) -> Iterator[None]:
    """Turns errors of the libraries that load a folder into a ModelError that names it."""
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, OSError, ValueError, KeyError, ImportError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"cannot be loaded: {lines[0]}", where=str(folder), remedy="Choose another model, or repair the folder."
        ) from error


def _open(auto: Any, folder: Path, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    safe = {"use_safetensors": True, "trust_remote_code": False}
    with nullcontext() if "gguf_file" in options else model_errors(folder):
        return auto.from_pretrained(folder, output_loading_info=True, ignore_mismatched_sizes=True, **safe, **options)


def _in_backbone(model: Any) -> Callable[[str], bool]:
    """A predicate on tensor names: whether the tensor belongs to the model without its head."""
    base, prefix = model.base_model, model.base_model_prefix
    parts = {name for name, _ in base.named_children()} | {name for name, _ in base.named_parameters(recurse=False)}
    headed = base is not model

    def in_backbone(name: str) -> bool:
        first, _, rest = name.partition(".")
        return (first == prefix and headed) or (rest.partition(".")[0] if first == prefix else first) in parts

    return in_backbone


def _check_tensors(where: str, model: Any, missing: Iterable[str], left: Iterable[str], mismatched: Iterable[tuple]) -> None:
    shapes = [f"{name} ({_shape(found)}, config.json states {_shape(stated)})" for name, found, stated in mismatched]
    kinds = ((missing, "missing"), (left, "left over"), (shapes, "of another shape"))
    if not (faults := [f"{what}: {_listed(sorted(names))}" for names, what in kinds if names]):
        return
    wanted = type(model).__name__
    named = ", ".join(getattr(model.config, "architectures", None) or []) or wanted
    raise ModelError(
        f"its weights are not those of a {wanted}{f' (they are of a {named})' if named != wanted else ''}; {'; '.join(faults)}.",
        where=where,
        remedy="Missing tensors would be random numbers. Save or download the model again, with its own config.json.",
    )


def _shape(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))


def _listed(names: list[str]) -> str:
    return ", ".join(names[:MAX_LISTED]) + (f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else "")
