"""IPLD as the store needs it: dag-pb nodes, CAR files, blocks."""
