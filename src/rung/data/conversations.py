"""Conversations as rows: their exchanges, rows that continue others, and the turns that are scored.

An exchange is a user's turn and the assistant's answer to it, with calls of tools between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from statistics import median

from rung import calls
from rung.data.finding import Finding, Parts, first_places
from rung.data.question import question
from rung.types import Example, Kind, Message, digest

Rows = Sequence[tuple[Example, ...] | None]
BEGUN = "begun by "
"""What the group of rows of which one continues another is named by, with the question of the shortest behind it."""
TEXTS: tuple[Kind, ...] = ("answer", "generate")
"""Kinds whose earlier answers are like the last one. Where a conversation is classified, they are not."""


def exchanges(row: Example) -> tuple[Example, ...]:
    """Each answer of a conversation as a row of its own, with the turns before it; the row itself comes last.

    An earlier turn of the assistant that answers no user (a greeting), calls a tool, or is not to be learnt is context alone.
    """
    return (*_earlier(row), row)


def is_conversation(row: Example) -> bool:
    """Whether an answer of the assistant stands among the earlier turns."""
    return any(turn.role == "assistant" for turn in row.history)


def _earlier(row: Example) -> Iterator[Example]:
    for at, turn in enumerate(row.history):
        if turn.role != "assistant" or _of_tools(turn) or not turn.content.strip() or not turn.is_taught:
            continue
        asked = at - 1
        while asked > 0 and _of_tools(row.history[asked]):
            asked -= 1
        if asked >= 0 and row.history[asked].role == "user" and row.history[asked].content.strip():
            yield Example(
                row.history[asked].content,
                turn.content,
                row.history[:asked],
                row.group,
                f"{row.where} turn {at + 1}",
                row.extra,
                after=row.history[asked + 1 : at],
            )


def _of_tools(turn: Message) -> bool:
    return turn.role == "tool" or (turn.role == "assistant" and calls.KEY in turn.fields)


def scored_turns(rows: Iterable[Example]) -> tuple[Example, ...]:
    """Every answer of the assistant as a row; those of one conversation are a group: they are not independent."""
    out: list[Example] = []
    for row in rows:
        turns = exchanges(row)
        name = row.group or f"conversation {row.id}"
        out += (replace(turn, group=name) for turn in turns) if len(turns) > 1 else turns
    return tuple(out)


# --- rows that continue others ----------------------------------------------------------------------------------------


def join_conversations(parts: Rows) -> tuple[list[tuple[Example, ...] | None], tuple[Finding, ...]]:
    """Rows whose conversation goes on in another row, and rows with their questions, are a group and so in one split.

    Rows that name a group keep it. The question of the shortest row names the group, and its split is that of this question
    alone: a row that continues a conversation never moves it, not even the first.
    """
    rows = [row for some in parts for row in some or () if not row.group]
    if not any(map(is_conversation, rows)):
        return list(parts), ()
    roots = _roots(rows)
    if not roots:
        return list(parts), ()
    out = [None if some is None else tuple(_grouped(row, roots) for row in some) for some in parts]
    where = [row.where for row in rows if id(row) in roots]
    return out, (
        Finding(
            "conversations-joined",
            "note",
            f"{len(where)} rows are conversations of which one goes on in another, or ask the same as one: they stay in one"
            " split.",
            "",
            first_places(where),
            len(where),
        ),
    )


def _grouped(row: Example, roots: dict[int, str]) -> Example:
    return replace(row, group=roots[id(row)]) if id(row) in roots else row


def _roots(rows: Sequence[Example]) -> dict[int, str]:
    """The group of each row that continues another, is continued, or has the question of such a row."""
    link: dict[str, str] = {}

    def root(name: str) -> str:
        while (above := link.setdefault(name, name)) != name:
            link[name] = link[above]  # halves the way for the next search
            name = above
        return name

    chains = [_chain(row) for row in rows]
    ends = {chain[-1] for chain in chains}
    asked = [f"question {question(row)}" for row in rows]
    continued = []
    for own, chain in zip(asked, chains):
        before = [one for one in chain[:-1] if one in ends]
        continued += [own] if before else []
        for one in (*before, chain[-1]):
            link[root(one)] = root(own)
    joined, names = {root(own) for own in continued}, dict[str, str]()
    for row, own in sorted(zip(rows, asked), key=lambda pair: len(pair[0].history)):
        names.setdefault(root(own), BEGUN + question(row))
    return {id(row): names[root(own)] for row, own in zip(rows, asked) if root(own) in joined}


def _chain(row: Example) -> list[str]:
    """A key of the conversation up to each of its answers, the row's own last."""
    key, out = "", []
    for turn in (*row.history, Message("user", row.input), *row.after, Message("assistant", row.output)):
        if turn.role != "system":
            key = digest([key, turn.role, " ".join(turn.content.split()).casefold(), turn.extra])
        if turn.role == "assistant":
            out.append(key)
    return out


# --- the check --------------------------------------------------------------------------------------------------------


def findings(parts: Parts, every: bool, trained: bool) -> Iterator[Finding]:
    """What is scored and trained of conversations. `every`: all answers are scored; `trained`: all are trained on."""
    rows = [row for some in parts.values() for row in some]
    talks = [row for row in parts["train"] if is_conversation(row)]
    if not talks:
        return
    turns = median(len(exchanges(row)) for row in talks)
    scored = "every answer of the assistant is scored" if every else "the last answer is scored"
    learnt = "every answer is trained on" if trained else "the last answer is trained on"
    yield Finding(
        "conversations",
        "note",
        f"{len(talks)} of {len(parts['train'])} train rows are conversations, with {turns:g} answers in the median: {scored} in"
        f" dev and test ({len(rows) - len(parts['train'])} rows), {learnt}.",
        "" if every else "data.turns: every scores each answer of the assistant.",
        first_places(row.where for row in talks),
        len(talks),
    )
