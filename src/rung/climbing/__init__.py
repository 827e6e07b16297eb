"""The climb: a task made ready, its rungs fitted and measured in order, the decision, the test rows opened once."""
