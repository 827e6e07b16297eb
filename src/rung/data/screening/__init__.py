"""Which documents of raw text are left out of training: duplicates, rows of dev and test, and what breaks a rule of quality."""
