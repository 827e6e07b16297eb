"""Spelling variants of a label: case, spaces, invisible characters, full stop, 1 and 1.0. Merged if certain, else reported."""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from rung import label_sets
from rung.data.finding import Finding, first_places
from rung.data.rows import clean_cell
from rung.types import Example

Parts = Sequence[tuple[Example, ...] | None]
MAX_SHOWN = 6
MISSING = frozenset({"nan", "<na>", "nat"})
"""Texts that data frames write for missing values and that are hardly ever labels."""
_WHOLE = re.compile(r"([-+]?\d+)\.0+")
_BEHIND = ".,;:。、，；："


def key(label: str) -> str:
    """The common form of a label's spellings: compatibility forms, case, spaces and invisible characters normalised; 1.0 is 1."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
    seen = clean_cell("".join(c for c in folded if unicodedata.category(c) != "Cf"))
    if whole := _WHOLE.fullmatch(seen):
        return whole[1]
    bare = seen.rstrip(_BEHIND).rstrip()
    return bare if any(c.isalpha() for c in bare) else seen


def is_missing(label: str) -> bool:
    """Whether a label is a data frame's missing value."""
    return label.strip().casefold() in MISSING


def match_label(label: str, labels: Collection[str]) -> str | None:
    """The task label that `label` spells; None if there is none or more than one."""
    if label in labels:
        return label
    alike = [one for one in labels if key(one) == key(label)]
    return alike[0] if len(alike) == 1 else None


def join_labels(
    parts: Parts, given: Collection[str] | None, several: bool = False
) -> tuple[list[tuple[Example, ...] | None], tuple[Finding, ...]]:
    """Rows with one spelling per label, and findings about merged spellings.

    `given`: the task's labels, which set the spelling; otherwise the most common one does. Labels that the task names are never
    merged. `several`: outputs are lists of labels.
    """
    counts = Counter(label for rows in parts for row in rows or () for label in _labels(row, several))
    to = {label: match_label(label, given) or label for label in counts} if given else _commonest(counts)
    changed = {label: one for label, one in to.items() if label != one}
    if not changed:
        return list(parts), ()

    def spelled(row: Example) -> Example:
        found = [to[label] for label in _labels(row, several)]
        return replace(row, output=label_sets.dump(found, tuple(given or ())) if several else found[0])

    def touched(row: Example) -> bool:
        return not changed.keys().isdisjoint(_labels(row, several))

    out = [None if rows is None else tuple(spelled(row) if touched(row) else row for row in rows) for rows in parts]
    where = [row.where for rows in parts for row in rows or () if touched(row)]
    others: dict[str, list[str]] = defaultdict(list)
    for label, one in sorted(changed.items(), key=lambda pair: -counts[pair[0]]):
        others[one].append(f"{label!r} {counts[label]}")
    listed = [f"{one!r} (also {', '.join(found[:MAX_SHOWN])}{', …' * (len(found) > MAX_SHOWN)})" for one, found in others.items()]
    more = f" and {len(listed) - MAX_SHOWN} more labels" if len(listed) > MAX_SHOWN else ""
    return out, (
        Finding(
            "labels-joined",
            "warn",
            f"{len(where)} rows have variant label spellings, merged as: {'; '.join(listed[:MAX_SHOWN])}{more}.",
            "Fix the rows. If two of them are different labels, name all labels under `labels` in rung.yaml.",
            first_places(where),
            len(where),
        ),
    )


def _labels(row: Example, several: bool) -> tuple[str, ...]:
    return label_sets.split(row.output) if several else (row.output,)


@dataclass(frozen=True, slots=True)
class Variant:
    """A spelling of a label that may be joined into another."""

    label: str
    rows: int
    into: str
    into_rows: int
    certain: bool
    """The loader joins it anyway; others are only pointed out by the check."""


def variants(counts: Mapping[str, int], given: Collection[str] | None) -> list[Variant]:
    """Spellings that may be joined, certain ones first. `counts`: rows by label as written; `given`: the task's labels."""
    to = {one: match_label(one, given) or one for one in counts} if given else _commonest(Counter(counts))
    joined: Counter[str] = Counter()
    for label, count in counts.items():
        joined[to[label]] += count
    sure = [Variant(label, counts[label], one, joined[one], True) for label, one in to.items() if label != one]
    pairs = [] if given else [*_by_signs(joined), *_by_letter(joined)]
    into: dict[str, str] = {}
    for one, other in pairs:
        into.setdefault(other, one)
    return [*sure, *(Variant(other, joined[other], one, joined[one], False) for other, one in into.items() if one not in into)]


def join_groups(parts: Parts) -> tuple[list[tuple[Example, ...] | None], tuple[Finding, ...]]:
    """Rows with one spelling per group, so that spaces or 7 and 7.0 do not divide a group; case is kept, as ids may need it."""
    names = {row.group for rows in parts for row in rows or () if row.group}
    alike = _alike(names, lambda name: _WHOLE.sub(r"\1", clean_cell(name)))
    changed = {name: min(found) for found in alike for name in found if name != min(found)}
    if not changed:
        return list(parts), ()
    out = [
        None if rows is None else tuple(replace(row, group=changed[row.group]) if row.group in changed else row for row in rows)
        for rows in parts
    ]
    where = [row.where for rows in parts for row in rows or () if row.group in changed]
    shown = "; ".join(f"{name!r} as {one!r}" for name, one in list(changed.items())[:MAX_SHOWN])
    return out, (
        Finding(
            "groups-joined",
            "note",
            f"{len(where)} rows have variant group spellings, merged as: {shown}.",
            "Fix the rows so that each group has one spelling.",
            first_places(where),
            len(where),
        ),
    )


