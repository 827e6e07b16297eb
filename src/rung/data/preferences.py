"""Loads preferences (answer pairs or single votes), and holds out a share by question."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from rung.data.files import READERS, read_rows
from rung.data.folders import data_files
from rung.data.formats import last_exchange, messages, refuse_surrogates, text_of
from rung.data.rows import MAX_FAULTS, Row, combine, quoted
from rung.data.spelling import key
from rung.data.split import question
from rung.errors import DataError
from rung.types import Example, Message, Preference

PAIR, VOTE = ("chosen", "rejected"), ("prompt", "completion", "label")
VOTES = {"1": True, "true": True, "good": True, "yes": True, "up": True} | {
    "0": False,
    "-1": False,
    "false": False,
    "bad": False,
    "no": False,
    "down": False,
}
_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")


def load(folder: Path, given: Iterable[str], source: str | None = None) -> tuple[Preference, ...]:
    """All rows of the files named in rung.yaml, relative to `folder`.

    `source`: column that names the document behind a row; files may lack it.

    A row is a pair (prompt, chosen, rejected), the two being answers, or whole conversations with or without the prompt
    named beside them, as message lists or as `Human: … Assistant: …` transcripts; or it is a vote (prompt, completion,
    label). DataError names file, line, value and remedy; several bad rows are one error.
    """
    files = [file for label in given for file in _files(folder / label, label)]
    return tuple(one for path, label in files for one in _file(path, label, source))


def split_holdout(
    preferences: Iterable[Preference], share: float, seed: int
) -> tuple[tuple[Preference, ...], tuple[Preference, ...]]:
    """Split preferences into training and about `share` for measuring. Answers to one question stay together.

    The split is a hash of the question, so new rows never move old ones.
    """
    learnt: list[Preference] = []
    held: list[Preference] = []
    for one in preferences:
        (held if _place(one, seed) < share else learnt).append(one)
    return tuple(learnt), tuple(held)


def as_example(preference: Preference, answer: str = "") -> Example:
    """The question as an Example, for rendering."""
    return Example(preference.input, answer, preference.history, where=preference.where)


def _place(one: Preference, seed: int) -> float:
    name = f"{seed}\0preference\0{question(as_example(one))}"
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7]) / 2**56


def _files(path: Path, label: str) -> list[tuple[Path, str]]:
    """A file, or those of a folder, each with its label."""
    if not path.is_dir():
        return [(path, label)]
    found = data_files(path, READERS)
    if not found:
        raise DataError("the folder holds no readable file.", where=label, remedy=f"Give one of {', '.join(READERS)}.")
    return [(p, str(Path(label) / p.relative_to(path))) for p in found]


def _file(path: Path, label: str, source: str | None) -> Iterator[Preference]:
    faults: list[DataError] = []
    rows = 0
    try:
        for row, where in read_rows(path, label):
            rows += 1
            try:
                found = _preference(row, where)
                yield replace(found, source=text_of(row[source], where).strip()) if source and source in row else found
            except DataError as fault:
                faults.append(fault)
                if len(faults) == MAX_FAULTS:
                    break
    except DataError as fault:  # of the file, or of rows its reader could not parse
        faults.append(fault)
    if faults:
        raise combine(faults, label)
    if not rows:
        raise DataError("there are no rows.", where=label, remedy="Use a file with rows.")


def _preference(row: Row, where: str) -> Preference:
    if set(PAIR) <= set(row):
        return _pair(row, where)
    if set(VOTE) <= set(row):
        return _vote(row, where)
    raise DataError(
        f"the columns {', '.join(map(repr, row))} are neither a pair nor a vote.",
        where=where,
        remedy="Use prompt, chosen and rejected; or prompt, completion and label.",
    )


def _pair(row: Row, where: str) -> Preference:
    sides = [_conversation(row.get("prompt"), row[name], name, where) for name in PAIR]
    (history, asked, better), (other_history, other_asked, worse) = sides
    if (history, asked) != (other_history, other_asked):
        raise DataError(
            f"chosen answers {quoted(asked)} and rejected {quoted(other_asked)}, which is a different question or history.",
            where=where,
            remedy="Both must answer the same question: they may differ in the last answer only.",
        )
    if better == worse:
        raise DataError(f"chosen and rejected are the same: {quoted(better)}.", where=where, remedy="Delete the row.")
    return Preference(asked, better, worse, history, where)


def _vote(row: Row, where: str) -> Preference:
    said = key(text_of(row["label"], where))
    if said not in VOTES:
        raise DataError(
            f"the label is {quoted(row['label'])}, which is not a vote.", where=where, remedy=f"Write one of {', '.join(VOTES)}."
        )
    history, asked, answer = _conversation(row["prompt"], row["completion"], "completion", where)
    return Preference(asked, answer if VOTES[said] else "", "" if VOTES[said] else answer, history, where)


def _conversation(prompt: Any, answer: Any, name: str, where: str) -> tuple[tuple[Message, ...], str, str]:
    """History, question and answer of one side; `prompt` may be missing if the answer is a whole conversation."""
    turns = _turns(answer, "assistant", where)
    if not _whole(turns):
        if prompt is None:
            raise DataError(
                f"there is no prompt, and {name} is not a conversation: {quoted(answer)}.",
                where=where,
                remedy="Add a column prompt, or write the whole conversation.",
            )
        turns = (*_turns(prompt, "user", where), *turns)
    if turns[-1].role != "assistant":
        raise DataError(
            f"{name} ends with {quoted(turns[-1].content)}, said by the {turns[-1].role}.",
            where=where,
            remedy="It must end with the answer to be compared.",
        )
    history, asked, said, after = last_exchange(turns, where)
    if after:
        raise DataError(
            "there are tool calls between the question and the answers.",
            where=where,
            remedy="Preferences need answers that directly follow a user message.",
        )
    for what, text in (("question", asked), (name, said)):
        if not text.strip():
            raise DataError(f"the {what} is empty.", where=where, remedy="Fill it, or delete the row.")
        refuse_surrogates(text, where)
    return history, asked, said


def _whole(turns: Collection[Message]) -> bool:
    return any(turn.role == "user" for turn in turns)


def _turns(value: Any, role: str, where: str) -> tuple[Message, ...]:
    """Messages of a list or transcript; plain text is one message of `role`."""
    if isinstance(value, str) and value.lstrip().startswith("Human:"):
        parts = _TURN.split(value.strip())[1:]
        roles = {"Human": "user", "Assistant": "assistant"}
        return tuple(Message(roles[who], text.strip()) for who, text in zip(parts[::2], parts[1::2]))
    return messages(value, role, where)
