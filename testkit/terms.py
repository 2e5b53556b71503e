"""State the terms of the harness: small, and within every floor of the contract."""

from __future__ import annotations

from dataclasses import replace

from bcfl.protocol.hashing import keccak
from bcfl.protocol.types import Terms

ETHER = 10**18

TERMS = Terms(
    layout=keccak(b"layout"), parameters=1000, scale_bits=24, lane_bits=16, shift=8, leaf_lanes=32,
    rule=0, trim=1000, engine=0, pow_target=2**248, pow_seconds=10,
    min_updates=2, max_updates=1024, max_samples=100_000, time_factor=100_000, time_slack=100_000,
    rate_factor=20_000, grace=0,
    commit_seconds=600, reveal_seconds=600, vote_seconds=600, unveil_seconds=600,
    elect_seconds=600, propose_seconds=600, attest_seconds=600, challenge_seconds=0,
    min_stake=ETHER, exit_rounds=2, vote_penalty=ETHER // 10, leader_penalty=ETHER // 20,
    reward=ETHER // 2, device_share=6000, miner_share=3000,
    mode=1, committee_size=3, challenge_bond=0, answer_seconds=600, tally_seconds=600,
    exit_seconds=100_000, absence_penalty=100, absence_seconds=100_000, attest_slash=2500, min_blocks=0,
)  # fmt: skip
# The same with challenges.
CHALLENGED = replace(TERMS, attest_seconds=1200, challenge_seconds=1200, challenge_bond=ETHER // 10)
