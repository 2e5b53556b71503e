"""Serve devices as a miner; verify, vote, lead and attest."""

from bcfl.renamed import former_names

__getattr__ = former_names(__name__, {"Miner": "bcfl.roles.miner.miner.Miner"})
