"""Predictor × rows → answers and latency. Rows already answered are not asked again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rung.errors import BudgetError
from rung.lm.engines import Engines
from rung.metrics import stats
from rung.predictor import CHUNK, Predictor
from rung.runs import Store
from rung.types import Example, Latency, Prediction

LATENCY_ROWS = 20
LATENCY_SECONDS = 20.0
"""Requests asked one at a time to measure latency, and the longest that this may take."""

Progress = Callable[[str, float], None]


def answer(
    predictor: Predictor, examples: Sequence[Example], store: Store, engines: Engines, progress: Progress, deadline: float
) -> list[Prediction]:
    """Predictions of all rows in order; each chunk is kept as soon as it is there, so a killed process loses little."""
    known = {row: kept for row, kept in store.predictions(predictor.digest).items() if not kept.again}
    missing = list({example.id: example for example in examples if example.id not in known}.values())
    if missing:
        predictor.warm(engines)  # loading a model is no part of answering a row
    started = time.monotonic()
    size = portion(predictor, engines)
    for start in range(0, len(missing), size):
        if time.monotonic() > deadline:
            raise BudgetError(
                f"answering stopped at row {start} of {len(missing)}: the time budget is used up.",
                remedy="Raise budget.minutes in rung.yaml; the rows answered are kept.",
            )
        found = predictor.predict(missing[start : start + size], engines)
        store.keep_predictions(predictor.digest, found)
        known |= {prediction.id: prediction for prediction in found}
        done = min(start + size, len(missing))
        left = (time.monotonic() - started) / done * (len(missing) - done)
        progress(f"row {done} of {len(missing)}, {left:.0f} s left", done / len(missing))
    return [known[example.id] for example in examples]


def portion(predictor: Predictor, engines: Engines) -> int:
    """Rows to ask between two times that answers are kept: of an endpoint enough to keep it busy."""
    return max(CHUNK, 4 * engines.api.concurrency) if predictor.model.kind == "remote" else CHUNK


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
