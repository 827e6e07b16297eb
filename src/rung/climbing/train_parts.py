"""Which rows of train a rung's settings are fitted on, and which they are scored on."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rung.climbing.fit import FitContext, fit_context
from rung.climbing.project import Project
from rung.data.preferences import as_example
from rung.data.split import question, split
from rung.errors import TaskError
from rung.methods.facts import Facts
from rung.planning.bases import Base
from rung.sequential.interim import MIN_ROWS
from rung.sequential.race import in_order
from rung.types import Example

SCORING_SHARE = 0.25
"""Share of train used to score trials; they are fitted on the rest."""
FEW, MANY = 24, 1000
"""About the smallest (if half of train suffices) and largest number of rows to score on."""
SEED = 100_003
"""Added to the task's seed, because the seed alone puts all train rows into one part."""


@dataclass(frozen=True, slots=True)
class TrainParts:
    """A project's train rows, split for tuning."""

    context: FitContext
    """For fitting trials."""
    facts: Facts
    """Facts of the base with the sizes of the fitting part."""
    rows: tuple[Example, ...]
    """The scoring rows, in scoring order."""


def split_train(project: Project, base: Base) -> TrainParts:
    """Split train for a race of trials on this base.

    Rows are assigned by a hash of group or question, so new rows move none while the share is unchanged. Preferences
    about a scoring question are left out of training. TaskError if there are too few rows.
    """
    data = project.inputs.data
    n = max(1, len(data.examples))
    share = min(max(SCORING_SHARE, FEW / n), MANY / n, 0.5)
    parts = split(data.examples, dev=share, test=0.0, seed=project.task.seed + SEED)
    if len(parts.dev) < MIN_ROWS:
        raise TaskError(
            f"{len(data.examples)} train rows leave {len(parts.dev)} to score trials on; at least {MIN_ROWS} are needed.",
            where="rung.yaml data",
            remedy="Label more rows.",
        )
    asked = {question(row) for row in parts.dev}
    judged = tuple(one for one in data.preferences if question(as_example(one)) not in asked)
    # the start has the labels and the answer length of all of train
    context = replace(fit_context(project, base.start), data=replace(data, examples=parts.train, preferences=judged))
    facts = replace(base.facts, train_rows=len(parts.train), pairs=len(judged))
    return TrainParts(context, facts, tuple(in_order(parts.dev, project.task.seed)))
