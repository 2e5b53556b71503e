"""Check a round's updates, one rule a file."""
