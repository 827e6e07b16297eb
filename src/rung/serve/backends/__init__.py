"""Which engine writes the answers of a served model: rung's own, or a backend whose answers agree and that is faster."""
