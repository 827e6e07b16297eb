"""What a person typed, as an action: a label by number, name or search, an answer, or a command."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rung import label_sets
from rung.data.spelling import match_label
from rung.errors import DataError
from rung.types import Kind

Command = Literal["undo", "skip", "unanswerable", "quit", "help", "edit", "all"]
COMMANDS: Mapping[str, Command] = {
    "u": "undo",
    "s": "skip",
    "x": "unanswerable",
    "q": "quit",
    "?": "help",
    "e": "edit",
    "a": "all",
}
MAX_FOUND = 9
"""Labels shown for a search."""


@dataclass(frozen=True, slots=True)
class Action:
    """One of: an answer, a command, labels found by a search, or a fault."""

    answer: str = ""
    command: Command | None = None
    found: tuple[str, ...] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Answers:
    """What may be answered."""

    kind: Kind
    labels: tuple[str, ...] = ()
    """The labels of a classify task."""
    closed: bool = False
    """Whether rung.yaml names the labels, so that no other may be added."""
    several: bool = False
    """Whether an answer may have several labels, or none."""

    @property
    def numbered(self) -> bool:
        """Whether labels are chosen by number; not if some are numbers themselves."""
        return not any(label.isdigit() for label in self.labels)


def read(text: str, answers: Answers, shown: Sequence[str] = (), proposal: str = "") -> Action:
    """The action of a line. `shown`: the labels on the screen, numbered from 1.

    An empty line accepts the proposal. A command is a colon and its letter; where labels are chosen the letter is enough.
    """
    line = text.strip()
    if not line:
        return Action(proposal) if proposal else Action(fault="Nothing was typed.")
    if line[0] == ":" and line[1:] in COMMANDS:
        return Action(command=COMMANDS[line[1:]])
    if answers.kind == "classify":
        return _label_set(line, answers, shown) if answers.several else _label(line, answers, shown)
    return Action(fault=fault) if answers.kind == "extract" and (fault := _json_fault(line)) else Action(line)


NONE = "0"
"""Typed where a row may have several labels and has none of them."""


def _label_set(line: str, answers: Answers, shown: Sequence[str]) -> Action:
    """Labels separated by commas, each as it is typed alone. A search or a fault in one of them is that of the line."""
    if line == NONE and NONE not in answers.labels:
        return Action(label_sets.dump(()))
    found = [_label(part, answers, shown) for one in line.split(",") if (part := one.strip())]
    if len(found) == 1 and not found[0].answer:
        return found[0]
    if odd := next((one for one in found if not one.answer), None):
        return Action(found=odd.found) if odd.found else Action(fault=odd.fault or "A command stands alone.")
    return Action(label_sets.dump([one.answer for one in found], answers.labels)) if found else Action(fault="Nothing was typed.")


def _label(line: str, answers: Answers, shown: Sequence[str]) -> Action:
    labels = answers.labels
    if line in labels:
        return Action(line)
    if answers.numbered and line.isascii() and line.isdigit() and 1 <= int(line) <= len(shown):
        return Action(shown[int(line) - 1])
    if line in COMMANDS:
        return Action(command=COMMANDS[line])
    if line[0] == "+" and (new := line[1:].strip()):
        return Action(fault="rung.yaml names the labels; add it there first.") if answers.closed else Action(new)
    if named := match_label(line, labels):
        return Action(named)
    found = search(line.removeprefix("/").strip(), labels)
    hint = "" if answers.closed else " To add a new label, type + before it."
    return Action(found=found) if found else Action(fault=f"No label is like that.{hint}")


def search(text: str, labels: Sequence[str]) -> tuple[str, ...]:
    """The labels that a text may mean, best first: those that contain it, else those spelled alike."""
    from rapidfuzz import fuzz, process, utils

    folded = text.casefold()
    inside = [label for label in labels if folded in label.casefold()]
    if inside:
        return tuple(sorted(inside, key=lambda label: (not label.casefold().startswith(folded), labels.index(label)))[:MAX_FOUND])
    near = process.extract(text, labels, scorer=fuzz.WRatio, processor=utils.default_process, limit=MAX_FOUND, score_cutoff=75)
    return tuple(label for label, _, _ in near)


def _json_fault(line: str) -> str:
    from rung.data.json_rows import refuse_repeated_keys
    from rung.metrics.extract import fields

    if fields(line) is not None:
        try:
            refuse_repeated_keys(line, "")
        except DataError as error:
            return str(error)
        return ""
    try:
        json.loads(line)
    except ValueError as error:
        return f"This is not JSON: {error}."
    return "This is JSON, but not an object of fields."