def _commonest(counts: Counter[str]) -> dict[str, str]:
    """Each spelling with its representative: the most common one, ties by alphabet, without invisible characters."""
    out: dict[str, str] = {}
    for found in _alike(counts, key):
        seen: Counter[str] = Counter()
        for label in found:
            seen[_WHOLE.sub(r"\1", clean_cell(label)) if len(found) > 1 else label] += counts[label]
        best = min(seen, key=lambda label: (-seen[label], label))
        out |= dict.fromkeys(found, best)
    return out


def _alike(names: Iterable[str], by: Callable[[str], str]) -> list[list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for name in names:
        found[by(name)].append(name)
    return list(found.values())


# Reported, not merged

TYPO_ROWS, TYPO_TIMES, TYPO_LENGTH = 2, 10, 5
"""A label with few rows, one edit from a long label with many times more rows, is probably a typo."""
MAX_COMPARED = 1000
_LOOK_ALIKE = str.maketrans("аеорсухікмнтвѕјαεορτυνικ", "aeopcyxikmhtbsjaeoptuvik")
_DECIMAL = re.compile(r"\s*-?\d+[.,]\d+\s*")
_TRUTHS = (
    frozenset({"true", "yes", "y", "t", "1"}),
    frozenset({"false", "no", "n", "f", "0"}),
)
_JOINS = re.compile(r"\s*[/+&,;|\n]\s*|\s+and\s+")
"""What may stand between the labels of one row."""
_BETWEEN = re.compile(r"[\s_\-–/.,:;'\"()]+")


def alike_findings(counts: Mapping[str, int]) -> Iterator[Finding]:
    """Possibly equal labels: they differ in characters between words, or by one letter of a rare label."""
    pairs = [*_by_signs(counts), *_by_letter(counts), *_by_value(counts)]
    if pairs:
        listed = [f"{a!r} ({counts[a]}) and {b!r} ({counts[b]})" for a, b in pairs]
        yield Finding(
            "labels-alike",
            "warn",
            f"{len(pairs)} pairs of labels may be the same: {'; '.join(listed[:MAX_SHOWN])}{'; …' * (len(listed) > MAX_SHOWN)}.",
            "If they are the same, use one spelling. They are not merged.",
            count=len(pairs),
        )


def _by_signs(counts: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    for found in _alike((label for label in counts if any(c.isalpha() for c in label)), _drawn):
        first, *others = sorted(found, key=lambda label: (-counts[label], label))
        yield from ((first, other) for other in others)


def _drawn(label: str) -> str:
    """What a reader sees of a label: HTML entities as characters, Cyrillic and Greek letters as the Latin ones alike."""
    return _BETWEEN.sub("", key(html.unescape(label)).translate(_LOOK_ALIKE))


def _by_value(counts: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Numbers of one value (0.5, 0.50 and 0,5), and yes, true and 1 beside each other."""
    found = [*_alike(filter(_DECIMAL.fullmatch, counts), _decimal)]
    found += [[label for label in counts if key(label) in truth] for truth in _TRUTHS]
    for alike in found:
        first, *others = sorted(alike, key=lambda label: (-counts[label], label)) or [""]
        yield from ((first, other) for other in others)


def _decimal(label: str) -> str:
    whole, _, part = label.strip().replace(",", ".").partition(".")
    return f"{whole.lstrip('0') or '0'}.{part.rstrip('0')}"


def compound_findings(counts: Mapping[str, int], several: bool) -> Iterator[Finding]:
    """Labels that are made of other labels, or of parts of others: several labels of a row in one text.

    `several`: the task is multilabel.
    """
    known = {key(label) for label in counts}
    parts = {
        label: [key(part) for part in _JOINS.split(label) if part.strip()] for label in counts if not _DECIMAL.fullmatch(label)
    }
    shared = {part for part, count in Counter(part for some in parts.values() for part in set(some)).items() if count > 1}
    either = known | shared
    made = [label for label, some in parts.items() if len(some) > 1 and known.intersection(some) and either.issuperset(some)]
    if made:
        rows = sum(counts[label] for label in made)
        yield Finding(
            "labels-compound",
            "warn",
            f"{len(made)} labels on {rows} rows are made of others: {', '.join(map(repr, made[:MAX_SHOWN]))}. Each counts as a"
            " label of its own.",
            "Separate them by | or ;, or write lists." if several else "If a row may have several labels, set multilabel: true.",
            count=rows,
        )


def _by_letter(counts: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    from rapidfuzz.distance import DamerauLevenshtein

    rare = [label for label, count in counts.items() if count <= TYPO_ROWS]
    common = [label for label, count in counts.items() if len(label) >= TYPO_LENGTH and count >= TYPO_TIMES]
    if len(rare) * len(common) > MAX_COMPARED**2:
        return
    for a in rare:
        for b in common:
            digits = [c for c in a if c.isdigit()] == [c for c in b if c.isdigit()]
            if digits and counts[b] >= TYPO_TIMES * counts[a] and DamerauLevenshtein.distance(a, b, score_cutoff=1) == 1:
                yield b, a
