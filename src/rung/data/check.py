"""Checks of the rows before anything is spent: errors, and what this number of rows can show."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

from rung import metrics
from rung.claims.prospects import Prospect, fewest_rows, prospect, selective_prospect
from rung.data import agreement, conversations
from rung.data.answers import is_text_list
from rung.data.doubtful import doubtful_texts
from rung.data.finding import SEVERITIES, Finding, Parts, Severity, first_places
from rung.data.labels import label_findings
from rung.data.leaks import contradictions, duplicates, leaks, questions_by_split, split_groups
from rung.data.split import Splits
from rung.metrics.stats import smallest_difference
from rung.task import Task
from rung.types import UNKNOWN

MIN_DEV_ROWS = 20
"""With fewer, a right/wrong score has an interval some 40 points wide, so nothing can be decided."""
TOO_LONG_SHARE = 0.10
MOST_TOKENS_A_BYTE = 11
"""No tokenizer makes more: one falls back to bytes at worst, and normalising (NFKC) makes at most 33 bytes of three (U+FDFA)."""


def check(
    splits: Splits, task: Task, count_tokens: Callable[[str], int] | None = None, context: int | None = None
) -> tuple[Finding, ...]:
    """All findings, most severe first. For the sealed test only counts and places are shown.

    `context`: the model's maximum prompt length in tokens of `count_tokens`; lengths are checked if both are given.
    """
    labels = task.kind == "classify"
    parts = {"train": splits.train, "dev": splits.dev, "test": splits.test.open()}
    asked = questions_by_split(parts)
    found = [
        *splits.findings,
        *_sizes(parts),
        *leaks(parts, asked, labels),
        *duplicates(parts, asked),
        *split_groups(parts),
        *contradictions(parts, asked, labels),
        *(label_findings(parts, task) if labels else ()),
        *_drafts(parts),
        *doubtful_texts(parts, task),
        *conversations.findings(parts, task.data.turns == "every", task.kind in conversations.TEXTS),
        *_answers(parts, task),
        *(too_long(parts, task, count_tokens, context) if count_tokens and context else ()),
        *agreement.findings(task),
        *_goal_margin(len(splits.dev), len(splits.test), task),
        *_resolution(len(splits.dev)),
    ]
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))


def blocking(findings: Iterable[Finding]) -> bool:
    return any(finding.severity == "block" for finding in findings)


# Sizes


def _sizes(parts: Parts) -> Iterator[Finding]:
    for name, rows in parts.items():
        if not rows:
            yield Finding("empty-split", "block", f"{name} has no rows.", "Add rows, or change data.split.")
    few = len(parts["dev"])
    if 0 < few < MIN_DEV_ROWS:
        yield Finding(
            "few-dev-rows",
            "block",
            f"dev has {few} rows; at least {MIN_DEV_ROWS} are needed to decide anything.",
            "Label more rows, or raise data.split.dev.",
            count=few,
        )


# Drafts


def _drafts(parts: Parts) -> Iterator[Finding]:
    rows = [row for some_rows in parts.values() for row in some_rows]
    drafts = [row.where for row in rows if str(row.extra.get("draft", "")).strip().casefold() == "yes"]
    if drafts:
        yield Finding(
            "drafts",
            "warn",
            f"{len(drafts)} of {len(rows)} rows are drafts that a model wrote from the documents. They can distinguish"
            " rungs on such questions, but do not show how well your users' questions are answered.",
            "Read them, fix or delete them, and set their column draft to no.",
            first_places(drafts),
            len(drafts),
        )


# Several right answers, or none


def _answers(parts: Parts, task: Task) -> Iterator[Finding]:
    rows = [row for some_rows in parts.values() for row in some_rows]
    several, none = [row.where for row in rows if row.references], [row.where for row in rows if row.unanswerable]
    if several:
        yield Finding(
            "several-references",
            "note",
            f"{len(several)} of {len(rows)} rows have several right answers: the best match counts, the first is trained.",
            "",
            first_places(several),
            len(several),
        )
    if none and task.kind != "classify":
        yield Finding(
            "unanswerable",
            "note",
            f"{len(none)} of {len(rows)} rows are unanswerable: no answer counts as right, and {UNKNOWN!r} is trained.",
            "Say in `task` that a question may have no answer, and what to answer then.",
            first_places(none),
            len(none),
        )
    if failing := metrics.parametric.failing_rows(task.goal.metric, task.folder, rows):
        yield Finding(
            "queries-that-fail",
            "block",
            f"{len(failing)} of {len(rows)} right queries do not run: {next(iter(failing.values()))}.",
            "Fix the rows, or name the database that they are for.",
            first_places(failing),
            len(failing),
        )
    listed = [row.where for row in rows if task.kind in ("answer", "generate") and is_text_list(row.output)]
    if listed:
        yield Finding(
            "list-outputs",
            "warn",
            f"{len(listed)} of {len(rows)} outputs are JSON lists of texts, each read as one answer.",
            "If they are several right answers, name the column `answers`; if the list is the answer, use kind: extract.",
            first_places(listed),
            len(listed),
        )


# Lengths


def too_long(parts: Parts, task: Task, count_tokens: Callable[[str], int], context: int) -> Iterator[Finding]:
    """Train and dev rows that exceed the model's context.

    Counts instruction, question and answer, and what no prompt leaves out of the history: a system message. Neither the chat
    template nor demonstrations are counted.
    """
    for name in ("train", "dev"):
        rows = parts[name]
        long, longest = [], 0
        for row in rows:
            system = [turn.content for turn in row.history if turn.role == "system"]
            text = "\n".join([task.task, *system, row.input, row.output])
            if MOST_TOKENS_A_BYTE * len(text.encode("utf-8", "surrogatepass")) <= context:
                continue  # most rows: to tokenize them all would take longer than all other checks
            if (length := count_tokens(text)) > context:
                long.append(row.where)
                longest = max(longest, length)
        if long:
            yield Finding(
                "longer-than-context",
                "block" if len(long) >= TOO_LONG_SHARE * len(rows) else "warn",
                f"{len(long)} of {len(rows)} {name} rows are longer than the model's {context} tokens"
                f" (the longest has {longest}).",
                "Shorten them, or use a base with a longer context.",
                first_places(long),
                len(long),
            )


# What the rows could show


def _goal_margin(dev: int, sealed: int, task: Task) -> Iterator[Finding]:
    """What all held-out rows can show of the goal, by the design of `rung.claims`."""
    goal, rows = task.goal, dev + sealed
    if dev < MIN_DEV_ROWS:
        return
    if goal.coverage is not None:
        yield _selective_margin(dev, sealed, task, goal.coverage)
        return
    binary = _is_binary(task)
    rungs = len(task.rungs) if task.rungs else 1  # rungs share the error
    alone, shared = prospect(rows, goal.at_least, 1), prospect(rows, goal.at_least, rungs)
    about = f"{dev} dev and {sealed} sealed rows"
    if alone.needed > rows:
        few = fewest_rows(goal.at_least)
        enough = f"Have at least {few} dev and test rows (several times as many to allow for errors), or reduce goal.at_least."
        yield Finding(
            "goal-out-of-reach",
            "block" if binary else "warn",
            f"even a perfect score on {about} would not show {goal.metric} >= {goal.at_least:g}.",
            enough if few else "No number of rows can show a score of 1: reduce goal.at_least.",
            count=rows,
        )
        return
    roughly = "" if binary else "about "
    near = f" With all {rungs} rungs near the goal it takes {roughly}{_scores(shared)}." if rungs > 1 else ""
    yield Finding(
        "goal-margin",
        "note",
        f"a rung proves {goal.metric} >= {goal.at_least:g} with a score of {roughly}{_scores(alone)} on {about};"
        f" in brackets the true score with which it gets there 8 times in 10.{near}",
        "More dev and test rows move this closer to the goal; more rungs near the goal move it away.",
        count=alone.needed,
    )


def _is_binary(task: Task) -> bool:
    """Whether the goal's metric says of each row that it is right or wrong."""
    metric = metrics.find(task.goal.metric)
    return bool(metric and metric.binary)


