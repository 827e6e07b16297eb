"""Engines that answer: causal models, encoders, rules and fakes; embedding and reranking."""
