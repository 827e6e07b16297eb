"""Sequential analysis: rows are scored in stages, and a rung or trial stops at the first stage that is conclusive."""
