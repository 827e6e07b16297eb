"""Predictor × rows → answers and latency. Rows already answered are not asked again."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence

from rung.errors import BudgetError, RungError
from rung.lm.engine_kinds import can
from rung.lm.engines import Engines
from rung.metrics import stats
from rung.predictor import CHUNK, Predictor
from rung.store import Store
from rung.types import Example, Latency, Prediction

LATENCY_ROWS = 20
LATENCY_SECONDS = 20.0
"""Requests asked one at a time to measure latency, and the longest that this may take."""

FIRST = 8
"""Rows to ask of an endpoint before the others: where they all fail alike, the others are not asked."""

Progress = Callable[[str, float], None]


class Unanswered(RungError):
    """No row has an answer, for a reason that says nothing of the model."""


def answer(
    predictor: Predictor, examples: Sequence[Example], store: Store, engines: Engines, progress: Progress, deadline: float
) -> list[Prediction]:
    """Predictions of all rows in order; each chunk is kept as soon as it is there, so a killed process loses little.

    A row that failed for a reason outside the model is asked again. Unanswered where all rows fail so; where a chunk of
    `FIRST` rows or more fails alike, the rest is not asked.
    """
    known = {row: kept for row, kept in store.predictions(predictor.digest).items() if not kept.failed}
    missing = list({example.id: example for example in examples if example.id not in known}.values())
    if missing:
        predictor.warm(engines)  # loading a model is no part of answering a row
    started = time.monotonic()
    size = portion(predictor, engines)
    for start, end in _chunks(len(missing), size, size if can(predictor.model).local else FIRST):
        if time.monotonic() > deadline:
            raise BudgetError(
                f"answering stopped at row {start} of {len(missing)}: the time budget is used up.",
                remedy="Raise budget.minutes in rung.yaml; the rows answered are kept.",
            )
        found = predictor.predict(missing[start:end], engines)
        store.keep_predictions(predictor.digest, found)
        known |= {prediction.id: prediction for prediction in found}
        if len(found) >= FIRST and (why := alike(found)):
            asked, rest = ("first " if start == 0 else ""), len(missing) - end
            left = f", and the other {rest} were not asked" if rest else ""
            raise Unanswered(f"the {asked}{len(found)} of {len(missing)} rows asked all failed alike{left}: {why}")
        left_s = (time.monotonic() - started) / end * (len(missing) - end)
        progress(f"row {end} of {len(missing)}, {left_s:.0f} s left", end / len(missing))
    answers = [known[example.id] for example in examples]
    if all(one.failed for one in answers):
        raise Unanswered(f"all {len(answers)} rows failed, the first since: {answers[0].error}")
    return answers


def _chunks(rows: int, size: int, first: int) -> Iterator[tuple[int, int]]:
    """Begin and end of each chunk of rows, the first one `first` rows long."""
    start, end = 0, min(first, rows)
    while start < rows:
        yield start, end
        start, end = end, min(end + size, rows)


def alike(found: Sequence[Prediction]) -> str:
    """The reason outside the model for which all rows failed, where it is the same one but for numbers; else empty."""
    reasons = {re.sub(r"\d+", "#", one.error) if one.failed else "" for one in found}
    return found[0].error if len(reasons) == 1 else ""


def portion(predictor: Predictor, engines: Engines) -> int:
    """Rows to ask between two times that answers are kept: of an endpoint enough to keep it busy."""
    return CHUNK if can(predictor.model).local else max(CHUNK, 4 * engines.api.concurrency)


def latency(predictor: Predictor, examples: Sequence[Example], store: Store, engines: Engines) -> Latency:
    """Milliseconds a request, asked one at a time after two to warm up, as a server would be asked."""
    if found := store.latency(predictor.digest):
        return found
    predictor.warm(engines)
    for example in examples[:2]:
        predictor.predict([example], engines)
    taken: list[float] = []
    started = time.monotonic()
    for example in examples[2 : 2 + LATENCY_ROWS] or examples:
        [answered] = predictor.predict([example], engines)
        taken.append(answered.seconds * 1000)  # of an answer that an engine gives again: as it first was
        if time.monotonic() - started > LATENCY_SECONDS and len(taken) >= 5:
            break
    measured = Latency(stats.quantile_interval(taken, 0.5), stats.quantile_interval(taken, 0.95))
    store.keep_latency(predictor.digest, measured)
    return measured
