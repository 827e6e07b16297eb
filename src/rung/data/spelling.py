"""Spellings of one label: case, blanks, invisible signs, a full stop behind, 1 and 1.0. Joined where certain, else asked."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from rung.data.finding import Finding, some
from rung.data.rows import visible
from rung.types import Example

Parts = Sequence[tuple[Example, ...] | None]
SHOWN = 6
MISSING = frozenset({"nan", "<na>", "nat"})
"""What data frames write for a missing value, and people hardly ever for a label."""
_WHOLE = re.compile(r"([-+]?\d+)\.0+")
_BEHIND = ".,;:。、，；："


def key(label: str) -> str:
    """What all spellings of a label share: compatibility forms, case, blanks and invisible signs evened out; 1.0 is 1."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
    seen = visible("".join(c for c in folded if unicodedata.category(c) != "Cf"))
    if whole := _WHOLE.fullmatch(seen):
        return whole[1]
    bare = seen.rstrip(_BEHIND).rstrip()
    return bare if any(c.isalpha() for c in bare) else seen


def is_missing(label: str) -> bool:
    """Whether a label is how a data frame writes a missing value as text."""
    return label.strip().casefold() in MISSING


def known(label: str, labels: Collection[str]) -> str | None:
    """Of the task's own labels the one that `label` spells; None for none, and where it could be two of them."""
    if label in labels:
        return label
    alike = [one for one in labels if key(one) == key(label)]
    return alike[0] if len(alike) == 1 else None


def join_labels(parts: Parts, given: Collection[str] | None) -> tuple[list[tuple[Example, ...] | None], tuple[Finding, ...]]:
    """The rows with one spelling a label, and what is to be said of it.

    `given`: the task's own labels, whose spelling holds; otherwise the commonest does. Labels that the task names apart stay
    apart, however alike.
    """
    counts = Counter(row.output for rows in parts for row in rows or ())
    to = {label: known(label, given) or label for label in counts} if given else _commonest(counts)
    changed = {label: one for label, one in to.items() if label != one}
    if not changed:
        return list(parts), ()
    out = [
        None if rows is None else tuple(replace(row, output=to[row.output]) if row.output in changed else row for row in rows)
        for rows in parts
    ]
    where = [row.where for rows in parts for row in rows or () if row.output in changed]
    others: dict[str, list[str]] = defaultdict(list)
    for label, one in sorted(changed.items(), key=lambda pair: -counts[pair[0]]):
        others[one].append(f"{label!r} {counts[label]}")
    told = [f"{one!r} (also {', '.join(found[:SHOWN])}{', …' * (len(found) > SHOWN)})" for one, found in others.items()]
    more = f" and {len(told) - SHOWN} labels more" if len(told) > SHOWN else ""
    return out, (
        Finding(
            "labels-joined",
            "warn",
            f"{len(where)} rows spell their label otherwise; read as one label each are {'; '.join(told[:SHOWN])}{more}.",
            "Mend the rows. If two of them are different labels, name all labels under `labels` in rung.yaml.",
            some(where),
            len(where),
        ),
    )


def join_groups(parts: Parts) -> tuple[list[tuple[Example, ...] | None], tuple[Finding, ...]]:
    """The rows with one spelling a group, so that blanks or 7 beside 7.0 do not part a group; case stays, as ids may use it."""
    names = {row.group for rows in parts for row in rows or () if row.group}
    alike = _alike(names, lambda name: _WHOLE.sub(r"\1", visible(name)))
    changed = {name: min(found) for found in alike for name in found if name != min(found)}
    if not changed:
        return list(parts), ()
    out = [
        None if rows is None else tuple(replace(row, group=changed[row.group]) if row.group in changed else row for row in rows)
        for rows in parts
    ]
    where = [row.where for rows in parts for row in rows or () if row.group in changed]
    shown = "; ".join(f"{name!r} as {one!r}" for name, one in list(changed.items())[:SHOWN])
    return out, (
        Finding(
            "groups-joined",
            "note",
            f"{len(where)} rows spell their group otherwise; they are read as of one group: {shown}.",
            "Mend the rows, so that each group has one spelling.",
            some(where),
            len(where),
        ),
    )


def _commonest(counts: Counter[str]) -> dict[str, str]:
    """Each spelling with the one that stands for it: the commonest without invisible signs; of equals the first by letter."""
    out: dict[str, str] = {}
    for found in _alike(counts, key):
        seen: Counter[str] = Counter()
        for label in found:
            seen[_WHOLE.sub(r"\1", visible(label)) if len(found) > 1 else label] += counts[label]
        best = min(seen, key=lambda label: (-seen[label], label))
        out |= dict.fromkeys(found, best)
    return out


def _alike(names: Iterable[str], by: Callable[[str], str]) -> list[list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found[by(name)].append(name)
    return list(found.values())


# Asked, not joined

TYPO_ROWS, TYPO_TIMES, TYPO_LENGTH = 2, 10, 5
"""A label of so few rows, one letter away from one of this length and so many times as many rows, is most likely a slip."""
MOST_COMPARED = 1000
_BETWEEN = re.compile(r"[\s_\-–/.,:;'\"()]+")


def alike_findings(counts: Mapping[str, int]) -> Iterator[Finding]:
    """Labels that may be one, for a person to say: they differ in signs between words, or in one letter of a rare one."""
    pairs = [*_by_signs(counts), *_by_letter(counts)]
    if pairs:
        told = [f"{a!r} ({counts[a]}) and {b!r} ({counts[b]})" for a, b in pairs]
        yield Finding(
            "labels-alike",
            "warn",
            f"{len(pairs)} pairs of labels may be one label each: {'; '.join(told[:SHOWN])}{'; …' * (len(told) > SHOWN)}.",
            "Where they are one, settle on one spelling. They are kept apart.",
            count=len(pairs),
        )


def _by_signs(counts: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    for found in _alike(
        (label for label in counts if any(c.isalpha() for c in label)), lambda label: _BETWEEN.sub("", key(label))
    ):
        first, *others = sorted(found, key=lambda label: (-counts[label], label))
        yield from ((first, other) for other in others)


def _by_letter(counts: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    from rapidfuzz.distance import DamerauLevenshtein

    rare = [label for label, count in counts.items() if count <= TYPO_ROWS]
    common = [label for label, count in counts.items() if len(label) >= TYPO_LENGTH and count >= TYPO_TIMES]
    if len(rare) * len(common) > MOST_COMPARED**2:
        return
    for a in rare:
        for b in common:
            digits = [c for c in a if c.isdigit()] == [c for c in b if c.isdigit()]
            if digits and counts[b] >= TYPO_TIMES * counts[a] and DamerauLevenshtein.distance(a, b, score_cutoff=1) == 1:
                yield b, a
