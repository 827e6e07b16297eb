"""How far an export may differ from the original."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What an export of one kind is allowed."""

    margin: float
    """Nats by which the original may prefer its own token where the export prefers another."""
    agreement: float
    """Least share of places at which both find the same token likeliest."""


LIMITS = {
    "f32": Limits(1e-3, 0.0),
    "f16": Limits(0.01, 0.0),
    "bf16": Limits(0.1, 0.97),
    "q8_0": Limits(0.5, 0.95),
}
"""By the type that the weights are written in. In float32 only ties may fall otherwise: sums are taken in another order."""


@dataclass(frozen=True, slots=True)
class LabelLimits:
    """What an export of an encoder is allowed. Besides, the paired interval of the task's metric must reach zero."""

    probability: float
    """Largest difference of a label's probability."""
    agreement: float
    """Least share of rows with the same label; ties count as the same."""


LABEL_LIMITS = {"f32": LabelLimits(1e-3, 1.0), "int8": LabelLimits(0.25, 0.95)}
"""By the type of the weights."""

BYTES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32, "int8": 1.0}
"""Bytes a weight."""
