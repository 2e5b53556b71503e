"""Who takes part: small state machines that read the ledger and do what is due."""
