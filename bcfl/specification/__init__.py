"""The contract once more, in plain Python: what `contracts/` does, without an EVM."""
