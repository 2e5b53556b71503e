"""Define the nouns of the protocol that cross from one floor to another, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

from bcfl.protocol.limits import TOP_LEVEL, USUAL_LEVEL

ZERO_DIGEST = bytes(32)
Exponent = int | tuple[int, ...]  # of a tensor: one, or one for each of its entries


class Phase(IntEnum):
    """The phase of a round; the numbers are those of the contract."""

    COMMIT = 0
    REVEAL = 1
    VOTE = 2
    UNVEIL = 3
    TALLY = 4
    ELECT = 5
    PROPOSE = 6
    ATTEST = 7
    IDLE = 14  # the first round has not been opened
    VOID = 15  # the round failed, the next one is due


class Verdict(IntEnum):
    """A miner's verdict on one update: accepted, or the first check that fails."""

    ACCEPTED = 0
    UNAVAILABLE = 1
    MALFORMED = 2
    TIME = 3
    DUPLICATE = 4
    QUALITY = 5
    OUTLIER = 6


class VoidReason(IntEnum):
    """The reason for which a round is void."""

    FEW_UPDATES = 1
    NO_VOTES = 2
    NO_QUORUM = 3
    FEW_ACCEPTED = 4
    NO_LEADER = 5
    NO_TALLY = 6


class Engine(IntEnum):
    """The rule that decides who leads a round."""

    STAKE = 0
    POW = 1
    RESOURCE = 2
    COMMITTEE = 3


class Mode(IntEnum):
    """The rule that says who may be a miner, and whether the engine may change."""

    FULL = 0  # every miner is a device
    PARTIAL = 1
    HYBRID = 2  # the miners' votes choose the engine of the next round


class Rule(IntEnum):
    """The rule by which accepted updates become the delta of the model."""

    MEAN = 0
    MEDIAN = 1
    TRIMMED_MEAN = 2


@dataclass(frozen=True)
class Terms:
    """The terms, fixed at deployment; the fields and their order are those of the contract.

    Time is in seconds, money in wei, shares in basis points (1/10,000).
    """

    layout: bytes  # keccak-256 of the layout's canonical description
    parameters: int  # lanes of the model vector, without padding
    scale_bits: int  # the model's value is G * 2**-scale_bits
    lane_bits: int  # 32, 16 or 8
    shift: int  # an update's value is lane * 2**-(scale_bits - shift)
    leaf_lanes: int  # lanes of a Merkle leaf
    rule: int  # Rule
    trim: int  # basis points cut from each end by the trimmed mean
    engine: int  # Engine of the first round, and of all unless the mode is hybrid
    pow_target: int  # first target of the proof-of-work race
    pow_seconds: int  # wished duration of a proof-of-work race
    min_updates: int  # fewer accepted make the round void
    max_updates: int  # more are not taken in one round
    max_samples: int  # cap on what one device may claim
    time_factor: int  # tolerated ratio of seconds per sample to the reference, in basis points
    time_slack: int  # microseconds below which a difference never counts
    rate_factor: int  # a pace counts up to so many times the voters' median (`resource`), in basis points
    grace: int  # seconds a phase stays open after all miners have acted
    commit_seconds: int
    reveal_seconds: int
    vote_seconds: int
    unveil_seconds: int
    elect_seconds: int
    propose_seconds: int
    attest_seconds: int
    challenge_seconds: int  # the window before a proposal can become final; 0: no challenges
    min_stake: int  # one vote for each full min_stake
    exit_rounds: int  # rounds between leaving and getting the stake back
    vote_penalty: int  # for each minimum stake of a miner that commits verdicts and never unveils them
    leader_penalty: int  # for a leader that misses its deadline
    reward: int  # paid out of the pool each round
    device_share: int  # basis points of the reward, by accepted samples
    miner_share: int  # basis points of the reward, by matching verdicts; the leader gets the rest
    mode: int  # Mode
    committee_size: int  # members that the committee engine draws for a round, 1 to 64
    challenge_bond: int  # wei that a challenge puts at stake; 0 where there are none
    answer_seconds: int  # to answer a move of a dispute
    tally_seconds: int  # to count the votes
    exit_seconds: int  # after which a stake is free, and anybody may open the first round
    absence_penalty: int  # basis points of the stake, for a missed round
    absence_seconds: int  # of missed rounds after which a miner is suspended
    attest_slash: int  # basis points of the stake of who attested a refuted proposal
    min_blocks: int  # blocks that a phase lasts at least


@dataclass(frozen=True)
class TensorSpec:
    """Name and shape of one tensor of the model; its values are the vector's times `2**exponent`."""

    name: str
    shape: tuple[int, ...]
    exponent: Exponent = 0


