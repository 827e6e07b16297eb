"""Number formats: dollars, times, scores, differences."""

from __future__ import annotations

MINUS = "\N{MINUS SIGN}"


def money(usd: float) -> str:
    """US dollars: cents from $0.10 on, two significant digits below; less than $0.0001 as such."""
    if usd == 0:
        return "$0"
    if usd < 0.0001:
        return "<$0.0001"
    if usd < 0.1:
        return f"${usd:.2g}"
    return f"${usd:.2f}" if usd < 100 else f"${usd:,.0f}"


def seconds(taken: float) -> str:
    """A duration in seconds, in a readable unit."""
    if taken == 0:
        return "0 s"
    if taken < 0.1:
        return "<0.1 s"
    if taken < 120:
        return f"{taken:.1f} s" if taken < 10 else f"{taken:.0f} s"
    return f"{taken / 60:.1f} min" if taken < 7200 else f"{taken / 3600:.1f} h"


def millis(taken: float) -> str:
    """Milliseconds, without the unit."""
    if taken < 1:
        return "<1"
    return f"{taken:.1f}" if taken < 10 else f"{taken:,.0f}"


def score(value: float) -> str:
    """A score from 0 to 1 with three decimals."""
    return f"{value:.3f}"


def plainly(value: float) -> str:
    """A number without needless digits: 0.75, 1,000, 0.0003."""
    return f"{value:,.10g}"


def signed(value: float) -> str:
    """A difference with its sign; the minus is as wide as a plus."""
    return f"{value:+.3f}".replace("-", MINUS)


def p_value(p: float) -> str:
    """A p-value with three decimals, or <0.001."""
    return "<0.001" if p < 0.001 else f"{p:.3f}"


FILTERS = {f.__name__: f for f in (money, seconds, millis, score, plainly, signed, p_value)}
"""Template filters by name."""
