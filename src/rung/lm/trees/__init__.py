"""Prefix trees: tokens behind the same prefix are computed once, in training, scoring and writing."""
