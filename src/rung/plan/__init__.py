"""Before anything is spent: the rungs on the bases at hand, each with its quote."""
