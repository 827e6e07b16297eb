"""Measurements of a Predictor: answers, latency, memory, forgetting, injected instructions, LLM judge."""
