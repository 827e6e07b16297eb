"""Answers and latency of a Predictor on rows. Stored answers are reused."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Sequence

from rung.errors import BudgetError, RungError
from rung.lm.engine_kinds import can
from rung.lm.engines import Engines
from rung.metrics import stats
from rung.predictor import CHUNK, Predictor, sure
from rung.store import Store
from rung.types import Example, Latency, Prediction

LATENCY_ROWS = 20
LATENCY_SECONDS = 20.0
"""Number of single requests for measuring latency, and their time limit."""

FIRST_ROWS = 8
"""Rows to send to an API first: if all fail in the same way, the rest is not sent."""

Progress = Callable[[str, float], None]


class NoAnswersError(RungError):
    """No row has an answer, for a reason outside the model."""


def answer(
    predictor: Predictor, examples: Sequence[Example], store: Store, engines: Engines, progress: Progress, deadline: float
) -> list[Prediction]:
    """Predictions of all rows in order; each chunk is stored at once, so a killed process loses little.

    Rows that failed for a reason outside the model are retried. NoAnswersError if all rows fail that way; if a chunk of at
    least FIRST_ROWS rows fails in the same way, the rest is not asked.
    """
    if predictor.then:
        return _cascaded(predictor, predictor.then, examples, store, engines, progress, deadline)
    known = _known(predictor, store)
    if any(example.id not in known for example in examples):
        with store.lease(f"predictions/{predictor.digest}", deadline):
            known = _ask(predictor, examples, store, engines, progress, deadline)
    answers = [known[example.id] for example in examples]
    if all(one.failed for one in answers):
        raise NoAnswersError(f"all {len(answers)} rows failed; the first: {answers[0].error}")
    return answers


def _known(predictor: Predictor, store: Store) -> dict[str, Prediction]:
    """Stored answers by row, but for those that failed for a reason outside the model."""
    return {row: kept for row, kept in store.predictions(predictor.digest).items() if not kept.failed}


def _ask(
    predictor: Predictor, examples: Sequence[Example], store: Store, engines: Engines, progress: Progress, deadline: float
) -> dict[str, Prediction]:
    """Answer the rows that have no stored answer; all answers by row. For who has the lease of these answers."""
    known = _known(predictor, store)
    missing = list({example.id: example for example in examples if example.id not in known}.values())
    if missing:
        predictor.warm(engines)  # loading time does not count
    started = time.monotonic()
    size = chunk_rows(predictor, engines)
    for start, end in _chunks(len(missing), size, size if can(predictor.model).local else FIRST_ROWS):
        if time.monotonic() > deadline:
            raise BudgetError(
                f"answering stopped at row {start} of {len(missing)}: the time budget is used up.",
                remedy="Raise budget.minutes in rung.yaml; answered rows are stored.",
            )
        found = predictor.predict(missing[start:end], engines)
        store.keep_predictions(predictor.digest, found)
        known |= {prediction.id: prediction for prediction in found}
        if len(found) >= FIRST_ROWS and (why := common_error(found)):
            asked, rest = ("first " if start == 0 else ""), len(missing) - end
            left = f", and the other {rest} were not asked" if rest else ""
            raise NoAnswersError(f"the {asked}{len(found)} of {len(missing)} rows asked all failed in the same way{left}: {why}")
        left_s = (time.monotonic() - started) / end * (len(missing) - end)
        progress(f"row {end} of {len(missing)}, {left_s:.0f} s left", end / len(missing))
    return known


def _cascaded(
    predictor: Predictor,
    then: Predictor,
    examples: Sequence[Example],
    store: Store,
    engines: Engines,
    progress: Progress,
    deadline: float,
) -> list[Prediction]:
    """Predictions of a cascade, from the stored answers of its two Predictors and what is missing of these."""
    assert predictor.cascade
    cut = predictor.cascade.cut
    first = answer(predictor.alone, examples, store, engines, progress, deadline)
    open_rows = [example for example, one in zip(examples, first) if not sure.is_sure(one, cut)]
    second = iter(answer(then, open_rows, store, engines, progress, deadline) if open_rows else ())
    found = [sure.joined(one, None if sure.is_sure(one, cut) else next(second), cut) for one in first]
    known = store.predictions(predictor.digest)
    store.keep_predictions(predictor.digest, [one for one in found if known.get(one.id) != one])
    return found


def _chunks(rows: int, size: int, first: int) -> Iterator[tuple[int, int]]:
    """Start and end of each chunk; the first has `first` rows."""
    start, end = 0, min(first, rows)
    while start < rows:
        yield start, end
        start, end = end, min(end + size, rows)


def common_error(found: Sequence[Prediction]) -> str:
    """The common error outside the model of all rows, ignoring numbers; empty if there is none."""
    reasons = {re.sub(r"\d+", "#", one.error) if one.failed else "" for one in found}
    return found[0].error if len(reasons) == 1 else ""


def chunk_rows(predictor: Predictor, engines: Engines) -> int:
    """Rows per chunk; for an API or a server enough to keep it busy."""
    able = can(predictor.model)
    return max(CHUNK, able.at_once, 0 if able.local else 4 * engines.api.concurrency)


def latency(predictor: Predictor, examples: Sequence[Example], store: Store, engines: Engines) -> Latency:
    """Milliseconds per request, sent one at a time after two warm-up requests, as to a server."""
    if found := store.latency(predictor.digest):
        return found
    predictor.warm(engines)
    for example in examples[:2]:
        predictor.predict([example], engines)
    taken: list[float] = []
    started = time.monotonic()
    for example in examples[2 : 2 + LATENCY_ROWS] or examples:
        [answered] = predictor.predict([example], engines)
        taken.append(answered.seconds * 1000)  # for a cached answer, its original time
        if time.monotonic() - started > LATENCY_SECONDS and len(taken) >= 5:
            break
    measured = Latency(stats.quantile_interval(taken, 0.5), stats.quantile_interval(taken, 0.95))
    store.keep_latency(predictor.digest, measured)
    return measured
