"""Take part in a federation: small state machines that read the ledger and do what is due."""
