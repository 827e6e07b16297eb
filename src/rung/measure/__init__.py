"""What is measured of a Predictor beside its fit: answers, latency, memory, forgetting, attacks, and who judges."""
