"""Deploy a federation: networks, keys, records and the inspection of what was deployed."""
