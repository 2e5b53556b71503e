"""A federation of real processes that are killed at random: what a round has to survive."""
