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

BYTES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32}
"""Bytes a weight."""
