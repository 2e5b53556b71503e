"""Serve devices as a miner; verify, vote, lead and attest."""