@dataclass(frozen=True)
class Layout:
    """The canonical order of the tensors that a federation shares in its flat vector.

    `base` is the hash of the rest of the model, which every party has for itself; empty where all is shared.
    `agreement`: name and value of what else all agree on, sorted by name (`bcfl.protocol.privacy`).
    """

    tensors: tuple[TensorSpec, ...]
    base: bytes = b""
    agreement: tuple[tuple[str, str], ...] = ()

    @cached_property
    def parameters(self) -> int:
        """Return the number of lanes of the vector."""
        total = 0
        for tensor in self.tensors:
            size = 1
            for extent in tensor.shape:
                size *= extent
            total += size
        return total

    @property
    def exponents(self) -> dict[str, Exponent]:
        """Return the exponents that are not 0, by tensor; for each entry of it where those differ."""
        return {tensor.name: tensor.exponent for tensor in self.tensors if tensor.exponent}


@dataclass(frozen=True)
class Update:
    """The claim of a device about one training: signed, committed to, then revealed."""

    round: int
    device: int  # the device's index in the registry
    root: bytes  # Merkle root of the packed lanes
    cid: bytes  # sha2-256 digest inside the CID
    samples: int
    microseconds: int
    salt: int  # 128 bits


@dataclass(frozen=True)
class SignedUpdate:
    """An update with its device's 64-byte signature (EIP-2098)."""

    update: Update
    signature: bytes


@dataclass(frozen=True)
class Opening:
    """The vote that a miner unveils: its verdicts on a round's updates, in submission order.

    `levels` say how much each update counts, 1 to `TOP_LEVEL`, 0 where it is rejected; without them every
    accepted one has the usual level. Raises ValueError where the two do not fit together.
    """

    round: int
    miner: str
    verdicts: tuple[Verdict, ...]
    salt: bytes  # 32 bytes
    wish: Engine | None = None  # for the next round
    levels: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        accepted = [verdict is Verdict.ACCEPTED for verdict in self.verdicts]
        if not self.levels:
            object.__setattr__(self, "levels", tuple(USUAL_LEVEL * bit for bit in accepted))
        if accepted != [0 < level <= TOP_LEVEL for level in self.levels] or min(self.levels, default=0) < 0:
            raise ValueError(f"levels {self.levels} do not fit verdicts {self.verdicts}")


@dataclass(frozen=True)
class Voter:
    """A miner that cast a vote, as the chain of votes names it."""

    account: str
    weight: int
    device: int | None = None  # index of the voter's own device
    wish: Engine | None = None
    index: int = 0  # the miner's, among the seats

    @property
    def word(self) -> int:
        """Pack index (8 bits), wish + 1 (4), device + 1 (16), weight (16) and account (160)."""
        device = 0 if self.device is None else self.device + 1
        wish = 0 if self.wish is None else self.wish + 1
        return self.index << 200 | wish << 192 | device << 176 | self.weight << 160 | int(self.account, 16)


SEAT = 200  # shift of the index in the word of a voter
ACCOUNT = (1 << 160) - 1  # the bits that hold its account


def weight_of(voter: int) -> int:
    """Return the weight in the word of a voter."""
    return voter >> 160 & 0xFFFF


@dataclass(frozen=True)
class Tally:
    """The result of a round's votes; its hash is the accepted set of the block."""

    checkpoints: tuple[bytes, ...]  # chain of updates after every 32nd update and at the end
    votes: bytes  # chain of votes
    voters: tuple[int, ...]  # voter words
    matches: tuple[int, ...]  # verdicts of each voter that the tally agrees with
    levels: tuple[int, ...]  # of each update, 0 where it is rejected
    cap: int  # most that counts of a claim: the lower median of the round's
    samples: int  # claims up to the cap, each times its level

    @property
    def accepted(self) -> tuple[bool, ...]:
        """Return whether each update is accepted."""
        return tuple(level > 0 for level in self.levels)


@dataclass(frozen=True)
class Block:
    """One entry of the model ledger."""

    parent: bytes
    round: int
    accepted: bytes
    root: bytes
    cid: bytes
    leader: str
    reward: int
    engine: int = 0  # Engine
    attested: int = 0  # mask of miners


@dataclass(frozen=True)
class Electorate:
    """All who may vote in a round, there or not: their weight, or the number of members of a committee."""

    whole: int
    is_committee: bool = False

    def decides(self, weight: int) -> bool:
        """Return whether so much decides: over 1/2 of all active weight, over 2/3 of all members."""
        return 3 * weight > 2 * self.whole if self.is_committee else 2 * weight > self.whole


@dataclass(frozen=True)
class Clock:
    """The state of the round, everything that is due counted in; `updates` is the reason if it is void."""

    phase: Phase
    updates: int
    round: int
    opened: int
    deadline: int
    acted: int  # mask of miners
    expected: int  # mask of miners
