"""State once the numbers that several modules must agree on; those of the contract are the same there."""

from __future__ import annotations

from typing import Final

BASIS_POINTS: Final = 10_000  # basis points in one

MODEL_BITS: Final = 32  # bits of a lane of the model
MODEL_BYTES: Final = MODEL_BITS // 8  # bytes of a lane of the model
LEAF_LANES: Final = 32  # lanes of a Merkle leaf, where a configuration names none and the model is not large
MAX_LEAF_LANES: Final = 1_024  # lanes of a Merkle leaf
MAX_EXPONENT: Final = 60  # of a tensor: its values are 2**60 times the vector's, or 2**-60 times, at most

MAX_MINERS: Final = 64  # miners of a federation: votes of a round, members of a committee
MAX_WEIGHT: Final = 65_535  # full minimal stakes that count of one miner
MAX_REGISTRATIONS: Final = 64  # devices registered in one call

MAX_UPDATES: Final = 1_024  # updates of a round
COMMITTEES: Final = 3  # committees that a round in which everybody votes draws
TOP_LEVEL: Final = 4  # of an update: how much it counts
USUAL_LEVEL: Final = 3  # of an update of which nothing else is known
MAX_BATCH: Final = 64  # updates of one miner's batch
MAX_PACE: Final = 2**24 - 1  # samples per second that a word of the chain of updates holds
GROUP: Final = 32  # updates between two checkpoints

LEVELS: Final = 8  # levels of a tree of which one answer in a dispute shows the nodes
MAX_SHOWN: Final = 120_288  # bytes of a challenge that depend on the terms; docs/protocol.md derives it

NO_DEADLINE: Final = 2**32 - 1  # seconds: the deadline of a phase that time does not end
MAX_PHASE_SECONDS: Final = 30 * 24 * 3600  # seconds of a phase in a configuration; the contract admits more
WEI_BITS: Final = 96  # bits of an amount of wei in a configuration; the contract admits more

MAX_CALLS: Final = 32  # calls in one multicall
MULTICALL_BYTES: Final = 20_480  # bytes of calldata of all calls in one multicall
TRANSACTION_BYTES: Final = 2**17  # bytes of a transaction that nodes take
TRANSACTION_GAS: Final = 2**24  # gas of a transaction, at most (EIP-7825)
BLOCK_GAS: Final = 30_000_000  # gas of a block of the embedded chain


def shown_bytes(updates: int, leaf_lanes: int, lane_bits: int) -> int:
    """Return the bytes of a challenge that the terms set: leaf and weight of an update, two of models."""
    return updates * (leaf_lanes * lane_bits // 8 + 4) + 2 * MODEL_BYTES * leaf_lanes
