"""Step 4, rule by rule: what a miner looks for in an update, one rule a file, in the order of section 5."""
