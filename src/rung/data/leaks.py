"""The same row twice: across splits, within one, nearly, with parted groups, or with contradicting answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from rung.data.finding import COMMON, Finding, Parts, Rows, pair, some
from rung.data.near import Index, index, near, near_within, tokens
from rung.data.split import question
from rung.types import Example

NEAR = 0.8
"""Jaccard overlap of words from which two questions are nearly equal."""
NEIGHBOURS_READ = 20

Questions = Mapping[str, Sequence[str]]
"""What the rows of each split ask, normalised, in their order."""


def asked_in(parts: Parts) -> Questions:
    """What each row asks, normalised; made once for all that compares questions."""
    return {name: [question(row) for row in rows] for name, rows in parts.items()}


def leaks(parts: Parts, asked: Questions, labels: bool) -> Iterator[Finding]:
    """Rows that stand in another split too, word for word or nearly; and nearly equal rows labelled differently."""
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
        for (row, _), found in zip(fresh, near(found_in, (tokens(words) for _, words in fresh), NEIGHBOURS_READ)):
            close += [pair(row, rows[found[0]])] if found else []
            conflicts += [pair(row, rows[i]) for i in found if rows[i].output != row.output]
        yield from _leak(name, " or ".join(others), exact, close, len(parts[name]))
        conflicts += _conflicts_within(found_in, rows) if labels and name == "dev" else ()
    if labels and conflicts:
        yield Finding(
            "near-duplicates-differ",
            "note",
            f"{len(conflicts)} pairs of nearly equal questions carry different labels.",
            "Read some: either a small word matters, or one label is wrong.",
            some(conflicts),
            len(conflicts),
        )


def _leak(name: str, other: str, exact: list[str], near: list[str], total: int) -> Iterator[Finding]:
    if exact:
        yield Finding(
            "duplicates-across-splits",
            "block" if len(exact) >= COMMON * total else "warn",
            f"{len(exact)} of {total} {name} rows ({len(exact) / total:.1%}) ask just what a {other} row asks.",
            f"Take them out of {name} or of {other}: a method that remembers them scores too high.",
            some(exact),
            len(exact),
        )
    if near:
        yield Finding(
            "near-duplicates-across-splits",
            "warn" if len(near) >= COMMON * total else "note",
            f"{len(near)} of {total} {name} rows ({len(near) / total:.1%}) nearly equal a {other} row"
            f" ({NEAR:.0%} or more of their words are the same).",
            "Where such rows come from one source, name it as data.group; otherwise read scores as a little too high.",
            some(near),
            len(near),
        )


def _conflicts_within(found_in: Index, rows: Rows) -> Iterator[str]:
    for i, found in enumerate(near_within(found_in, NEIGHBOURS_READ)):
        yield from (pair(rows[i], rows[j]) for j in found if i < j and rows[j].output != rows[i].output)


def repeats(parts: Parts, asked: Questions) -> Iterator[Finding]:
    """Rows that stand in one split more than once, with the same answer."""
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
                "warn" if len(again) >= COMMON * len(rows) else "note",
                f"{len(again)} of {len(rows)} {name} rows repeat another {name} row.",
                "Delete the repeats: they count one row several times.",
                some(again),
                len(again),
            )


def groups(parts: Parts) -> Iterator[Finding]:
    """Only files given per split can part a group."""
    homes: dict[str, dict[str, Example]] = defaultdict(dict)
    for name, rows in parts.items():
        for row in rows:
            if row.group:
                homes[row.group].setdefault(name, row)
    parted = [" = ".join(row.where for row in home.values()) for home in homes.values() if len(home) > 1]
    if parted:
        yield Finding(
            "groups-across-splits",
            "block" if len(parted) >= COMMON * len(homes) else "warn",
            f"{len(parted)} of {len(homes)} groups stand in more than one split.",
            "Keep each group in one file, or give all rows under data.examples and let them be split.",
            some(parted),
            len(parted),
        )


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
            f"{len(several)} questions carry more than one label; no method can be right on all their rows.",
            "Settle on one label each.",
            some(several),
            len(several),
        )
    elif several:
        yield Finding(
            "several-answers",
            "note",
            f"{len(several)} questions have more than one answer; each row is scored against its own.",
            "Fine where answers may differ; otherwise settle on one each.",
            some(several),
            len(several),
        )
