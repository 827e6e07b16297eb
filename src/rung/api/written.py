"""A task given in Python as a task folder: rung.yaml and its rows, each file written whole or not at all."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from rung import files
from rung.errors import RungError, TaskError
from rung.task.faults import all_faults
from rung.task.loading import FILE_NAME, load_task
from rung.task.reading import read_value
from rung.task.schema import Task as Settings
from rung.types import digest

HOME = Path("rung-tasks")
"""Where tasks without a folder of their own are written, in the working folder."""
LONGEST = 48
"""Characters of an instruction that name its folder."""
OURS = re.compile(r"\A# Written by rung\.Task \((\w+)\)[^\n]*\n")

UNREADABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""Characters that YAML reads as line ends, or refuses."""


def default_folder(instruction: str) -> Path:
    """The folder of an instruction: the same words always lead to the same one, so that a climb resumes."""
    words = "-".join(re.findall(r"\w+", instruction.lower()))
    name = words if 0 < len(words) <= LONGEST else f"{words[:LONGEST].strip('-') or 'task'}-{digest(instruction)[:8]}"
    return HOME / name


def write(folder: Path, content: Mapping[str, Any], tables: Mapping[str, Sequence[Mapping[str, Any]]]) -> Settings:
    """Write rung.yaml and `data/<name>.jsonl` for each table, and read the task back.

    Rows come first and rung.yaml last; files that are already right are not touched. TaskError for settings that
    rung.yaml could not have, and for files that rung.Task did not write.
    """
    text = _checked(content)
    path = folder / FILE_NAME
    ours = _refuse_edited(path)
    parts = {folder / "data" / f"{name}.jsonl": _lines(rows) for name, rows in tables.items()}
    for part, lines in parts.items():
        if not ours and part.exists() and part.read_text(encoding="utf-8") != lines:
            raise TaskError("rung.Task did not write this file.", where=str(part), remedy="Give another folder=.")
    body = f"# Written by rung.Task ({digest(text)[:12]}): change the task in Python, not here.\n{text}"
    for place, wanted in (*parts.items(), (path, body)):
        if not place.exists() or place.read_text(encoding="utf-8") != wanted:
            files.write_text(place, wanted)
    return load_task(folder)


def _refuse_edited(path: Path) -> bool:
    """Whether rung.yaml is there and was written from here. TaskError if somebody else wrote or edited it."""
    if not path.exists():
        return False
    text = path.read_text(encoding="utf-8", errors="replace")
    mark = OURS.match(text)
    if mark and mark[1] == digest(text[mark.end() :])[:12]:
        return True
    what = "it was edited after rung.Task wrote it." if mark else "there is already a task that rung.Task did not write."
    raise TaskError(what, where=str(path), remedy="Read it with rung.Task.load, or give another folder=.")


def _checked(content: Mapping[str, Any]) -> str:
    """The settings as YAML; all their faults in one TaskError."""
    try:
        text = "".join(f"{key}: {_yaml(value)}\n" for key, value in content.items())
        text.encode()
    except (TypeError, ValueError) as error:
        raise TaskError(f"a setting cannot be written to rung.yaml: {error}.", where="rung.Task") from None
    tree = yaml.compose(text)
    assert isinstance(tree, yaml.MappingNode)
    try:
        Settings.model_validate(read_value(text, "rung.Task"))
    except ValidationError as error:
        raise _without_lines(all_faults(error, tree, "rung.Task", Settings)) from None
    return text


def _yaml(value: Any) -> str:
    """A value as JSON, which is YAML too once the characters that YAML would misread are escaped."""
    return UNREADABLE.sub(lambda found: f"\\U{ord(found[0]):08x}", json.dumps(value, ensure_ascii=False, allow_nan=False))


def _without_lines(fault: RungError) -> TaskError:
    """A fault of the file that would have been written, without its lines."""
    what = re.sub(r"^  line \d+: ", "  ", fault.what, flags=re.MULTILINE)
    return TaskError(what, where="rung.Task", remedy=fault.remedy)


def _lines(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
