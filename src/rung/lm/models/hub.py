"""Fetching a model from a hub; and, for every place, what of a model's files is taken and how it is checked."""

from __future__ import annotations

import hashlib
import queue
import shutil
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeVar, cast

from rung import files
from rung.errors import ModelError
from rung.lm.models import reach, weights

Say = Callable[[str], object]
T = TypeVar("T")

KEPT = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
"""All that is fetched and all that a digest covers: weights, configuration, tokenizer. Never pickle, never code."""

LEFT = (
    *("rung.json", "onnx/*", "openvino/*", "original/*", "consolidated*", "checkpoint-*", ".*"),
    *("adapter_config.json", "adapter_model.safetensors"),
)
"""Second copies of the weights in other layouts, and the leftovers of training. An adapter beside whole weights is one:
they have it in them already, and libraries that find it would add it a second time."""

HUB_SECONDS = 3.0
"""A hub that has not answered by then counts as out of reach: for the rest of the process, and for reach.MINUTES in others."""

_silent: dict[str, str] = {}
"""Hubs out of reach, by address, with the reason: asked once a process, said once."""


@dataclass(frozen=True)
class ModelFiles:
    """A model on this disk, ready to load."""

    name: str
    folder: Path
    digest: str
    """sha256 over weights, configuration and tokenizer; for a fetched model over its source too."""
    source: str
    """`hub ID@REVISION`, `index REQUIREMENTS`, `file` or `folder`."""
    licence: str = ""


class OutOfReach(Exception):
    """A place that could not be asked, or does not have the model; the next place is tried. The message says why."""


def fetch(hub_id: str, part: Path, say: Say) -> ModelFiles:
    """The model through the hub library and its shared cache: files are linked, not copied, where the disk allows.

    Raises OutOfReach when the hub does not answer, has no such model or breaks off; ModelError for an id that cannot be,
    a model behind terms, a model without safetensors and a full disk.
    """
    from huggingface_hub import constants, errors, hf_hub_download, snapshot_download

    _check_id(hub_id)
    download = partial(snapshot_download, hub_id, allow_patterns=list(KEPT), ignore_patterns=list(LEFT))
    try:
        info = _info(hub_id, say)
    except OutOfReach:
        try:  # the hub library may have it from earlier
            snapshot = Path(download(local_files_only=True))
        except errors.LocalEntryNotFoundError:
            snapshot = None
        if snapshot is None:
            raise
        _link(snapshot, part)
        return ModelFiles(hub_id, part, "", f"hub {hub_id}@{snapshot.name}")
    sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
    names = kept(sizes)
    if not any(name.endswith(".safetensors") for name in names):
        if weights.ADAPTER_CONFIG in sizes:
            weights.raise_adapter_only(Path(hf_hub_download(hub_id, weights.ADAPTER_CONFIG)), f"{constants.ENDPOINT}/{hub_id}")
        refuse_without_safetensors(set(sizes), where=f"{constants.ENDPOINT}/{hub_id}")
    total = sum(sizes[name] for name in names)
    check_space(part, total)
    say(f"Fetching {hub_id} from {constants.ENDPOINT} ({total / 1e6:.0f} MB)...")
    try:
        snapshot = Path(download())
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{hub_id} is gated: its owner wants you to accept terms first.",
            where=f"{constants.ENDPOINT}/{hub_id}",
            remedy="Accept them on that page, then set HF_TOKEN to a token of your account.",
        ) from error
    except (errors.HTTPError, errors.XetDownloadError, OSError, RuntimeError, ValueError) as error:
        # The library's errors share no base class; its Xet storage, written in Rust, raises plain RuntimeErrors.
        if files.is_full(error):
            raise
        raise OutOfReach(f"Hub {constants.ENDPOINT} broke off ({_line(error)}).") from error
    _link(snapshot, part)
    licence = next((tag.removeprefix("license:") for tag in info.tags or [] if tag.startswith("license:")), "")
    return ModelFiles(hub_id, part, "", f"hub {hub_id}@{snapshot.name}", licence)


def offers(hub_id: str, say: Say) -> bool:
    """Whether the hub answers and has the model, with open access."""
    try:
        return not getattr(_info(hub_id, say), "gated", False)
    except OutOfReach:
        return False


def _check_id(hub_id: str) -> None:
    """Refuse an id such as `a/b..c` here: asked for it, the library raises what else means a hub talking nonsense."""
    from huggingface_hub import errors
    from huggingface_hub.utils import validate_repo_id

    try:
        validate_repo_id(hub_id)
    except errors.HFValidationError as error:
        raise ModelError(f"{hub_id!r} is no hub id: {_line(error)}", remedy="Check the spelling.") from error


