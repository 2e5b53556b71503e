"""Set up, run and query a federation: in one process, or as processes on a network."""
