"""Data folders: which files hold rows, and for which split. Caches and metadata are skipped."""

from __future__ import annotations

import json
import re
from collections.abc import Collection
from pathlib import Path

from rung.data.rows import quoted
from rung.errors import DataError
from rung.types import Split

SPLIT_NAMES: dict[str, Split] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "validation", "valid", "val", "eval"), "dev"),
    **dict.fromkeys(("test", "testing"), "test"),
}
STATE = "state.json"
"""Written by `Dataset.save_to_disk`; lists the data files."""
NOTES = {"dataset_info.json", "dataset_dict.json", "dataset_infos.json", STATE}
_NUMBERED = re.compile(r"(.*?)-?(\d{5})-of-(\d{5})(?:-[0-9a-f]{16})?(\..*)")
"""`datasets` puts a hash of its content behind the number of each file."""
_CACHE = re.compile(r"(?:cache-[0-9a-f]{8,}(?:_\d+_of_\d+)?|tmp\w{8})\.arrow")
"""Cache files of `datasets` for map and filter."""


def data_files(folder: Path, endings: Collection[str]) -> list[Path]:
    """Files under `folder` with one of `endings` that may hold rows, sorted by name.

    Skips hidden files, spreadsheet lock files, Hugging Face metadata and caches, and files that an existing state.json does
    not list. DataError if it lists a missing file or a selection of rows.
    """
    files = sorted(p for p in folder.rglob("*") if p.is_file() and not _is_hidden(p, folder) and p.name not in NOTES)
    stated = {path.parent: _stated(path) for path in folder.rglob(STATE) if not _is_hidden(path, folder)}
    return [p for p in files if p.suffix.lower() in endings and _is_data(p, stated.get(p.parent))]


def _is_data(path: Path, stated: Collection[str] | None) -> bool:
    return not _CACHE.fullmatch(path.name) if stated is None else path.name in stated


def _stated(path: Path) -> frozenset[str] | None:
    """File names listed in a state.json; None if another program wrote it."""
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise DataError("this is not valid JSON.", where=str(path), remedy="It is damaged; save the dataset again.") from None
    if not isinstance(state, dict) or not isinstance(state.get("_data_files"), list):
        return None
    if state.get("_indices_files") or state.get("_indices_data_files"):
        raise DataError(
            "the dataset selects rows of its files, in the format of an older version of `datasets`.",
            where=str(path),
            remedy="Write it with flatten_indices() before save_to_disk().",
        )
    names = set()
    for file in state["_data_files"]:
        name = file.get("filename") if isinstance(file, dict) else None
        if not isinstance(name, str) or not (path.parent / name).is_file():
            raise DataError(
                f"it lists the file {quoted(name)}, which does not exist.",
                where=str(path),
                remedy="Copy the whole folder, or save the dataset again.",
            )
        names.add(name)
    return frozenset(names)


def shards(folder: Path, endings: Collection[str]) -> dict[Split | None, list[Path]]:
    """Data files of a Hugging Face style folder, by the split in their file or folder name.

    The key None holds all if no name contains a split. DataError if only some names do.
    """
    files = data_files(folder, endings)
    kinds = {p.suffix.lower() for p in files}
    kinds -= {".json"} if len(kinds) > 1 else set()  # beside data, json is a list of labels or a config
    if len(kinds) != 1:
        found = f"files of several kinds ({', '.join(sorted(kinds))})" if kinds else "no readable file"
        raise DataError(
            f"the folder holds {found}.", where=str(folder), remedy=f"Name one file, or keep one of {', '.join(endings)}."
        )
    _refuse_incomplete(files, folder)
    _refuse_configs(folder, files)
    by_split: dict[Split | None, list[Path]] = {}
    for path in files:
        if path.suffix.lower() in kinds:
            by_split.setdefault(_split_of(path.relative_to(folder)), []).append(path)
    if None in by_split and len(by_split) > 1:
        raise DataError(
            f"the name of {quoted(by_split[None][0].name)} contains no split, but those of other files do.",
            where=str(folder),
            remedy="Name the files under data.train, data.dev and data.test.",
        )
    return by_split


def _refuse_incomplete(files: Collection[Path], folder: Path) -> None:
    """DataError where of files numbered like train-00000-of-00003 some are missing: rows of a partial copy are no sample."""
    there: dict[tuple[Path, str, int], set[int]] = {}
    for path in files:
        if found := _NUMBERED.fullmatch(path.name):
            place = (path.parent, f"{found[1]}-of-{found[3]}{found[4]}", int(found[3]))
            there.setdefault(place, set()).add(int(found[2]))
    for (parent, name, count), numbers in there.items():
        if missing := sorted(set(range(count)) - numbers):
            shown = ", ".join(map(str, missing[:6])) + ", …" * (len(missing) > 6)
            raise DataError(
                f"of the {count} files {name} {len(missing)} are missing: number {shown}.",
                where=str(parent),
                remedy="Copy or download the whole folder.",
            )


def _refuse_configs(folder: Path, files: Collection[Path]) -> None:
    """DataError where the card names several configs with files here: different data, or the same rows in other forms."""
    card = folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    head = re.match(r"---\s*\n(.*?)\n---", text, re.DOTALL)
    stated = re.findall(r"^\s*-?\s*config_name:\s*(\S+)", head[1].partition("configs:")[2], re.MULTILINE) if head else []
    parts = {part for path in files for part in path.relative_to(folder).parts}
    names = [name for name in dict.fromkeys(stated) if name in parts]
    if len(names) > 1:
        raise DataError(
            f"the dataset has the configs {', '.join(names)}.",
            where=str(folder),
            remedy="Name the folder or the files of one under data.examples, or under data.train, data.dev and data.test.",
        )


def _is_hidden(path: Path, folder: Path) -> bool:
    return path.name.startswith("~$") or any(part.startswith(".") for part in path.relative_to(folder).parts)


def _split_of(path: Path) -> Split | None:
    for part in (path.stem, *reversed(path.parent.parts)):
        for word in re.split(r"[^A-Za-z]+|(?<=[a-z])(?=(?:Data|Set|Split|Rows)\b)", part):
            name = re.sub(r"(?:set|data|split|rows)$", "", word.lower())
            if name in SPLIT_NAMES:
                return SPLIT_NAMES[name]
    return None
