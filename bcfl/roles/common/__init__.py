"""Share among the roles: vectors on the store, the journal, the snapshot of a round."""
