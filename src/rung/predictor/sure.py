"""Answers that a Predictor is not sure enough to give: what they become, and their confidence."""

from __future__ import annotations

import math
from dataclasses import replace

from rung.predictor.value import Threshold
from rung.types import Prediction

EDGE = 1e-6
"""Confidences are taken as this far from 0 and 1 at least, so that their log-odds are finite."""


def calibrated(confidence: float, threshold: Threshold) -> float:
    """The confidence with its log-odds times `slope` plus `shift` (Platt 1999): rises with it, so no order changes."""
    if (threshold.slope, threshold.shift) == (1.0, 0.0):
        return confidence
    sure = min(max(confidence, EDGE), 1 - EDGE)
    return 1 / (1 + math.exp(-threshold.slope * math.log(sure / (1 - sure)) - threshold.shift))


def given(found: Prediction, threshold: Threshold | None) -> Prediction:
    """The prediction with its calibrated confidence; under the threshold no answer, but the reason and the guess.

    An answer without a confidence counts as not sure, unless the threshold asks for none.
    """
    if threshold is None or found.error or found.abstained:
        return found
    if found.confidence is None:
        return _left(found, "the model gave no confidence") if threshold.at > 0 else found
    sure = calibrated(found.confidence, threshold)
    found = replace(found, confidence=sure)
    return found if sure >= threshold.at else _left(found, f"its confidence of {sure:.2f} is under {threshold.at:.2f}")


def is_sure(found: Prediction, cut: Threshold) -> bool:
    """Whether the first of a cascade has an answer that it is sure of; one that failed is passed on as well."""
    return not found.error and not given(found, cut).abstained


def joined(first: Prediction, second: Prediction | None, cut: Threshold) -> Prediction:
    """The answer of a cascade: that of the first, or of the second with the time and the tokens of both."""
    if second is None:
        return given(first, cut)
    return replace(
        second,
        seconds=first.seconds + second.seconds,
        tokens_in=first.tokens_in + second.tokens_in,
        tokens_out=first.tokens_out + second.tokens_out,
        tokens_cached=first.tokens_cached + second.tokens_cached,
    )


def _left(found: Prediction, why: str) -> Prediction:
    return replace(found, output="", guess=found.output, abstained=f"not sure: {why}")
