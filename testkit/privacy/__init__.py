"""Attack the privacy of training data: what an adversary gets of a round, and what it makes of it."""
