"""Numbers, amounts with units and dates in answers, compared by how far they lie apart."""

from __future__ import annotations

import datetime
import math
import re
from dataclasses import dataclass
from fractions import Fraction

from rung.metrics import tokens
from rung.metrics.numbers import Mark, convention
from rung.metrics.plain import plain_text

DATE = "date"
"""The unit of a date, whose value is its day; tolerances on dates are in days."""

_DECIMAL = re.compile(r":[≥≤<>±~≈]?(-?)(\d+)(?:e(-?\d+))?(?: (.+))?")
_FRACTION = re.compile(r":(-?)(\d+)/(\d+)")
_ANY_YEAR = re.compile(r":--\d{2}-(\d{2})")
_DAY = re.compile(r":(\d{4}-\d{2}-\d{2})")

_SCALES: tuple[dict[str, float], ...] = (
    {
        "m": 1,
        "km": 1e3,
        "cm": 1e-2,
        "mm": 1e-3,
        "µm": 1e-6,
        "nm": 1e-9,
        "mi": 1609.344,
        "ft": 0.3048,
        "inch": 0.0254,
        "yd": 0.9144,
    },
    {"g": 1, "kg": 1e3, "mg": 1e-3, "µg": 1e-6, "t": 1e6, "lb": 453.59237, "oz": 28.349523125},
    {"L": 1, "mL": 1e-3, "cL": 1e-2, "m^3": 1e3, "cm^3": 1e-3},
    {"s": 1, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9, "min": 60, "h": 3600, "d": 86400, "week": 604800},
    {"Hz": 1, "kHz": 1e3, "MHz": 1e6, "GHz": 1e9},
    {"W": 1, "mW": 1e-3, "kW": 1e3, "MW": 1e6, "GW": 1e9},
    {"J": 1, "kJ": 1e3, "MJ": 1e6, "mJ": 1e-3, "mWh": 3.6, "Wh": 3600, "kWh": 3.6e6, "MWh": 3.6e9, "cal": 4.184, "kcal": 4184},
    {"V": 1, "mV": 1e-3, "kV": 1e3, "MV": 1e6},
    {"Pa": 1, "mPa": 1e-3, "hPa": 100, "kPa": 1e3, "MPa": 1e6, "bar": 1e5, "mbar": 100, "psi": 6894.757293168},
    {"byte": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30},
    {"m/s": 1, "km/h": 1 / 3.6, "mph": 0.44704},
    {"m^2": 1, "km^2": 1e6, "cm^2": 1e-4, "mm^2": 1e-6, "ha": 1e4, "acre": 4046.8564224},
)
"""Units that are converted into each other, by `rung.metrics.units`' names; each with its size in the first of its line."""
_SCALE = {unit: (line, size) for line, scale in enumerate(_SCALES) for unit, size in scale.items()}


@dataclass(frozen=True, slots=True)
class Amount:
    """A number with its unit, or a date."""

    value: float
    unit: str = ""
    """As `rung.metrics.units` names it; `date` for a date, empty for a bare number."""

    def within(self, unit: str) -> float | None:
        """The value in another unit; None where the two do not measure the same."""
        if self.unit == unit:
            return self.value
        own, other = _SCALE.get(self.unit), _SCALE.get(unit)
        return self.value * own[1] / other[1] if own and other and own[0] == other[0] else None


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an answer may lie from the right one."""

    amount: Amount
    relative: bool
    """A share of the right value."""

    def around(self, right: Amount) -> float | None:
        """The tolerance in the unit of the right value; None where its own unit measures something else."""
        if self.relative:
            return abs(self.amount.value * right.value)
        if right.unit == DATE:
            return self.amount.within("d") if self.amount.unit else self.amount.value
        return self.amount.within(right.unit) if self.amount.unit else self.amount.value


def tolerance(text: str) -> Tolerance | None:
    """A tolerance as a task names it: `0.5`, `5%`, `2 days`, `0.1 kg`; None for anything else."""
    found = amounts(text)
    if len(found) != 1 or found[0].unit == DATE or not 0 <= found[0].value < math.inf:
        return None
    return Tolerance(found[0], text.rstrip().endswith("%"))


def amounts(text: str, mark: Mark = ".") -> list[Amount]:
    """All amounts of a text in order. `mark`: decimal mark of ambiguous numbers if the text does not show it."""
    return [found for token in tokens.tokenize(text, mark) if (found := _amount(token))]


def _amount(token: str) -> Amount | None:
    if found := _DECIMAL.fullmatch(token):
        sign, digits, exponent, unit = found.groups()
        return Amount(float(f"{sign}{digits}e{exponent or 0}"), unit or "")
    if (found := _FRACTION.fullmatch(token)) and int(found[3]):
        return Amount(float(Fraction(int(found[1] + found[2]), int(found[3]))))
    if found := _ANY_YEAR.fullmatch(token):  # without a year its number is all that can be measured
        return Amount(float(found[1]))
    if found := _DAY.fullmatch(token):
        try:
            return Amount(datetime.date.fromisoformat(found[1]).toordinal(), DATE)
        except ValueError:  # 2024-02-31
            return None
    return None


def expected(reference: str) -> Amount | None:
    """The amount that a right answer states: its last one; None where it states none."""
    found = amounts(reference)
    return found[-1] if found else None


def distance(output: str, reference: str) -> float | None:
    """How far the answer lies from the right one, in the right one's unit; None where it has no amount of that kind.

    Of several the last counts. An answer must name a unit where the right one does; where it does not, the answer's is ignored.
    """
    right = expected(reference)
    assert right is not None, f"{reference!r} states no amount"
    said = amounts(output, convention(plain_text(reference)) or ".")
    if not right.unit:
        values = [one.value for one in said if one.unit != DATE]
    else:
        values = [value for one in said if (value := one.within(right.unit)) is not None]
    return abs(values[-1] - right.value) if values and math.isfinite(values[-1]) else None
