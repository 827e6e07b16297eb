"""Prefix trees: tokens after the same prefix are computed once, in training, scoring and generation."""
