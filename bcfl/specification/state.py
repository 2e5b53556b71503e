"""Hold the whole storage of a federation, module by module, as `state.vy` does.

Every value in it is immutable, and the only containers are dictionaries, in pages where they grow for ever: a
change replaces a value. So a copy of the state is a copy of the dictionaries, and a call that reverts takes
the copy from before it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, Final, Self

from bcfl.errors import ChallengeError
from bcfl.protocol import disputes, docket
from bcfl.protocol.challenges import Trees
from bcfl.protocol.limits import NO_DEADLINE
from bcfl.protocol.scores import Resources
from bcfl.protocol.types import ZERO_DIGEST, Engine, Phase, Terms
from bcfl.specification.pages import Pages

ZERO_ADDRESS: Final = "0x" + "0" * 40
STAYS: Final = NO_DEADLINE  # the last round of a device that has not left
NOBODY: Final = 255  # the leader's seat while a race is on
NEWCOMER: Final = Resources()
CONTAINERS: Final = (dict, Pages)


class Storage:
    """The variables of one module."""

    def copy(self) -> Self:
        """Return a copy that shares no dictionary."""
        twin = object.__new__(type(self))
        values = twin.__dict__
        values.update(self.__dict__)
        for name in _containers(type(self)):  # type: ignore[arg-type]  # a class can be hashed
            values[name] = values[name].copy()
        return twin


@cache
def _containers(module: Any) -> tuple[str, ...]:
    """Return the names of the variables of a module that hold a container."""
    return tuple(field.name for field in fields(module) if field.default_factory in CONTAINERS)


@dataclass
class Accounts(Storage):
    """Ether and nonces of all accounts: what the chain itself keeps."""

    balances: dict[str, int] = field(default_factory=dict)  # wei
    nonces: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """What is known of a miner; without a seat it has left, and its stake is not released yet."""

    index: int  # its seat
    weight: int = 0
    is_seated: bool = True
    is_device: bool = False  # too
    consents: bool = False  # to become a device when the next round opens
    is_suspended: bool = False
    digest: int = 0  # upper 224 bits of what it committed to last


@dataclass(frozen=True)
class Exit:
    """When a miner's stake is free: from a round on, or some time after its last round ended."""

    round: int
    time: int = 0  # seconds; 0: its last round is not over


@dataclass(frozen=True)
class Device:
    """A device takes part from one round on until another."""

    account: str = ZERO_ADDRESS
    from_round: int = 0
    until_round: int = 0


@dataclass
class Registry(Storage):
    """Who takes part. Masks have a bit for each seat."""

    owner: str = ZERO_ADDRESS
    records: dict[str, Record] = field(default_factory=dict)
    stakes: dict[str, int] = field(default_factory=dict)  # wei
    exits: dict[str, Exit] = field(default_factory=dict)
    miners: dict[int, str] = field(default_factory=dict)  # by seat
    active: int = 0  # mask
    changed: int = 0  # mask
    leaving: int = 0  # mask
    total: int = 0  # weight of the active miners
    next_engine: int = Engine.STAKE
    staked: int = 0  # wei
    devices: dict[int, Device] = field(default_factory=dict)
    device_index: dict[str, int] = field(default_factory=dict)


@dataclass
class Turns(Storage):
    """Credits in units of 2**-24 leads."""

    credits: dict[int, int] = field(default_factory=dict)  # by seat


@dataclass
class Treasury(Storage):
    """The pool and what is owed, in wei."""

    pool: int = 0
    owed: int = 0
    credits: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Rest:
    """What a miner's absence has come to; times in seconds."""

    since: int = 0  # of the first miss of a spell
    strikes: int = 0  # suspensions of late
    until_round: int = 0
    last: int = 0  # suspension


@dataclass
class Absence(Storage):
    """Misses of seats, and suspensions of miners."""

    missed: dict[int, int] = field(default_factory=dict)  # by seat
    rests: dict[str, Rest] = field(default_factory=dict)


