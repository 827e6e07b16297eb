"""Answering only where a rung is sure: the threshold, chosen on train, and how confidence relates to being right."""
