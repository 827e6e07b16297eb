"""Notes as rows that a task's data take up: corrections as examples, thumbs as preferences.

A row goes to everyone who may read the team's data, and a model that learns it reveals it to everyone who may ask. So a note of
an asker who may see restricted documents is never written, nor one about a document that is restricted now.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from rung import files
from rung.climbing.inputs import read_documents
from rung.climbing.project import Project
from rung.data.drawn import DRAWN
from rung.errors import TaskError
from rung.retrieve import knowledge
from rung.serve.feedback.notes import Note, Notes
from rung.task import Task

NAME = "feedback"
"""Column that names the note behind a row."""
RESTRICTED = "their askers may see restricted documents, or a document behind the answer is restricted"
NOTHING = "neither a correction nor a thumb that says what is right"
TURNS = "they have earlier turns, which this file has no column for: name a .jsonl file, and leave data.input and data.output out"
JSON = "the correction is not JSON, as kind: extract needs it"

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Written:
    """What was written."""

    examples: int
    preferences: int
    left: Mapping[str, int]
    """Notes that were not written, by the reason."""


def write(project: Project, to: Path, preferences: Path) -> Written:
    """Add what was said since the last time to two files; each is created where it is not there.

    TaskError where a file is there that this function did not begin: nothing of the team's is changed.
    """
    notes = Notes(project.store.folder)
    if not notes.path.exists():
        return Written(0, 0, {})
    with FileLock(project.store.folder / "feedback.lock"):
        restricted = _restricted(project.task)
        examples: list[Row] = []
        pairs: list[Row] = []
        left: Counter[str] = Counter()
        found = notes.unwritten()
        for note in found:
            why, example, preference = _rows(project.task, to, note, restricted)
            left.update(why)
            examples += example
            pairs += preference
        count = _add(to, examples), _add(preferences, pairs)
        notes.mark_written(found)
    return Written(*count, dict(left))


def _restricted(task: Task) -> Callable[[str], str]:
    """From a document's path to its label now."""
    return knowledge.labels(read_documents(task)) if task.data.access else lambda path: ""


def _rows(task: Task, to: Path, note: Note, restricted: Callable[[str], str]) -> tuple[list[str], list[Row], list[Row]]:
    """Why a note gives nothing, else its example and its preference."""
    cited = [str(one["document"]) for one in note.about.get("citations") or ()]
    if note.access or any(map(restricted, cited)):
        return [RESTRICTED], [], []
    said = note.about.get("guess") or note.answer  # an approved guess was right
    right = note.correction or (said if note.rating == "up" and task.kind == "classify" else "")
    example = _example(task, to, note, right) if right else None
    preference = _preference(task, note)
    if isinstance(example, str):
        return [example], [], [preference] if preference else []
    why = [] if example or preference else [NOTHING]
    return why, [example] if example else [], [preference] if preference else []


def _example(task: Task, to: Path, note: Note, right: str) -> Row | str:
    """A row in the form of the task's data; why there is none where it cannot be one."""
    if task.kind == "extract" and not _is_json(right):
        return JSON
    question, history = note.messages[-1], note.messages[:-1]
    named = bool(task.data.model_fields_set & {"input", "output"})
    row: Row = {}
    if to.suffix == ".jsonl" and not named:
        turns = [*history, question]
        row["messages"] = [*(turn.fields for turn in turns), {"role": "assistant", "content": right}]
    elif history and note.about.get("messages_read") != 1:
        return TURNS
    else:
        row |= {task.data.input: question.content, task.data.output: right}
    if task.data.group:
        row[task.data.group] = note.user or note.name
    if task.data.source:
        row[task.data.source] = ""  # what a corrected answer cited need not be where the right one stands
    return row | {DRAWN: NAME, NAME: note.name}  # asked and corrected with an answer in view: to train on, not to measure on


def _preference(task: Task, note: Note) -> Row | None:
    """A pair where there is a correction, else a vote; none of a label, of which the example says all."""
    if task.kind == "classify" or note.about.get("abstained") or not note.answer.strip():
        return None
    turns = [turn.fields for turn in note.messages]
    prompt: Any = turns if len(turns) > 1 else note.messages[-1].content
    if note.correction and note.correction.strip() != note.answer.strip():
        return {"prompt": prompt, "chosen": note.correction, "rejected": note.answer, NAME: note.name}
    if note.rating in ("up", "down"):
        return {"prompt": prompt, "completion": note.answer, "label": note.rating, NAME: note.name}
    return None


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


# --- files ------------------------------------------------------------------------------------------------------------


def _add(path: Path, rows: Sequence[Row]) -> int:
    """Add rows to a file of ours; those that it has already are left out. Returns how many were added."""
    if not rows:
        return 0
    before = path.read_bytes().decode("utf-8") if path.exists() else ""
    table = path.suffix == ".csv"
    known = _known_in_table(path, before, rows[0]) if table else _known_in_lines(path, before)
    new = [row for row in rows if row[NAME] not in known]
    if new:
        gap = "" if not before or before.endswith("\n") else "\n"
        files.write_text(path, before + gap + (_table(new, not before) if table else _lines(new)))
    return len(new)


def _known_in_table(path: Path, text: str, row: Row) -> set[str]:
    lines = csv.DictReader(io.StringIO(text))
    if text and list(lines.fieldnames or ()) != list(row):
        raise _foreign(path, f"its columns are {', '.join(lines.fieldnames or ())}, not {', '.join(row)}")
    return {line[NAME] for line in lines}


def _known_in_lines(path: Path, text: str) -> set[str]:
    try:
        found = [json.loads(line) for line in text.splitlines() if line.strip()]
        return {str(one[NAME]) for one in found}
    except (ValueError, KeyError, TypeError):
        raise _foreign(path, f"its lines are not JSON objects with {NAME!r}") from None


def _foreign(path: Path, why: str) -> TaskError:
    return TaskError(f"it is not a file of rung feedback: {why}.", where=str(path), remedy="Name a file that is not there yet.")


def _table(rows: Sequence[Row], head: bool) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    if head:
        writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _lines(rows: Sequence[Row]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
