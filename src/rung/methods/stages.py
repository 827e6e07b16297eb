"""Parts of one fit that are trained one after another: a fit that is killed in a later one finds the earlier ones done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rung import files
from rung.lm.models.fits import link
from rung.methods.base import Run

FILES, NOTES = "files", "notes.json"


def once(run: Run, name: str, make: Callable[[Path, Path], dict[str, Any]]) -> tuple[Path, dict[str, Any]]:
    """The folder `name` of a fit, and the notes of what made it.

    `make`: fills the folder that it is given; its checkpoints belong in the second one, and its notes are JSON.
    """
    done, target = run.folder / "work" / f"{name}{files.DONE}", run.folder / name
    if not done.is_dir():
        with files.whole_folder(done) as part:
            (part / FILES).mkdir()
            files.write_json(part / NOTES, make(part / FILES, run.folder / "work" / name))
    shutil.rmtree(target, ignore_errors=True)  # of an earlier attempt
    shutil.copytree(done / FILES, target, copy_function=link)
    return target, json.loads((done / NOTES).read_text(encoding="utf-8"))
