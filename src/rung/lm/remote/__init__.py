"""Models behind an API: any OpenAI-compatible endpoint as an engine, with a cache, a ledger and a hard stop at the budget."""
