"""The log-probabilities of a task's labels, for the requests that ask for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from rung.lm.base import ScoresLabels
from rung.predictor import Predictor
from rung.serve.answering.asks import Ask
from rung.serve.answering.job import Outcome, TokenLogprob
from rung.serve.answering.models import Served
from rung.serve.endpoints.refused import Refused

Answers = list[Outcome | Refused]


def with_label_logprobs(served: Served, predictor: Predictor, asks: Sequence[Ask], outcomes: Answers) -> Answers:
    """The outcomes, those that were asked for them with the log-probabilities of their labels.

    They are those among the task's labels, after calibration: their exponentials sum to one, and the label's own is its
    confidence.
    """
    wanted = [k for k, one in enumerate(outcomes) if asks[k].job.chat.logprobs is not None and isinstance(one, Outcome)]
    if not wanted:
        return outcomes
    engine = served.engines.open(served.model)
    assert isinstance(engine, ScoresLabels), "Served.check lets no other through"
    rows = [asks[k].job.chat.example for k in wanted]
    sources = [found.sources for found in predictor.retrieve(rows, served.engines, asks[0].job.allow)]
    weights = engine.weigh(predictor.prompts(rows, served.engines, sources), predictor.labels)
    out = list(outcomes)
    for k, logs in zip(wanted, weights):
        one = out[k]
        assert isinstance(one, Outcome)
        out[k] = replace(
            one, logprobs=(_logprob(str(one.about.get("guess", one.text)), predictor, logs, asks[k].job.chat.logprobs or 0),)
        )
    return out


def _logprob(label: str, predictor: Predictor, logs: Sequence[float], top: int) -> TokenLogprob:
    biased = [log + bias for log, bias in zip(logs, predictor.calibration.bias)] if predictor.calibration else list(logs)
    best = max(biased)
    total = best + math.log(sum(math.exp(one - best) for one in biased))
    shares = {name: one - total for name, one in zip(predictor.labels, biased)}
    ranked = sorted(shares.items(), key=lambda pair: -pair[1])
    return TokenLogprob(label, shares[label], tuple(ranked[:top]))
