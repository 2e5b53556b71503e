"""The adversaries: every attack as a device, a miner or a store of a run."""
