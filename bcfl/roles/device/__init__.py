"""The device: it trains, commits to its update and reveals it."""
