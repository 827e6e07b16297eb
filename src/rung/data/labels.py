"""Label checks: unseen, rare or sorted classes, and the score of always answering the most common label."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from rung import label_sets
from rung.data.finding import Finding, Parts, first_places
from rung.data.spelling import alike_findings, compound_findings
from rung.task import Task
from rung.task.labels import OTHER
from rung.types import Example

MIN_CLASS_ROWS = 5
UNSEEN_SHARE = 0.10
"""Share of rows with labels that training cannot teach."""

Counts = Mapping[str, Counter[str]]


def label_findings(parts: Parts, task: Task) -> Iterator[Finding]:
    counts = {name: Counter(label for row in rows for label in _labels(row, task)) for name, rows in parts.items()}
    yield from _unseen(parts, counts, task)
    if task.labels is None:
        every = sum(counts.values(), Counter[str]())
        yield from alike_findings(every)
        yield from compound_findings(every, task.multilabel)
    yield from _thin_classes(counts["train"], task)
    yield from _sorted_file(parts, counts, task)
    yield from _majority(Counter(row.output for row in parts["dev"]), task)


def _labels(row: Example, task: Task) -> tuple[str, ...]:
    return label_sets.split(row.output) if task.multilabel else (row.output,)


def _unseen(parts: Parts, counts: Counts, task: Task) -> Iterator[Finding]:
    for name in ("dev", "test"):
        known = counts["train"].keys() | ({OTHER} if task.other else set())
        unseen = {row.where: new for row in parts[name] if (new := set(_labels(row, task)) - known)}
        rows = [row for row in parts[name] if row.where in unseen]
        if rows:
            share = len(rows) / len(parts[name])
            labels = len(set().union(*unseen.values()))
            yield Finding(
                "labels-unseen-in-train",
                "block" if share >= UNSEEN_SHARE else "warn",
                f"{len(rows)} of {len(parts[name])} {name} rows ({share:.1%}) have labels that no train row"
                f" has ({labels} labels).",
                "Add train rows for them; if the files were cut from a sorted file, shuffle it first.",
                first_places(row.where for row in rows),
                len(rows),
            )


def _thin_classes(train: Counter[str], task: Task) -> Iterator[Finding]:
    expected = {*train, *(task.labels or ())} - ({OTHER} if task.other else set())
    thin = sorted((train[label], label) for label in expected if train[label] < MIN_CLASS_ROWS)
    if thin and train:
        yield Finding(
            "few-rows-per-class",
            "warn",
            f"{len(thin)} labels have fewer than {MIN_CLASS_ROWS} train rows.",
            "Label more of these, or merge them with similar labels.",
            first_places(f"{label}: {count}" for count, label in thin),
            len(thin),
        )


def _sorted_file(parts: Parts, counts: Counts, task: Task) -> Iterator[Finding]:
    labels = [row.output for row in parts["train"]]
    score, ratio = run_score(labels)
    if score > -5 or ratio > 0.5:
        return
    given = [name for name in ("dev", "test") if getattr(task.data, name)]
    sliced = [name for name in given if set(counts[name]) != set(counts["train"])]
    hint = f" {' and '.join(sliced)} and train have different labels, a sign of slices of a sorted file." if sliced else ""
    yield Finding(
        "class-sorted",
        "warn" if sliced else "note",
        f"train is sorted by label ({ratio:.0%} of the label changes of a random order).{hint}",
        "Harmless here, but its first rows are not a random sample." if not sliced else "Shuffle, then split again.",
        count=len(labels),
    )


def run_score(labels: Sequence[str]) -> tuple[float, float]:
    """How far the order of labels is from random: z-score of the number of runs, and runs over expected runs.

    Wald-Wolfowitz runs test for several kinds of element (Barton and David, Biometrika 1957): far below 0 means sorted.
    """
    n, sizes = len(labels), Counter(labels).values()
    if n < 2 or len(sizes) < 2:
        return 0.0, 1.0
    squares, cubes = sum(c**2 for c in sizes), sum(c**3 for c in sizes)
    runs = 1 + sum(a != b for a, b in pairwise(labels))
    expected = n + 1 - squares / n
    variance = (squares * (squares + n * (n + 1)) - 2 * n * cubes - n**3) / (n * n * (n - 1))
    return ((runs - expected) / math.sqrt(variance) if variance > 0 else 0.0), runs / expected


def _majority(dev: Counter[str], task: Task) -> Iterator[Finding]:
    if not dev:
        return
    label, count = dev.most_common(1)[0]
    share = count / dev.total()
    reached = task.goal.metric == "accuracy" and share >= task.goal.at_least
    yield Finding(
        "majority-share",
        "warn" if reached else "note",
        f"always answering {label!r} is right on {share:.1%} of the dev rows"
        + (f", which already meets the goal of {task.goal.at_least:g}." if reached else "."),
        "Raise the goal, or use macro_f1." if reached else "",
        count=count,
    )
