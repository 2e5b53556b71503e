"""Deploy a federation and find it again: networks, keys, addresses, records, inspection."""
