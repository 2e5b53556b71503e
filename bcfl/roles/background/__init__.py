"""Do what a party does beside its rounds: claim rewards, pin vectors."""
