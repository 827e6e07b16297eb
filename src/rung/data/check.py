"""What is wrong with the rows before anything is spent, and what so few rows could show."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

from rung.data.answers import reads_as_list
from rung.data.finding import SEVERITIES, Finding, Parts, some
from rung.data.labels import label_findings
from rung.data.leaks import asked_in, contradictions, groups, leaks, repeats
from rung.data.split import Splits
from rung.metrics.stats import smallest_difference
from rung.task import Task
from rung.types import UNKNOWN

FEWEST_DEV_ROWS = 20
"""Below this a right/wrong score has an interval some 40 points wide: nothing can be decided."""
TOO_LONG_BLOCKS = 0.10
ALPHA = 0.05
RIGHT_OR_WRONG = {"accuracy", "exact_match", "squad_exact_match"}


def check(
    splits: Splits, task: Task, count_tokens: Callable[[str], int] | None = None, context: int | None = None
) -> tuple[Finding, ...]:
    """All findings, gravest first. Of the sealed test only counts and places are told.

    `context` is the longest prompt the model takes, in tokens of `count_tokens`; with both given, lengths are checked.
    """
    labels = task.kind == "classify"
    parts = {"train": splits.train, "dev": splits.dev, "test": splits.test.open()}
    asked = asked_in(parts)
    found = [
        *splits.findings,
        *_sizes(parts),
        *leaks(parts, asked, labels),
        *repeats(parts, asked),
        *groups(parts),
        *contradictions(parts, asked, labels),
        *(label_findings(parts, task) if labels else ()),
        *_drafts(parts),
        *_answers(parts, task),
        *(too_long(parts, task, count_tokens, context) if count_tokens and context else ()),
        *_goal_margin(len(splits.dev), task),
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
    if 0 < few < FEWEST_DEV_ROWS:
        yield Finding(
            "few-dev-rows",
            "block",
            f"dev has {few} rows; below {FEWEST_DEV_ROWS} nothing can be decided.",
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
            f"{len(drafts)} of {len(rows)} rows are drafts: a model wrote question and answer from the documents. They can tell"
            " rungs apart on such questions; they do not show how well your users' questions are answered.",
            "Read them, mend or delete them, and set their column draft to no.",
            some(drafts),
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
            f"{len(several)} of {len(rows)} rows have several right answers: the best counts, and the first is learnt.",
            "",
            some(several),
            len(several),
        )
    if none and task.kind != "classify":
        yield Finding(
            "unanswerable",
            "note",
            f"{len(none)} of {len(rows)} rows have no answer: right is to give none, and {UNKNOWN!r} is learnt.",
            "Say in `task` that a question may have no answer, and what to answer then.",
            some(none),
            len(none),
        )
    listed = [row.where for row in rows if task.kind in ("answer", "generate") and reads_as_list(row.output)]
    if listed:
        yield Finding(
            "list-outputs",
            "warn",
            f"{len(listed)} of {len(rows)} outputs are a JSON list of texts, and are taken as one answer each.",
            "Where they are several right answers, call the column `answers`; where the list is the answer, say kind: extract.",
            some(listed),
            len(listed),
        )


# Lengths


def too_long(parts: Parts, task: Task, count_tokens: Callable[[str], int], context: int) -> Iterator[Finding]:
    """Rows of train and dev that a model cannot read whole.

    Counted are instruction, history, question and answer, not a chat template's few tokens nor demonstrations.
    """
    for name in ("train", "dev"):
        rows = parts[name]
        lengths = [count_tokens("\n".join([task.task, *(m.content for m in row.history), row.input, row.output])) for row in rows]
        long = [row.where for row, length in zip(rows, lengths) if length > context]
        if long:
            yield Finding(
                "longer-than-context",
                "block" if len(long) >= TOO_LONG_BLOCKS * len(rows) else "warn",
                f"{len(long)} of {len(rows)} {name} rows are longer than the model's {context} tokens"
                f" (the longest has {max(lengths)}).",
                "Shorten them, or take a base with a longer context.",
                some(long),
                len(long),
            )


# What the rows could show


def _goal_margin(n: int, task: Task) -> Iterator[Finding]:
    goal = task.goal
    if n < FEWEST_DEV_ROWS:
        return
    binary = goal.metric in RIGHT_OR_WRONG
    rungs = len(task.rungs) if task.rungs else 1  # rungs share the error
    right = right_answers_needed(n, goal.at_least, ALPHA / rungs)
    about = f"{n} dev rows, {goal.metric} at least {goal.at_least:g}, {rungs} rung{'s' * (rungs > 1)}"
    if right > n:
        yield Finding(
            "goal-out-of-reach",
            "block" if binary else "warn",
            f"not even a full score would show that the goal is met ({about}).",
            _more_rows(goal.at_least, ALPHA / rungs),
            count=n,
        )
    else:
        yield Finding(
            "goal-margin",
            "note",
            f"to show that the goal is met, a rung must score {right / n:.3f}{'' if binary else ' or so'} ({about}).",
            "More dev rows bring this nearer to the goal; more rungs measured move it away.",
            count=right,
        )


def right_answers_needed(n: int, goal: float, alpha: float = ALPHA) -> int:
    """Fewest right answers of `n` with which the one-sided Wilson lower bound reaches `goal`; above `n` where none do.

    The bound inverts the score test, so it reaches the goal just where (right - n·goal) / √(n·goal·(1 - goal)) ≥ z.
    """
    from scipy.special import ndtri

    if goal >= 1:
        return n + 1
    return math.ceil(n * goal + float(ndtri(1 - alpha)) * math.sqrt(n * goal * (1 - goal)) - 1e-9)


def _more_rows(goal: float, alpha: float) -> str:
    if goal >= 1:
        return "No number of rows shows a score of 1: lower goal.at_least."
    from scipy.special import ndtri

    enough = math.ceil(float(ndtri(1 - alpha)) ** 2 * goal / (1 - goal))
    return f"Have at least {enough} dev rows (several times as many to leave room for errors), or lower goal.at_least."


def _resolution(n: int) -> Iterator[Finding]:
    if n < FEWEST_DEV_ROWS:
        return
    shares = (0.1, 0.2, 0.3)
    points = [smallest_difference(n, share) for share in shares]
    told = ", ".join(
        f"{'no difference' if gap is None else f'{100 * gap:.1f} points'} at {share:.0%}" for gap, share in zip(points, shares)
    )
    yield Finding(
        "smallest-difference",
        "note",
        f"with {n} dev rows, two rungs are told apart 8 times in 10 from this difference on, by the share of rows"
        f" that only one gets right: {told}.",
        "Closer rungs count as equal, and the cheaper one is taken; more dev rows tell more apart.",
        count=n,
    )