@dataclass(frozen=True)
class RoundClock:
    """Where the round stands; `updates` is the reason where it is void."""

    phase: int = Phase.IDLE
    updates: int = 0
    round: int = 0
    opened: int = 0  # seconds
    deadline: int = 0  # seconds
    since: int = 0  # the low 16 bits of the number of the block in which the phase began
    acted: int = 0  # mask
    expected: int = 0  # mask
    engine: int = Engine.STAKE


@dataclass(frozen=True)
class Committee:
    """Who decides for the others; a mask of 0 where everybody votes."""

    mask: int = 0
    size: int = 0  # as it was drawn: who has left counts as one that says no

    @property
    def word(self) -> int:
        """Return both in one number, as the contract logs them."""
        return self.size << 64 | self.mask


@dataclass
class Rounds(Storage):
    """The clock, the model ledger and the committees."""

    clock: RoundClock = RoundClock()
    head: bytes = ZERO_DIGEST
    ledger: Pages[bytes] = field(default_factory=Pages)  # hashes of blocks, by round
    committee: Committee = Committee()  # of the running round
    drawn: int = 0  # members of each committee that is drawn
    draws: tuple[int, ...] = ()  # masks of the committees of the next rounds, the next one first


@dataclass
class Submissions(Storage):
    """What the devices have handed in."""

    links: bytes = ZERO_DIGEST  # the chain of updates
    seen: dict[int, int] = field(default_factory=dict)  # device -> the last round that it revealed in
    lone: dict[str, bytes] = field(default_factory=dict)  # account -> keccak of round and digest


@dataclass(frozen=True)
class Score:
    """What the contract has seen of a miner's resources, and its score before the last round of that."""

    resources: Resources = NEWCOMER
    before: int = 0
    round: int = 0


@dataclass
class Scores(Storage):
    """Resources of miners, by account."""

    records: dict[str, Score] = field(default_factory=dict)


@dataclass(frozen=True)
class Lead:
    """Who leads, and what has attested its proposal."""

    leader: int = 0  # seat
    turn: int = 0
    is_standing: bool = False  # a proposal was made that nobody has refuted
    is_held: bool = False  # the round waits for a dispute
    whole: int = 0  # weight
    attested_weight: int = 0
    attested: int = 0  # mask
    failed: int = 0  # mask
    samples: int = 0
    matches: int = 0  # each with its voter's weight


@dataclass
class Election(Storage):
    """The lead and the race."""

    lead: Lead = Lead()
    target: int = 0
    puzzle: bytes = ZERO_DIGEST


@dataclass
class Verification(Storage):
    """What the votes of the running round come to."""

    votes: bytes = ZERO_DIGEST  # the chain of votes
    accepted: bytes = ZERO_DIGEST  # the digest of the tally


@dataclass
class Rewards(Storage):
    """Which rounds an account has claimed: two bits a round, as a device and as a miner."""

    claims: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Proposal:
    """The proposal that stands."""

    content: int = 0  # upper 192 bits of its digest
    cid: int = 0  # 56 bits that stand for the CID
    author: int = 0  # seat


@dataclass
class Proposals(Storage):
    """The proposal that stands, and the model in force."""

    proposal: Proposal = Proposal()
    authors: dict[int, int] = field(default_factory=dict)  # contents that were replaced -> seat of the first
    root: bytes = ZERO_DIGEST
    cid: bytes = ZERO_DIGEST


@dataclass(frozen=True)
class Announcement(docket.Announcement):
    """A sealed challenge of a proposal that stood when it was announced."""

    proposal: int  # round << 8 | turn
    block: int  # in which it was announced


@dataclass(frozen=True)
class Entry:
    """What is held against one proposal, and what makes its disputes dearer."""

    disputes: int = 0  # that are open
    opened: int = 0  # disputes so far, 15 at most
    pending: int = 0  # seconds: the last announcement can be opened until then
    surcharge: int = 0  # how often the bond of a dispute doubled when one was last lost
    lost: int = 0  # round in which a dispute was last lost
    proposal: int = 0  # round << 8 | turn
    announced: int = 0  # block of the last announcement
    waiting: int = 0  # announcements that were not opened


