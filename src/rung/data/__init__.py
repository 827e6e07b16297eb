"""The team's rows: loading, splitting and checking."""
