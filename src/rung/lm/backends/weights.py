"""Weights of served models in the forms that backends load, made once under `home()` and named by their content."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from rung import files
from rung.errors import ModelError
from rung.home import home
from rung.lm.export.merged import bytes_of, merged
from rung.types import digest

FOLDER = "served"
KEPT = 6
"""Files that are kept; of more, those used longest ago go."""
UNUSED = 86_400.0
"""Seconds for which a file must not have been used before it goes: another server may be about to load it."""
VERSION = 1
"""Raise when the same weights are written otherwise."""


def gguf(base: Path, base_digest: str, fitted: str, fitted_digest: str, kind: str) -> Path:
    """The GGUF file of a base with what is fitted on it merged in; `kind` as `rung.lm.export.gguf_file` has them.

    ModelError for what cannot be merged or has no such form, and where the disk has no room.
    """
    from rung.lm.export import gguf_file

    folder = home() / FOLDER
    path = folder / f"{digest([VERSION, base_digest, fitted_digest, kind])[:32]}-{kind}.gguf"
    if path.exists():
        path.touch()
        return path
    folder.mkdir(parents=True, exist_ok=True)
    needed, free = bytes_of(base, fitted), shutil.disk_usage(folder).free
    if free < needed:
        raise ModelError(
            f"the disk is too full for the model as GGUF: up to {needed / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free.",
            where=str(folder),
            remedy="Make room, or serve with --engine own.",
        )
    with files.whole(path) as part:
        gguf_file.write(merged(base, fitted, kind), part, kind, path.stem)
    _drop_old(folder)
    return path


def _drop_old(folder: Path) -> None:
    """Remove what was used longest ago beyond `KEPT`."""
    found = sorted(folder.glob("*.gguf"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found[KEPT:]:
        if time.time() - path.stat().st_mtime > UNUSED:
            path.unlink(missing_ok=True)
