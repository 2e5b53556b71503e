"""Whoever misbehaves in steps 2 to 6: every attack as a device, a miner or a store of a run."""
