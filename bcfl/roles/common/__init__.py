"""Share vectors on the store, the journal and the snapshot of a round among the roles."""