def _selective_margin(dev: int, sealed: int, task: Task, coverage: float) -> Finding:
    """What all held-out rows can show of a goal on the rows answered and the share of them."""
    goal, rows = task.goal, dev + sealed
    found = selective_prospect(rows, goal.at_least, coverage, 1)
    about = f"{dev} dev and {sealed} sealed rows, {goal.metric} at least {goal.at_least:g} at coverage {coverage:g}"
    if not found.possible:
        few = fewest_rows(goal.at_least)
        enough = f"Have at least {math.ceil(few / coverage)} dev and test rows, or reduce" if few else "Reduce"
        what = f"even a rung that is right on all of the rows it answers would not show that the goal is met ({about})."
        severity: Severity = "block" if _is_binary(task) else "warn"
        return Finding("goal-out-of-reach", severity, what, f"{enough} goal.at_least or goal.coverage.", count=rows)
    what = (
        f"to show that the goal is met, a rung must answer at least {found.coverage.needed} of the {rows} held-out rows, and be"
        f" right on {found.score.needed} of these if it answers no more; several rungs near the goal need more ({about})."
    )
    return Finding("goal-margin", "note", what, "More dev and test rows move both numbers closer to the goal.", count=rows)


def _scores(found: Prospect) -> str:
    if found.true_score is None:
        return "more than a perfect score"
    return f"{found.needed / found.rows:.3f} ({found.true_score:.3f})"


def _resolution(n: int) -> Iterator[Finding]:
    if n < MIN_DEV_ROWS:
        return
    shares = (0.1, 0.2, 0.3)
    points = [smallest_difference(n, share) for share in shares]
    shown = ", ".join(
        f"{'none' if gap is None else f'{100 * gap:.1f} points'} at {share:.0%}" for gap, share in zip(points, shares)
    )
    yield Finding(
        "smallest-difference",
        "note",
        f"the smallest difference between two rungs that {n} dev rows show 8 times in 10, by the share of rows that only one of"
        f" them gets right: {shown}.",
        "Closer rungs count as equal, and the cheaper one is chosen; more dev rows show smaller differences.",
        count=n,
    )
