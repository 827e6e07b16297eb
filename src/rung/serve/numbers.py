"""What a server counts, in Prometheus' text form. https://prometheus.io/docs/instrumenting/exposition_formats/"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable

SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper bounds of the histogram of answer times."""
TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Numbers:
    """Counters of one process; every method may be called from any thread."""

    def __init__(self, waiting: Callable[[], int] = lambda: 0):
        """`waiting`: how many requests are in the line."""
        self._lock = threading.Lock()
        self._waiting = waiting
        self._requests: Counter[tuple[str, int]] = Counter()
        self._tokens: Counter[tuple[str, str]] = Counter()
        self._times: dict[str, list[int]] = defaultdict(lambda: [0] * (len(SECONDS) + 1))
        self._sums: Counter[str] = Counter()
        self._batches = self._batched = 0

    def request(self, model: str, status: int, seconds: float, tokens_in: int = 0, tokens_out: int = 0) -> None:
        """One request that came to its end. `model`: empty where none was asked; names that clients make up are no label."""
        with self._lock:
            self._requests[model, status] += 1
            if status == 200:
                self._tokens[model, "in"] += tokens_in
                self._tokens[model, "out"] += tokens_out
                self._times[model][bisect_left(SECONDS, seconds)] += 1
                self._sums[model] += seconds  # type: ignore[assignment]

    def batch(self, jobs: int) -> None:
        """Requests that are answered together."""
        with self._lock:
            self._batches += 1
            self._batched += jobs

    def text(self) -> str:
        """All counts."""
        with self._lock:
            return "".join(
                [
                    _family("rung_requests_total", "counter", "Requests by model and status."),
                    *(_line("rung_requests_total", n, model=m, status=str(s)) for (m, s), n in sorted(self._requests.items())),
                    _family("rung_tokens_total", "counter", "Tokens read (in) and written (out) by model."),
                    *(_line("rung_tokens_total", n, model=m, direction=d) for (m, d), n in sorted(self._tokens.items())),
                    _family("rung_request_seconds", "histogram", "Seconds from a request to its whole answer."),
                    *(line for model in sorted(self._times) for line in self._histogram(model)),
                    _family("rung_batches_total", "counter", "Batches that were answered."),
                    _line("rung_batches_total", self._batches),
                    _family("rung_batched_requests_total", "counter", "Requests in those batches."),
                    _line("rung_batched_requests_total", self._batched),
                    _family("rung_waiting_requests", "gauge", "Requests in the line."),
                    _line("rung_waiting_requests", self._waiting()),
                ]
            )

    def _histogram(self, model: str) -> list[str]:
        counts, lines, so_far = self._times[model], [], 0
        for bound, count in zip((*map(str, SECONDS), "+Inf"), counts):
            so_far += count
            lines.append(_line("rung_request_seconds_bucket", so_far, model=model, le=bound))
        lines.append(_line("rung_request_seconds_sum", self._sums[model], model=model))
        return [*lines, _line("rung_request_seconds_count", so_far, model=model)]


def _family(name: str, kind: str, what: str) -> str:
    return f"# HELP {name} {what}\n# TYPE {name} {kind}\n"


def _line(name: str, value: float, **labels: str) -> str:
    shown = ",".join(f'{key}="{_escaped(label)}"' for key, label in labels.items())
    return f"{name}{{{shown}}} {value}\n" if shown else f"{name} {value}\n"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
