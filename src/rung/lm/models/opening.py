"""Weights through transformers, and the check that every tensor came from the file: what is missing is filled at random."""

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
"""What old checkpoints hold although it is computed, not learnt."""

UNUSED = re.compile(r"(^|\.)pooler\.")
"""The layer over a BERT's first token that sentence encoders have and do not use, and classifiers train anew."""

SHOWN = 4
"""Tensors that an error names of each kind."""


def whole(auto: Any, folder: Path, where: str = "", **given: Any) -> Any:
    """The model of a folder, opened by a class of transformers with what is `given` to it; every tensor is from the file.

    ModelError where a tensor is missing, left over or of another shape than the configuration says. `where`: what the error
    names instead of the folder.
    """
    model, info = _open(auto, folder, given)
    left = [name for name in info["unexpected_keys"] if not BUFFERS.search(name)]
    _refuse(where or str(folder), model, info["missing_keys"], left, info["mismatched_keys"])
    return model


def body(auto: Any, folder: Path, **given: Any) -> Any:
    """The same for a model that gets a new head: what stands below the head must be there, and an old head is left aside."""
    model, info = _open(auto, folder, given)
    inside = _below_the_head(model)
    missing = [name for name in info["missing_keys"] if inside(name) and not UNUSED.search(name)]
    left = [name for name in info["unexpected_keys"] if inside(name) and not (BUFFERS.search(name) or UNUSED.search(name))]
    _refuse(str(folder), model, missing, left, [one for one in info["mismatched_keys"] if inside(one[0])])
    return model


def check(model: Any, folder: Path, headed: bool = False) -> None:
    """The same for a transformer that another library has opened: it is opened once more, without its numbers.

    `headed`: its head must have come from the file too.
    """
    with quiet():
        (whole if headed else body)(type(model), folder, config=model.config, device_map={"": "meta"})


def check_modules(model: Any, folder: Path, headed: bool = False) -> None:
    """The same for every transformer in a model of sentence-transformers, whose `modules.json` says where each lies."""
    listed = folder / "modules.json"
    places = [one["path"] for one in json.loads(listed.read_text(encoding="utf-8"))] if listed.exists() else [""]
    for place, module in zip(places, model):
        if (transformer := getattr(module, "auto_model", None)) is not None:
            check(transformer, folder / place, headed)


@contextmanager
def named_faults(folder: Path) -> Iterator[None]:
    """What libraries raise of a folder that they cannot open, as a ModelError that names it."""
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, OSError, ValueError, KeyError, ImportError) as error:
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ModelError(
            f"it cannot be opened: {lines[0]}", where=str(folder), remedy="Name another model, or mend the folder."
        ) from error


def _open(auto: Any, folder: Path, given: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    safe = {"use_safetensors": True, "trust_remote_code": False}
    with nullcontext() if "gguf_file" in given else named_faults(folder):
        return auto.from_pretrained(folder, output_loading_info=True, ignore_mismatched_sizes=True, **safe, **given)


def _below_the_head(model: Any) -> Callable[[str], bool]:
    """Whether a tensor's name stands for a part of the model below its head."""
    base, prefix = model.base_model, model.base_model_prefix
    parts = {name for name, _ in base.named_children()} | {name for name, _ in base.named_parameters(recurse=False)}
    headed = base is not model

    def inside(name: str) -> bool:
        first, _, rest = name.partition(".")
        return (first == prefix and headed) or (rest.partition(".")[0] if first == prefix else first) in parts

    return inside


def _refuse(where: str, model: Any, missing: Iterable[str], left: Iterable[str], other: Iterable[tuple]) -> None:
    shapes = [f"{name} ({_shape(there)}, its config.json says {_shape(said)})" for name, there, said in other]
    found = ((missing, "missing"), (left, "left over"), (shapes, "of another shape"))
    if not (faults := [f"{what}: {_listed(sorted(names))}" for names, what in found if names]):
        return
    wanted = type(model).__name__
    named = ", ".join(getattr(model.config, "architectures", None) or []) or wanted
    raise ModelError(
        f"its weights are not those of a {wanted}{f' (they are of a {named})' if named != wanted else ''}; {'; '.join(faults)}.",
        where=where,
        remedy="What is missing would be random numbers. Save or download it again, whole and with its own config.json.",
    )


def _shape(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))


def _listed(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
