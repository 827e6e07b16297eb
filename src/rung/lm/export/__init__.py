"""A fitted causal model as files that other engines load, and those engines asked beside rung's own."""
