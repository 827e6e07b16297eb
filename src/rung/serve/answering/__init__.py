"""From requests that wait to their outcomes: the queue, the running batch, the models."""
