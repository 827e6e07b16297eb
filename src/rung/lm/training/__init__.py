"""Training: the one loop, losses, the step items of each kind of training, and checks before the first step."""
