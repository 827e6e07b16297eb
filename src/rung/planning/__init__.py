"""The plan: rungs on the available bases, each with a cost estimate."""
