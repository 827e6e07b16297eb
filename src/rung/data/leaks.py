"""Duplicate rows: across splits, within one, nearly equal, in divided groups, or with contradictory answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence, Sized

from rung.data.finding import COMMON_SHARE, Finding, Parts, Rows, first_places, pair
from rung.data.near import Index, index, near_many, near_within, tokens
from rung.data.split import question
from rung.types import Example

NEAR = 0.8
"""Jaccard overlap of words from which two questions are near-duplicates."""
MAX_NEIGHBOURS = 20

Questions = Mapping[str, Sequence[str]]
"""Normalised questions of each split, in order."""


def questions_by_split(parts: Parts) -> Questions:
    """Normalised question of each row, computed once for all checks."""
    return {name: [question(row) for row in rows] for name, rows in parts.items()}


def leaks(parts: Parts, asked: Questions, labels: bool) -> Iterator[Finding]:
    """Rows that also occur in another split, exactly or nearly, and near-duplicates with different labels."""
    conflicts: list[str] = []
    for name, others in (("dev", ("train",)), ("test", ("train", "dev"))):
        first: dict[str, Example] = {}
        for other in others:
            for row, words in zip(parts[other], asked[other]):
                first.setdefault(words, row)
        rows = list(first.values())
        found_in = index((tokens(words) for words in first), NEAR)
        exact = [pair(row, first[words]) for row, words in zip(parts[name], asked[name]) if words in first]
        fresh = [(row, words) for row, words in zip(parts[name], asked[name]) if words not in first]
        close = []
        for (row, _), found in zip(fresh, near_many(found_in, (tokens(words) for _, words in fresh), MAX_NEIGHBOURS)):
            close += [pair(row, rows[found[0]])] if found else []
            conflicts += [pair(row, rows[i]) for i in found if rows[i].output != row.output]
        yield from _leak(name, " or ".join(others), exact, close, len(parts[name]))
        conflicts += _conflicts_within(found_in, rows) if labels and name == "dev" else ()
    if labels and conflicts:
        yield Finding(
            "near-duplicates-differ",
            "note",
            f"{len(conflicts)} pairs of near-duplicate questions have different labels.",
            "Read some: either a small word matters or one label is wrong.",
            first_places(conflicts),
            len(conflicts),
        )


def _leak(name: str, other: str, exact: list[str], near: list[str], total: int) -> Iterator[Finding]:
    if exact:
        yield Finding(
            "duplicates-across-splits",
            "block" if len(exact) >= COMMON_SHARE * total else "warn",
            f"{len(exact)} of {total} {name} rows ({len(exact) / total:.1%}) ask the same as a {other} row.",
            f"Remove them from {name} or {other}: a method that memorises them scores too high.",
            first_places(exact),
            len(exact),
        )
    if near:
        yield Finding(
            "near-duplicates-across-splits",
            "warn" if len(near) >= COMMON_SHARE * total else "note",
            f"{len(near)} of {total} {name} rows ({len(near) / total:.1%}) nearly equal a {other} row"
            f" ({NEAR:.0%} or more of their words are the same).",
            "If such rows share a source, name it as data.group; otherwise scores may be slightly too high.",
            first_places(near),
            len(near),
        )


def _conflicts_within(found_in: Index, rows: Rows) -> Iterator[str]:
    for i, found in enumerate(near_within(found_in, MAX_NEIGHBOURS)):
        yield from (pair(rows[i], rows[j]) for j in found if i < j and rows[j].output != rows[i].output)


def duplicates(parts: Parts, asked: Questions) -> Iterator[Finding]:
    """Rows that occur more than once in a split, with the same answer."""
    for name, rows in parts.items():
        first: dict[tuple[str, str], Example] = {}
        again = [
            pair(row, first[key])
            for row, words in zip(rows, asked[name])
            if first.setdefault(key := (words, row.output), row) is not row
        ]
        if again:
            yield Finding(
                "duplicates-within-split",
                "warn" if len(again) >= COMMON_SHARE * len(rows) else "note",
                f"{len(again)} of {len(rows)} {name} rows repeat another {name} row.",
                "Delete the duplicates: they give one row several votes.",
                first_places(again),
                len(again),
            )


def split_groups(parts: Parts) -> Iterator[Finding]:
    """Groups that occur in several splits, possible only with files per split."""
    homes: dict[str, dict[str, Example]] = defaultdict(dict)
    for name, rows in parts.items():
        for row in rows:
            if row.group:
                homes[row.group].setdefault(name, row)
    parted = [" = ".join(row.where for row in home.values()) for home in homes.values() if len(home) > 1]
    if parted:
        yield Finding(
            "groups-across-splits",
            "block" if len(parted) >= COMMON_SHARE * len(homes) else "warn",
            f"{len(parted)} of {len(homes)} groups are in more than one split.",
            "Keep each group in one file, or give all rows under data.examples and let them be split.",
            first_places(parted),
            len(parted),
        )


def _questions(found: Sized) -> str:
    return "1 question has" if len(found) == 1 else f"{len(found)} questions have"


def contradictions(parts: Parts, asked: Questions, labels: bool) -> Iterator[Finding]:
    """Questions with more than one answer."""
    first: dict[str, Example] = {}
    answers: dict[str, dict[str, Example]] = {}
    for name, rows in parts.items():
        for row, words in zip(rows, asked[name]):
            one = first.setdefault(words, row)
            if one.output != row.output:
                answers.setdefault(words, {one.output: one}).setdefault(row.output, row)
    several = [" = ".join(row.where for row in by.values()) for by in answers.values()]
    if several and labels:
        yield Finding(
            "contradictory-labels",
            "warn",
            f"{_questions(several)} more than one label; no method can be right on all of their rows.",
            "Choose one label each.",
            first_places(several),
            len(several),
        )
    elif several:
        yield Finding(
            "several-answers",
            "note",
            f"{_questions(several)} more than one answer; each row is scored against its own.",
            "Fine if answers may differ; otherwise choose one each.",
            first_places(several),
            len(several),
        )
