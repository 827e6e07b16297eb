"""Training: the one loop, losses, the items of each kind of training, and checks before it begins."""
