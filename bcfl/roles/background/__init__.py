"""What a party does beside its rounds: claim rewards, pin bytes."""
