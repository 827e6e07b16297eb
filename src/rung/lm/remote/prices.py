"""List prices of API models, each with the month of its source; prices change, so check what you pay."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input: float
    output: float
    cached: float | None = None
    """For input tokens in the provider's prompt cache; None: the same as `input`."""
    noted: str = ""
    """Year and month of the price; empty for the user's own."""

    def usd(self, tokens_in: int, tokens_out: int, tokens_cached: int = 0) -> float:
        """Dollars for one or more calls; `tokens_in` includes cached tokens."""
        cheap = self.input if self.cached is None else self.cached
        return ((tokens_in - tokens_cached) * self.input + tokens_cached * cheap + tokens_out * self.output) / 1e6


KNOWN: dict[str, Price] = {
    "gpt-4o": Price(2.50, 10.00, 1.25, "2026-06"),
    "gpt-4o-mini": Price(0.15, 0.60, 0.075, "2026-06"),
    "gpt-4.1": Price(2.00, 8.00, 0.50, "2026-06"),
    "gpt-4.1-mini": Price(0.40, 1.60, 0.10, "2026-06"),
    "gpt-4.1-nano": Price(0.10, 0.40, 0.025, "2026-06"),
    "gpt-5": Price(1.25, 10.00, 0.125, "2026-03"),
    "gpt-5-mini": Price(0.25, 2.00, 0.025, "2026-03"),
    "gpt-5-nano": Price(0.05, 0.40, 0.005, "2026-03"),
    "gpt-5.1": Price(1.25, 10.00, None, "2026-03"),
    "gpt-5.4": Price(2.50, 15.00, None, "2026-03"),
    "o3": Price(2.00, 8.00, 0.50, "2026-03"),
    "o4-mini": Price(1.10, 4.40, 0.275, "2026-03"),
}
"""OpenAI's standard tier; prices of March 2026 come from third-party copies of its page. Check this against
https://openai.com/api/pricing before money depends on it, and put what you pay under `prices` in rung.yaml. A model that is
not here has no known price. The price of an hour of a rented GPU is in `rung.machine_prices.USD_PER_GPU_HOUR`."""
