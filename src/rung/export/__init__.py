"""A fitted rung as files for other engines, with a proof that they answer as it does."""
