"""What is measured of a Predictor: answers, latency, memory, forgetting, injected instructions, the judge."""