def _info(hub_id: str, say: Say) -> Any:
    """What the hub says of the model: revision, file names, sizes. OutOfReach when it does not answer or has none."""
    from huggingface_hub import HfApi, constants, errors

    hub = constants.ENDPOINT
    offline = bool(constants.HF_HUB_OFFLINE)
    if known := _silent.get(hub) or ("" if offline else reach.remembered(hub)):
        raise OutOfReach(known)
    try:
        if offline:
            raise TimeoutError("HF_HUB_OFFLINE is set")
        return _within(HUB_SECONDS, lambda: HfApi().model_info(hub_id, files_metadata=True, timeout=HUB_SECONDS))
    except (errors.HTTPError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, errors.HfHubHTTPError) and error.response.status_code in (401, 403, 404):
            raise OutOfReach(f"Hub {hub} has no model {hub_id!r}, or keeps it private (HF_TOKEN opens those).") from error
        # ValueError and its like: a page that is no hub's answer, such as a company proxy's.
        _silent[hub] = f"Hub {hub} is out of reach ({_line(error)})."
        say(_silent[hub])
        if not offline:
            reach.remember(hub, _silent[hub])
        raise OutOfReach(_silent[hub]) from error


def _within(seconds: float, call: Callable[[], T]) -> T:
    """The answer of `call`, or TimeoutError. A thread of its own, because name look-ups obey no HTTP timeout."""
    answers: queue.Queue[tuple[T | None, Exception | None]] = queue.Queue()

    def ask() -> None:
        try:
            answers.put((call(), None))
        except Exception as error:  # handed over and raised below
            answers.put((None, error))

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer, error = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer in {seconds:.0f} s") from None
    if error:
        raise error
    return cast(T, answer)


def _link(snapshot: Path, part: Path) -> None:
    """Hard links to the blobs themselves, so that emptying the hub library's cache takes nothing away from ours."""
    for name in kept(path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if path.is_file()):
        blob, target = (snapshot / name).resolve(), part / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            target.hardlink_to(blob)
        except OSError:  # another disk, or one without links
            shutil.copyfile(blob, target)


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


# What is taken


def content_digest(folder: Path, source: str = "") -> str:
    """sha256 over the names and contents of all that matters in `folder`, and over `source`. Never over times."""
    whole = hashlib.sha256(source.encode())
    for name in kept(path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()):
        whole.update(f"\0{name}\0{sha256(folder / name)}".encode())
    return whole.hexdigest()


def kept(names: Iterable[str]) -> list[str]:
    """Those of the file names (relative, with /) that belong to a model."""
    return sorted(
        name
        for name in names
        if any(fnmatch(name, pattern) for pattern in KEPT) and not any(fnmatch(name, pattern) for pattern in LEFT)
    )


def sha256(path: Path) -> str:
    """Of a file's contents, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_weights(folder: Path) -> None:
    """Raise ModelError unless `folder` holds a configuration and all of its safetensors."""
    place = weights.transformer_folder(folder)
    names = {path.name for path in place.iterdir()}
    found = {name for name in names - {weights.ADAPTER} if name.endswith(".safetensors")}
    if weights.ADAPTER_CONFIG in names and not (found and "config.json" in names):
        weights.raise_adapter_only(place / weights.ADAPTER_CONFIG, str(folder))
    if not found:
        refuse_without_safetensors(names, where=str(folder))
    if "config.json" not in names:
        raise ModelError("no config.json beside the weights.", where=str(folder), remedy="Give the model's whole folder.")
    weights.files(folder)


def refuse_without_safetensors(names: set[str], where: str) -> NoReturn:
    """Raise the ModelError that fits a place whose files are `names`: only pickles, only GGUF, or no weights at all."""
    pickles = sorted(name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl")))
    ggufs = sorted(name for name in names if name.endswith(".gguf"))
    if pickles:
        raise ModelError(
            f"only .bin/pickle weights ({pickles[0]}), which can run code when they are opened.",
            where=where,
            remedy="Convert with transformers, from_pretrained(...).save_pretrained(...), where you trust the file.",
        )
    if ggufs:
        raise ModelError("no safetensors, but GGUF.", where=where, remedy=f"Give the file itself: {_one_of(ggufs)}.")
    raise ModelError("no safetensors in it.", where=where, remedy="Give a folder with config.json and *.safetensors.")


def _one_of(names: list[str]) -> str:
    return names[0] if len(names) == 1 else "one of " + ", ".join(names)


def check_space(folder: Path, needed: int) -> None:
    """Raise ModelError unless `needed` bytes are free where `folder` lies."""
    if shutil.disk_usage(folder).free < needed:
        raise no_space(folder, f"{needed / 1e9:.1f} GB")


def no_space(folder: Path, needed: str) -> ModelError:
    """The error that says how much is `needed`, in words, and how much is free."""
    free = shutil.disk_usage(folder).free / 1e9
    return ModelError(
        f"the disk is too full: {needed} needed, {free:.1f} GB free.",
        where=str(folder),
        remedy="Free some space, or set RUNG_HOME to a folder on a larger disk.",
    )