@dataclass
class Docket(Storage):
    """What is held against the proposal that stands."""

    entry: Entry = Entry()
    sealed: dict[tuple[str, bytes], Announcement] = field(default_factory=dict)  # bond not gone
    refuted: dict[int, bool] = field(default_factory=dict)  # by round << 8 | turn


@dataclass(frozen=True)
class Dispute(disputes.Dispute):
    """A dispute with what only the contract knows of it; `stands` and `is_late` are those of one call."""

    bond: int = 0  # wei
    proposal: int = 0  # round << 8 | turn
    block: int = 0  # of the last move that began the time of the next one
    is_ended: bool = False
    stands: bool = False  # its proposal
    is_late: bool = False  # the next move

    @property
    def is_open(self) -> bool:
        """Whether a move can be made."""
        return self.stands and not self.is_ended

    @property
    def code(self) -> int:
        """Return the number that names its tree."""
        return self.tree + (self.position or 0)

    def check_open(self) -> None:
        """Check that it has not ended, and its proposal stands; raises ChallengeError."""
        if not self.is_open:
            raise ChallengeError("disputes: none is open")

    def check_time(self, terms: Terms, now: int) -> None:
        """Check that the next move is not late, in seconds and in blocks; raises ChallengeError."""
        del terms, now
        if self.is_late:
            raise ChallengeError("disputes: move too late")


# What stands under every number that no dispute has.
NO_DISPUTE: Final = Dispute(
    0, ZERO_ADDRESS, Trees.MODEL, disputes.State.ANSWER, 0, 0, ZERO_DIGEST, 0, 0, 0, is_ended=True
)


@dataclass
class Disputes(Storage):
    """All disputes there have been, by number."""

    disputes: Pages[Dispute] = field(default_factory=Pages)


@dataclass
class State:
    """The storage of all modules."""

    accounts: Accounts = field(default_factory=Accounts)
    registry: Registry = field(default_factory=Registry)
    turns: Turns = field(default_factory=Turns)
    treasury: Treasury = field(default_factory=Treasury)
    absence: Absence = field(default_factory=Absence)
    rounds: Rounds = field(default_factory=Rounds)
    submissions: Submissions = field(default_factory=Submissions)
    scores: Scores = field(default_factory=Scores)
    election: Election = field(default_factory=Election)
    verification: Verification = field(default_factory=Verification)
    rewards: Rewards = field(default_factory=Rewards)
    proposals: Proposals = field(default_factory=Proposals)
    docket: Docket = field(default_factory=Docket)
    disputes: Disputes = field(default_factory=Disputes)

    def copy(self) -> State:
        """Return a copy that shares no dictionary."""
        twin: State = object.__new__(State)
        for name, storage in self.__dict__.items():
            twin.__dict__[name] = storage.copy()
        return twin

    def draft(self) -> State:
        """Return a copy for one call whose changes are dropped; what it does not use it does not copy.

        It is worth nothing once this state has changed.
        """
        return _Draft(self)

    def restore(self, earlier: State) -> None:
        """Take over what a copy holds; the copy is not to be used any more."""
        self.__dict__.update(earlier.__dict__)


class _Draft(State):
    """A state that copies a module of another one when it is first asked for."""

    def __init__(self, origin: State) -> None:
        self.__dict__["_modules"] = dict(origin.__dict__)

    def __getattr__(self, name: str) -> Any:
        """Return the copy of a module."""
        if name not in self.__dict__.get("_modules", ()):
            raise AttributeError(name)
        module = self.__dict__[name] = self.__dict__["_modules"][name].copy()
        return module

    def copy(self) -> State:
        """Return a whole copy, as it is now."""
        twin: State = object.__new__(State)
        for name, storage in self.__dict__["_modules"].items():
            twin.__dict__[name] = self.__dict__.get(name, storage).copy()
        return twin
