"""Where a model's files are, and the one place that writes them: `home()/models`, one folder for each model, whole or absent.

Files from a hub are hard links into the hub library's own cache. Those of the package index, of GGUF files and of plug-ins are
converted or copied here; they are not put into the hub's cache, where another program would take them for the hub's own files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from filelock import FileLock, Timeout

from rung import files
from rung.errors import ModelError
from rung.home import home
from rung.lm.models.hub import ModelFiles, Say, check_weights, content_digest, no_space

NOTE = "rung.json"
"""In each folder: name, digest, source and licence of the model. A folder without it is not finished."""


def place(slug: str) -> Path:
    """The folder of a model in the cache, there or not."""
    return home() / "models" / slug


def read(slug: str) -> ModelFiles | None:
    """The cached files of a model; None where it is not cached."""
    note = place(slug) / NOTE
    return ModelFiles(folder=place(slug), **json.loads(note.read_text(encoding="utf-8"))) if note.exists() else None


def cached(name: str, slug: str, fill: Callable[[Path], ModelFiles], say: Say) -> ModelFiles:
    """The cached files of a model, fetched first if need be: `fill` puts them into an empty folder, in one process at a time.

    ModelError where the folder is unfinished, what was fetched cannot be trusted, or the disk is full.
    """
    if found := read(slug):
        return found
    folder = place(slug)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _locked(folder.parent / f".{slug}.lock", slug, say):
        if found := read(slug):
            return found
        if folder.exists():
            raise ModelError(f"no finished cache entry ({NOTE} is missing).", where=str(folder), remedy="Delete it.")
        for name in (slug, f".{slug}"):  # the second of an earlier version
            files.sweep_beside(folder.with_name(name))
        with _full_disk_reported(folder.parent), files.whole_folder(folder) as part:
            got = fill(part)
            check_weights(part)
            origin = got.source.partition("@")[0]  # a new revision of the same bytes is the same model
            found = ModelFiles(name, folder, content_digest(part, origin), got.source, got.licence)
            note = {key: str(value) for key, value in asdict(found).items() if key != "folder"}
            files.write_json(part / NOTE, note)
        return found


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
def _full_disk_reported(folder: Path) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:  # RuntimeError: the hub's Xet storage
        if not files.is_full(error):
            raise
        raise no_space(folder, "more than there is") from error
