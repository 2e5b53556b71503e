"""A federation of the real roles in one thread and virtual time, in which a seed decides what goes wrong."""
