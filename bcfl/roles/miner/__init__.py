"""The miner: it serves devices, verifies, votes, leads and attests."""
