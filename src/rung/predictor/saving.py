"""A Predictor in a folder: saving and loading."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rung import files, rows
from rung.errors import RungError
from rung.lm.base import Decoding, ModelRef
from rung.lm.inference.thinking import Thinking
from rung.lm.models.fits import link
from rung.predictor.answering import Predictor
from rung.predictor.value import Calibration, Cascade, Demos, Threshold
from rung.retrieve.browse import Limits
from rung.retrieve.lookup import Lookup, TunedReranker
from rung.retrieve.search import Settings
from rung.tools import Tools
from rung.types import digest

FILE = "predictor.json"
FOLDERS = ("model", "demos", "lookup", "reranker")
"""Parts of a Predictor that have files; each is saved in a folder of that name."""


THEN = "then"
"""Folder of the second Predictor of a cascade."""


def save(
    predictor: Predictor,
    folder: Path,
    beside: Mapping[str, str] | None = None,
    finish: Callable[[Path], object] = lambda written: None,
    replacing: AbstractContextManager[object] | None = None,
) -> None:
    """Write the Predictor, copies of its files and the text files `beside` to a folder, atomically.

    `finish`: called with the folder before it is renamed into place. `replacing`: entered for the renaming alone.
    RungError for a calibration of another Predictor.
    """
    with files.whole_folder(folder, replacing) as part:
        _write(predictor, part, folder)
        for name, text in (beside or {}).items():
            files.write_text(part / name, text)
        finish(part)


def _write(predictor: Predictor, part: Path, folder: Path) -> None:
    """Write into `part`, which will be `folder`; the second of a cascade into a folder of its own in it."""
    plain = replace(predictor, calibration=None, threshold=None, cascade=None)
    if predictor.calibration and predictor.calibration.of != plain.digest:
        raise RungError(
            "a method after the calibration changed the prompt or the model, so the calibration is no longer valid.",
            where="rungs",
            remedy="Put the calibration last in the rung.",
        )
    content = asdict(predictor)
    for name, given in _with_files(content).items():
        shutil.copytree(given["files"], part / name, copy_function=link)
        given["files"] = name
    if predictor.lookup and "://" not in predictor.lookup.index:  # the task may be moved
        content["lookup"]["index"] = os.path.relpath(predictor.lookup.index, folder)
    if then := predictor.then:
        (part / THEN).mkdir()
        _write(then, part / THEN, folder / THEN)
        content["cascade"]["then"] = THEN
    files.write_json(part / FILE, content)


def load(folder: Path) -> Predictor:
    """Read a saved Predictor; its files are used in place. RungError if it is none, or if files are outside the folder."""
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RungError(f"this is not a saved Predictor: {error}.", where=str(folder), remedy="Fit it again.") from error
    for name, given in _with_files(content).items():
        if (lies := given["files"]) != name:
            raise RungError(f"its files are outside the folder: {lies!r}.", where=str(folder / FILE), remedy="Fit it again.")
        given["files"] = str(folder / name)
    if (looked := content.get("lookup")) and "://" not in looked["index"]:
        looked["index"] = os.path.normpath(folder / looked["index"])  # older versions wrote an absolute path
    demos = content.pop("demos")
    return Predictor(
        **{
            **content,
            "model": ModelRef(**content["model"]),
            "labels": tuple(content["labels"]),
            "label_set": tuple(content.get("label_set", ())),
            "descriptions": tuple(content["descriptions"]),
            "taught": tuple(map(rows.example, content.get("taught", ()))),
            "decoding": Decoding(**content["decoding"]),
            "lookup": _lookup(content.get("lookup")),
            "tools": Tools(**listed) if (listed := content.get("tools")) else None,
            "thinking": Thinking(**thought) if (thought := content.get("thinking")) else None,
            "calibration": Calibration(tuple(bent["bias"]), bent["of"]) if (bent := content.get("calibration")) else None,
            "threshold": Threshold(**cut) if (cut := content.get("threshold")) else None,
            "cascade": _cascade(content.get("cascade"), folder),
            "demos": Demos(
                **{**demos, "fixed": tuple(map(rows.example, demos["fixed"])), "pool": tuple(map(rows.example, demos["pool"]))}
            ),
        }
    )


def _with_files(content: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The parts of a Predictor's content that have files, by the name of their folder."""
    parts = content | {"reranker": (content.get("lookup") or {}).get("reranker")}
    return {name: parts[name] for name in FOLDERS if (parts.get(name) or {}).get("files")}


def _cascade(content: dict | None, folder: Path) -> Cascade | None:
    return Cascade(Threshold(**content["cut"]), load(folder / THEN)) if content else None


def folder_digest(folder: Path) -> str:
    """Content digest of a folder's files."""
    return digest([[str(Path(name)), content] for name, content in files.contents(folder).items()])


def _lookup(content: dict | None) -> Lookup | None:
    if content is None:
        return None
    limits = Limits(**found) if (found := content.get("browse")) else None
    settings = Settings(**{**(how := content["settings"]), "legs": tuple(how["legs"])})
    reranker = TunedReranker(**found) if (found := content.get("reranker")) else None
    return Lookup(**{**content, "settings": settings, "browse": limits, "reranker": reranker})
