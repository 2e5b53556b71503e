"""The rounds of a federation as its events tell them: the one reading for roles, queries and audits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from bcfl.protocol.rewards import block_hash
from bcfl.protocol.submissions import Domain, unpack_claim, update_word
from bcfl.protocol.types import Block, Opening, Update, Verdict, VoidReason, Voter
from bcfl.protocol.verification import Vote, unpack_accepted, unpack_verdicts

MAX_WEIGHT = 65_535


class Recorded(Protocol):
    """What the reading needs of an event."""

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
    attested: tuple[str, ...] = ()


@dataclass
class Round:
    """Everything that the chain says of one round."""

    number: int
    opened: int  # timestamp
    commits: dict[str, bytes] = field(default_factory=dict)  # submitter -> digest, in order
    submissions: list[Submission] = field(default_factory=list)
    vote_commits: dict[str, bytes] = field(default_factory=dict)
    votes: list[Vote] = field(default_factory=list)
    accepted: tuple[bool, ...] | None = None
    samples: int = 0
    matches: int = 0
    seed: bytes | None = None  # what the leader is drawn from
    elections: list[Election] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    proposals: list[Proposal] = field(default_factory=list)
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
        return [update_word(domain, item.update) for item in self.submissions]

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


@dataclass
class History:
    """All rounds, blocks and members, read from events in the order of the chain."""

    min_stake: int
    rounds: dict[int, Round] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)  # the model ledger, from the genesis on
    miners: dict[str, Member] = field(default_factory=dict)
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

    def voter(self, account: str) -> Voter:
        """A miner as the chain of votes names it in the running round."""
        return Voter(account, self.miners[account].weight, self.device_index(account))

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

    def read(self, events: Iterable[Recorded]) -> History:
        """Take in further events."""
        for event in events:
            reader = READERS.get(event.name)
            if reader is not None:
                reader(self, event)
            found = self.rounds.get(event.args.get("round", -1))
            if found is not None and event.name != "Claimed":
                found.latest = event.timestamp
                if event.name != "RoundOpened":  # the round before paid for it
                    found.transactions[event.transaction] = None
        return self

    def of(self, event: Recorded) -> Round:
        """The round that an event belongs to."""
        return self.rounds[event.args["round"]]

    def muster(self) -> None:
        """Who takes part as the contract counts it when a round opens: weights, seats and devices."""
        for member in self.miners.values():
            member.weight = 0 if member.exit_round else min(member.stake // self.min_stake, MAX_WEIGHT)
        seated = (member for member in self.miners.values() if member.weight)
        self.seats = sorted(seated, key=lambda member: member.index)
        self.present = [device for device in range(len(self.devices)) if self.takes_part(device)]


def _genesis(history: History, event: Recorded) -> None:
    args = event.args
    history.seed = args["seed"]
    nobody = "0x" + "0" * 40
    history.blocks.append(Block(bytes(32), 0, bytes(32), args["root"], args["cid"], nobody, 0))


def _miner_registered(history: History, event: Recorded) -> None:
    args = event.args
    history.miners[args["miner"]] = Member(args["miner"], args["index"], args["stake"])


def _announced(history: History, event: Recorded) -> None:
    history.endpoints[event.args["miner"]] = event.args["endpoint"]


def _stake_changed(history: History, event: Recorded) -> None:
    history.miners[event.args["miner"]].stake = event.args["stake"]


def _miner_left(history: History, event: Recorded) -> None:
    history.miners[event.args["miner"]].exit_round = event.args["exit_round"]


def _device_registered(history: History, event: Recorded) -> None:
    account = event.args["device"]
    history.indices[account] = len(history.devices)
    history.devices.append(account)
    history.joined[account] = event.args["from_round"]


def _device_left(history: History, event: Recorded) -> None:
    history.left[event.args["device"]] = event.args["until_round"]


def _round_opened(history: History, event: Recorded) -> None:
    number = event.args["round"]
    history.rounds[number] = Round(number, event.timestamp)
    history.muster()


def _committed(history: History, event: Recorded) -> None:
    commits, sender = history.of(event).commits, event.args["sender"]
    commits.pop(sender, None)  # whoever commits again has its place in the order of that commitment
    commits[sender] = event.args["digest"]


def _revealed(history: History, event: Recorded) -> None:
    found = history.of(event)
    args = event.args
    for root, cid, claim in zip(args["roots"], args["cids"], args["claims"], strict=True):
        update = unpack_claim(found.number, root, cid, claim)
        found.submissions.append(Submission(len(found.submissions), update, args["submitter"]))
        history.roots.setdefault(root, found.number)


def _vote_committed(history: History, event: Recorded) -> None:
    history.of(event).vote_commits[event.args["miner"]] = event.args["digest"]


def _voted(history: History, event: Recorded) -> None:
    found, args = history.of(event), event.args
    voter = history.voter(args["miner"])
    verdicts = unpack_verdicts(args["accepted"], args["reasons"], len(found.submissions))
    found.votes.append(Vote(voter, Opening(found.number, voter.account, verdicts, args["salt"])))


def _tallied(history: History, event: Recorded) -> None:
    found, args = history.of(event), event.args
    found.accepted = unpack_accepted(args["accepted"], len(found.submissions))
    found.samples, found.matches, found.seed = args["samples"], args["matches"], args["seed"]
    history.seed = args["seed"]


def _elected(history: History, event: Recorded) -> None:
    args = event.args
    history.of(event).elections.append(Election(args["leader"], args["turn"], args["nonce"]))


def _proposed(history: History, event: Recorded) -> None:
    args = event.args
    proposal = Proposal(args["leader"], args["root"], args["cid"], args["rows"], (args["leader"],))
    history.of(event).proposals.append(proposal)


def _attested(history: History, event: Recorded) -> None:
    proposals = history.of(event).proposals
    last = proposals[-1]
    attested = (*last.attested, event.args["miner"])
    proposals[-1] = Proposal(last.leader, last.root, last.cid, last.rows, attested)


def _skipped(history: History, event: Recorded) -> None:
    history.of(event).skipped.append(event.args["leader"])


def _penalized(history: History, event: Recorded) -> None:
    args = event.args
    history.miners[args["miner"]].stake -= args["amount"]
    history.of(event).penalties.append((args["miner"], args["amount"]))


def _finalized(history: History, event: Recorded) -> None:
    found, args = history.of(event), event.args
    found.block = Block(
        parent=block_hash(history.head),
        round=found.number,
        accepted=args["accepted"],
        root=args["root"],
        cid=args["cid"],
        leader=args["leader"],
        reward=args["reward"],
    )
    found.block_hash = args["block_hash"]
    found.closed = event.timestamp
    history.blocks.append(found.block)
    for item in found.taken():
        history.trained.setdefault(item.update.device, []).append(item.update)


def _voided(history: History, event: Recorded) -> None:
    found = history.of(event)
    found.void = VoidReason(event.args["reason"])
    found.closed = event.timestamp


def _claimed(history: History, event: Recorded) -> None:
    args = event.args
    history.claimed.add((args["account"], args["round"], args["as_miner"]))
    history.credited[args["account"]] = history.credited.get(args["account"], 0) + args["amount"]


READERS: dict[str, Callable[[History, Recorded], None]] = {
    "Genesis": _genesis,
    "MinerRegistered": _miner_registered,
    "Announced": _announced,
    "StakeChanged": _stake_changed,
    "MinerLeft": _miner_left,
    "DeviceRegistered": _device_registered,
    "DeviceLeft": _device_left,
    "RoundOpened": _round_opened,
    "Committed": _committed,
    "Revealed": _revealed,
    "VoteCommitted": _vote_committed,
    "Voted": _voted,
    "Tallied": _tallied,
    "Elected": _elected,
    "Proposed": _proposed,
    "Attested": _attested,
    "Skipped": _skipped,
    "Penalized": _penalized,
    "Finalized": _finalized,
    "Voided": _voided,
    "Claimed": _claimed,
}
