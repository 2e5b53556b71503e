"""The rounds of a federation and its history: the one record for roles, queries and audits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from bcfl.protocol.beacon import NOVICE_ROUNDS
from bcfl.protocol.election import ranking
from bcfl.protocol.scores import Resources
from bcfl.protocol.submissions import Domain, update_word
from bcfl.protocol.types import Block, Engine, Opening, Update, Verdict, VoidReason, Voter
from bcfl.protocol.verification import Vote

MAX_WEIGHT = 65_535


class Recorded(Protocol):
    """What the history needs of an event."""

    @property
    def name(self) -> str: ...
    @property
    def args(self) -> Mapping[str, Any]: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def transaction(self) -> bytes: ...


@dataclass(frozen=True)
class Submission:
    """One revealed update: at which position it stands, and who brought it."""

    position: int
    update: Update
    submitter: str


@dataclass(frozen=True)
class Election:
    """Who led at which turn; `nonce` is the proof of work where there was a race."""

    leader: str
    turn: int
    nonce: int


@dataclass(frozen=True)
class Proposal:
    """What a leader proposed, and who attested it."""

    leader: str
    root: bytes
    cid: bytes
    rows: bytes
    layer: bytes  # of the leader's hash chain
    attested: tuple[str, ...] = ()
    disputed: tuple[Recorded, ...] = ()  # the moves of all disputes about it

    @property
    def held(self) -> bool:
        """Whether a dispute about it is open."""
        return bool(self.disputed) and self.disputed[-1].name != "DisputeEnded"


@dataclass
class Round:
    """Everything that the chain says of one round."""

    number: int
    opened: int  # timestamp
    engine: Engine = Engine.STAKE
    seed: bytes = bytes(32)  # what its draws start from
    committee: tuple[str, ...] = ()  # its members, where the engine draws one
    scores: dict[str, int] = field(default_factory=dict)  # what the resource engine draws by
    commits: dict[str, bytes] = field(default_factory=dict)  # submitter -> digest, in order
    alone: dict[str, bytes] = field(default_factory=dict)  # miner -> what it committed as a device, too
    submissions: list[Submission] = field(default_factory=list)
    vote_commits: dict[str, bytes] = field(default_factory=dict)
    wished: dict[str, Engine] = field(default_factory=dict)  # miner -> the engine it wishes for
    votes: list[Vote] = field(default_factory=list)
    accepted: tuple[bool, ...] | None = None
    samples: int = 0
    matches: int = 0
    puzzle: bytes | None = None  # what proofs of work start from
    elections: list[Election] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    proposals: list[Proposal] = field(default_factory=list)
    refuted: list[tuple[str, str]] = field(default_factory=list)  # leader and challenger
    penalties: list[tuple[str, int]] = field(default_factory=list)
    block: Block | None = None
    block_hash: bytes | None = None
    void: VoidReason | None = None
    closed: int | None = None  # timestamp
    latest: int = 0  # timestamp of the last thing that happened
    transactions: dict[bytes, None] = field(default_factory=dict)  # hashes, in order

    @property
    def status(self) -> str:
        """`running`, `finalized` or `void`."""
        if self.block is not None:
            return "finalized"
        return "running" if self.void is None else "void"

    @property
    def leader(self) -> str | None:
        """Who leads, or led at last."""
        return self.elections[-1].leader if self.elections else None

    def taken(self) -> list[Submission]:
        """The accepted submissions, in their order."""
        if self.accepted is None:
            return []
        return [item for item, bit in zip(self.submissions, self.accepted, strict=True) if bit]

    def words(self, domain: Domain) -> list[int]:
        """What the chain of updates keeps of the round, in the order of its submissions."""
        return [update_word(domain, item.update, self.engine) for item in self.submissions]

    def line(self) -> list[Voter]:
        """The voters in the order in which they may lead; nobody where there is a race."""
        if self.engine is Engine.POW:
            return []
        voters = {vote.voter.word: vote.voter for vote in self.votes}
        scores = {int(account, 16): score for account, score in self.scores.items()}
        return [voters[item] for item in ranking(self.seed, list(voters), scores)]

    def reasons(self, position: int) -> dict[str, Verdict]:
        """The verdict of each voter on one update."""
        return {vote.voter.account: vote.opening.verdicts[position] for vote in self.votes}

    def verdict(self, position: int) -> Verdict:
        """Accepted, or the reason that most of the weight against it gives."""
        if self.accepted is not None and self.accepted[position]:
            return Verdict.ACCEPTED
        weights: dict[Verdict, int] = {}
        for vote in self.votes:
            said = vote.opening.verdicts[position]
            if said is not Verdict.ACCEPTED:
                weights[said] = weights.get(said, 0) + vote.voter.weight
        return max(weights, key=lambda reason: (weights[reason], -reason)) if weights else Verdict.OUTLIER


@dataclass
class Member:
    """A miner as the registry keeps it."""

    account: str
    index: int
    stake: int
    weight: int = 0
    exit_round: int = 0
    changed: int = 0  # the round in which it joined, renewed its chain or raised its stake
    novice: bool = False  # ranks after everybody else in the running round's draws


@dataclass
class History:
    """All rounds, blocks and members, as the events taken in so far tell them (`events.take_in`)."""

    min_stake: int
    rounds: dict[int, Round] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)  # the model ledger, from the genesis on
    miners: dict[str, Member] = field(default_factory=dict)
    tails: dict[str, bytes] = field(default_factory=dict)  # miner -> the layer last shown of its hash chain
    chains: dict[str, int] = field(default_factory=dict)  # miner -> how many chains it has had
    resources: dict[str, Resources] = field(default_factory=dict)  # miner -> what the contract has seen
    endpoints: dict[str, str] = field(default_factory=dict)  # miner -> where it says it is reached
    devices: list[str] = field(default_factory=list)  # account by index
    indices: dict[str, int] = field(default_factory=dict)  # the other way round
    left: dict[str, int] = field(default_factory=dict)  # device -> first round without it
    joined: dict[str, int] = field(default_factory=dict)  # device -> first round with it
    claimed: set[tuple[str, int, bool]] = field(default_factory=set)  # account, round, as a miner
    credited: dict[str, int] = field(default_factory=dict)  # account -> wei claimed so far
    seed: bytes = bytes(32)  # the running round's
    seats: list[Member] = field(default_factory=list)  # who may act in the running round, by index
    present: list[int] = field(default_factory=list)  # the devices that may take part in it
    trained: dict[int, list[Update]] = field(default_factory=dict)  # device -> its accepted updates, in order
    roots: dict[bytes, int] = field(default_factory=dict)  # root -> the round it was first revealed in

    @property
    def current(self) -> Round | None:
        """The round that is open."""
        return self.rounds[max(self.rounds)] if self.rounds else None

    @property
    def head(self) -> Block:
        """The last block of the model ledger."""
        return self.blocks[-1]

    def model_before(self, number: int) -> Block:
        """The block whose model a round starts from."""
        return next(block for block in reversed(self.blocks) if block.round < number)

    def device_index(self, account: str) -> int | None:
        """The index of a device, or None."""
        return self.indices.get(account)

    def voters(self) -> list[Member]:
        """The miners that may act in the running round, by index."""
        return self.seats

    def electors(self) -> list[Member]:
        """The miners that may vote in the running round, by index."""
        current = self.current
        if current is None or current.engine is not Engine.COMMITTEE:
            return self.seats
        return [member for member in self.seats if member.account in current.committee]

    def voter(self, account: str, wish: Engine | None = None) -> Voter:
        """A miner as the chain of votes names it in the running round."""
        member, current = self.miners[account], self.current
        among_equals = current is not None and current.engine is Engine.COMMITTEE
        weight = 1 if among_equals else member.weight
        return Voter(account, weight, self.device_index(account), wish, member.novice, member.index)

    def vote(self, opening: Opening) -> Vote:
        """An opening of the running round as the vote that it becomes."""
        return Vote(self.voter(opening.miner, opening.wish), opening)

    def bound(self, device: int) -> str | None:
        """The miner that a device hands its messages to in the running round."""
        if not self.seats:
            return None
        offset = int.from_bytes(self.seed, "big") % len(self.seats)
        return self.seats[(device + offset) % len(self.seats)].account

    def takes_part(self, device: int) -> bool:
        """Whether a device may take part in the running round."""
        number = max(self.rounds, default=0)
        if not 0 <= device < len(self.devices):
            return False
        account = self.devices[device]
        return self.joined[account] <= number < self.left.get(account, number + 1)

    def expected_devices(self) -> list[int]:
        """The devices that may take part in the running round."""
        return self.present

    def of(self, event: Recorded) -> Round:
        """The round that an event belongs to."""
        return self.rounds[event.args["round"]]

    def muster(self, number: int) -> None:
        """Who takes part as the contract counts it when a round opens: weights, seats and devices."""
        for member in self.miners.values():
            member.novice = member.changed != 0 and number - member.changed < NOVICE_ROUNDS
            member.weight = 0 if member.exit_round else min(member.stake // self.min_stake, MAX_WEIGHT)
        seated = (member for member in self.miners.values() if member.weight)
        self.seats = sorted(seated, key=lambda member: member.index)
        self.present = [device for device in range(len(self.devices)) if self.takes_part(device)]
