# pragma version 0.4.3
"""
@title constants: the numbers that several modules share
@license Apache-2.0
@notice Masks, shares, phases and engines, each written once.
"""


MASK4: constant(uint256) = 2**4 - 1
MASK6: constant(uint256) = 2**6 - 1
MASK8: constant(uint256) = 2**8 - 1
MASK16: constant(uint256) = 2**16 - 1
MASK24: constant(uint256) = 2**24 - 1
MASK31: constant(uint256) = 2**31 - 1
MASK32: constant(uint256) = 2**32 - 1
MASK36: constant(uint256) = 2**36 - 1
MASK56: constant(uint256) = 2**56 - 1
MASK64: constant(uint256) = 2**64 - 1
MASK128: constant(uint256) = 2**128 - 1
MASK160: constant(uint256) = 2**160 - 1
MASK255: constant(uint256) = 2**255 - 1

BASIS: constant(uint256) = 10_000  # basis points in one
MAX_MINERS: constant(uint256) = 64
MAX_UPDATES: constant(uint256) = 1_024
GROUP: constant(uint256) = 32  # updates between two checkpoints

COMMIT: constant(uint256) = 0  # phases
REVEAL: constant(uint256) = 1
VOTE: constant(uint256) = 2
UNVEIL: constant(uint256) = 3
TALLY: constant(uint256) = 4
ELECT: constant(uint256) = 5
PROPOSE: constant(uint256) = 6
ATTEST: constant(uint256) = 7
IDLE: constant(uint256) = 14  # the first round has not been opened
VOID: constant(uint256) = 15  # the round failed, the next one is due

FEW_UPDATES: constant(uint256) = 1  # why a round is void
NO_VOTES: constant(uint256) = 2
NO_QUORUM: constant(uint256) = 3
FEW_ACCEPTED: constant(uint256) = 4
NO_LEADER: constant(uint256) = 5
NO_TALLY: constant(uint256) = 6

STAKE: constant(uint256) = 0  # engines
POW: constant(uint256) = 1
RESOURCE: constant(uint256) = 2
COMMITTEE: constant(uint256) = 3

FULL: constant(uint256) = 0  # modes
HYBRID: constant(uint256) = 2
