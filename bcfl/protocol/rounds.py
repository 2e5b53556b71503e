"""Hold the rounds of a federation and its history: the one record for roles, queries and audits."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise

from bcfl.protocol import turns
from bcfl.protocol.event import LogEvent
from bcfl.protocol.hashing import fold, word
from bcfl.protocol.limits import BASIS_POINTS, MAX_WEIGHT
from bcfl.protocol.scores import Resources
from bcfl.protocol.submissions import Domain, claim_cap, update_word
from bcfl.protocol.types import (
    Block,
    Electorate,
    Engine,
    Mode,
    Opening,
    Tally,
    Terms,
    Update,
    Verdict,
    VoidReason,
    Voter,
)
from bcfl.protocol.verification import Vote, tally


@dataclass(frozen=True)
class Submission:
    """A revealed update, its position in the round, and the account that submitted it.

    After the tally `counted` are the samples of its claim up to the round's cap, and `level` says how much
    they count. `readers`: for how many voters of the round it is sealed, where updates are confidential.
    """

    position: int
    update: Update
    submitter: str
    counted: int = 0
    level: int = 0
    readers: int = 0

    def counted_in(self, cap: int, level: int) -> Submission:
        """Return it as the tally counts it, under the round's cap."""
        counted = min(self.update.samples, cap)
        return Submission(self.position, self.update, self.submitter, counted, level, self.readers)

    @property
    def weight(self) -> int:
        """Return what it weighs in the mean."""
        return self.counted * self.level**2

    @property
    def paid(self) -> int:
        """Return how many times the price of a sample it earns."""
        return self.counted * self.level


@dataclass(frozen=True)
class Election:
    """A leader and the turn that it led in; `nonce` is its proof of work where there was a race."""

    leader: str
    turn: int
    nonce: int


@dataclass(frozen=True)
class Proposal:
    """The model that a leader proposed, who attested it, and the disputes about it.

    The author is who proposed this content first; a later leader that proposes the same attests it.
    """

    leader: str
    author: str
    root: bytes
    cid: bytes
    rows: bytes
    attested: tuple[str, ...] = ()
    announcements: tuple[LogEvent, ...] = ()  # of challenges, sealed
    dispute_moves: tuple[LogEvent, ...] = ()  # of all disputes about it, in order
    refuted: bool = False

    @property
    def content(self) -> tuple[bytes, bytes]:
        """Return what it is about, whoever proposes it, and wherever its model lies."""
        return self.root, self.rows

    @property
    def fields(self) -> tuple[bytes, bytes, bytes]:
        """Return what `finalize` takes."""
        return self.root, self.cid, self.rows

    @property
    def in_dispute(self) -> bool:
        """Whether a dispute about it is open."""
        names = [event.name for event in self.dispute_moves]
        return names.count("Disputed") > names.count("DisputeEnded")


@dataclass
class Round:
    """Everything that the chain says about one round."""

    number: int
    opened: int  # timestamp
    engine: Engine = Engine.STAKE
    committee: tuple[str, ...] = ()  # accounts, where a committee decides
    electorate: Electorate = field(default_factory=lambda: Electorate(0))
    readers: dict[str, bytes | None] = field(default_factory=dict)  # voter -> its key when the round opened
    scores: dict[str, int] = field(default_factory=dict)  # miner -> its score, where the engine is resource
    credits: turns.Credits = field(default_factory=dict)  # seat -> its credit before the first turn
    commits: dict[str, bytes] = field(default_factory=dict)  # submitter -> digest, in order
    device_commits: dict[str, bytes] = field(default_factory=dict)  # miner -> its second commit, as a device
    submissions: list[Submission] = field(default_factory=list)
    vote_commits: dict[str, bytes] = field(default_factory=dict)
    wishes: dict[str, Engine] = field(default_factory=dict)  # miner -> the engine it wishes for
    votes: list[Vote] = field(default_factory=list)
    levels: tuple[int, ...] | None = None  # how much each update counts, 0 where it is rejected
    samples: int = 0
    matches: int = 0
    puzzle: bytes | None = None  # input of the proofs of work
    elections: list[Election] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)  # leaders that failed, in order
    failed: set[str] = field(default_factory=set)  # miners that cannot lead any more in this round
    slashed: set[str] = field(default_factory=set)  # miners that cannot attest any more in it
    standing: bool = False  # a proposal was made that nobody has refuted
    proposals: list[Proposal] = field(default_factory=list)
    corrected_cids: dict[str, bytes] = field(default_factory=dict)  # miner -> what it says the model's CID is
    refutations: list[tuple[str, str]] = field(default_factory=list)  # leader and challenger
    penalties: list[tuple[str, int]] = field(default_factory=list)  # miner and wei
    block: Block | None = None
    block_hash: bytes | None = None
    void: VoidReason | None = None
    closed: int | None = None  # timestamp
    latest_time: int = 0  # timestamp of the last event
    transactions: dict[bytes, None] = field(default_factory=dict)  # ordered set of hashes

    @property
    def status(self) -> str:
        """Return `running`, `finalized` or `void`."""
        if self.block is not None:
            return "finalized"
        return "running" if self.void is None else "void"

    @property
    def leader(self) -> str | None:
        """Return the account that leads, or led last; None before the first election."""
        return self.elections[-1].leader if self.elections else None

    def was_replaced(self, content: tuple[bytes, bytes]) -> bool:
        """Whether something else was proposed while this stood: then it keeps its author."""
        pairs = pairwise(self.proposals)
        return any(item.content == content != after.content and not item.refuted for item, after in pairs)

    @property
    def accepted(self) -> tuple[bool, ...] | None:
        """Return whether each update is accepted; None before the tally."""
        return None if self.levels is None else tuple(level > 0 for level in self.levels)

    @property
    def cap(self) -> int:
        """Return the most that counts of a claim: the lower median of the round's."""
        return claim_cap([item.update.samples for item in self.submissions])

    def accepted_submissions(self) -> list[Submission]:
        """Return the accepted submissions in order, with what they weigh; none before the tally."""
        if self.levels is None:
            return []
        cap, pairs = self.cap, zip(self.submissions, self.levels, strict=True)
        return [item.counted_in(cap, level) for item, level in pairs if level]

    def tally(self, domain: Domain) -> Tally:
        """Count the votes of the round."""
        return tally(self.words(domain), self.votes, self.electorate)

    def words(self, domain: Domain) -> list[int]:
        """Return the words of the round's chain of updates, in the order of its submissions."""
        return [update_word(domain, item.update, self.engine) for item in self.submissions]

    def links(self, domain: Domain) -> bytes:
        """Return the digest of the round's chain of updates."""
        return fold(word(item) for item in self.words(domain))

    def weights(self) -> dict[str, int]:
        """Return the weight of every account that unveiled a vote."""
        return {vote.voter.account: vote.voter.weight for vote in self.votes}

    def has_support(self, attesters: Iterable[str]) -> bool:
        """Return whether so many attest that a proposal can become final."""
        weights = self.weights()
        return self.electorate.decides(sum(weights.get(account, 0) for account in set(attesters)))

    def shares(self) -> dict[int, int]:
        """Return by what a lead is shared out: seat -> stake weight, or score before the round."""
        voters = [vote.voter for vote in self.votes]
        if self.engine is Engine.RESOURCE:
            return {voter.index: self.scores[voter.account] for voter in voters}
        return {voter.index: voter.weight for voter in voters}

    def leader_order(self) -> list[Voter]:
        """Return the voters in the order in which they lead if each is silent; none where there is a race."""
        if self.engine is Engine.POW:
            return []
        voters = {vote.voter.index: vote.voter for vote in self.votes}
        shares, credits, order = self.shares(), self.credits, []
        while shares:
            leader, credits = turns.take_turn(credits, shares)
            order.append(voters[leader])
            del shares[leader]
        return order

    def verdicts(self, position: int) -> dict[str, Verdict]:
        """Return the verdict of each voter on the update at `position`, by account."""
        return {vote.voter.account: vote.opening.verdicts[position] for vote in self.votes}

    def verdict(self, position: int) -> Verdict:
        """Return the verdict of the round: accepted, or the reason that most of the weight against gives."""
        if self.levels is not None and self.levels[position]:
            return Verdict.ACCEPTED
        weights: dict[Verdict, int] = {}
        for vote in self.votes:
            verdict = vote.opening.verdicts[position]
            if verdict is not Verdict.ACCEPTED:
                weights[verdict] = weights.get(verdict, 0) + vote.voter.weight
        return max(weights, key=lambda reason: (weights[reason], -reason)) if weights else Verdict.OUTLIER


@dataclass
class Member:
    """A miner as the registry holds it."""

    account: str
    index: int
    stake: int  # wei
    weight: int = 0  # full minimal stakes, at most MAX_WEIGHT; 0: it has no seat
    exit_round: int = 0  # 0 while it stays
    also_device: bool = False  # has its own update left out where it votes
    consents: bool = False  # becomes a device too when the next round opens
    suspended: bool = False  # its weight counts for nothing until it resumes
    until_round: int = 0  # from which it may resume


@dataclass
class History:
    """All rounds, blocks and members, from the events read so far (`events.take_in`)."""

    min_stake: int
    committee_size: int = 1
    rate_factor: int = field(default=BASIS_POINTS, kw_only=True)  # basis points of the median pace
    is_full: bool = field(default=False, kw_only=True)  # every miner is a device
    rounds: dict[int, Round] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)  # the model ledger, from the genesis on
    miners: dict[str, Member] = field(default_factory=dict)
    owner: str = ""  # admits devices; the zero address where the ownership was given up
    credits: dict[int, int] = field(default_factory=dict)  # seat -> credit of the turns
    next_engine: Engine | None = None  # that the miners have wished for
    draws: list[frozenset[int]] = field(default_factory=list)  # seats of the next committees, the next first
    resources: dict[str, Resources] = field(
        default_factory=dict
    )  # miner -> its record under the resource engine
    endpoints: dict[str, str] = field(default_factory=dict)  # miner -> the address that it announced
    reader_keys: dict[str, bytes] = field(default_factory=dict)  # miner -> the key that it announced last
    devices: list[str] = field(default_factory=list)  # account by index
    indices: dict[str, int] = field(default_factory=dict)  # device -> index
    leave_rounds: dict[str, int] = field(default_factory=dict)  # device -> first round without it
    join_rounds: dict[str, int] = field(default_factory=dict)  # device -> first round with it
    claimed: set[tuple[str, int, bool]] = field(default_factory=set)  # account, round, as a miner
    credited: dict[str, int] = field(default_factory=dict)  # account -> wei claimed so far
    seats: list[Member] = field(default_factory=list)  # who may act in the running round, by index
    present: list[int] = field(default_factory=list)  # the devices that may take part in it
    trained: dict[int, list[Update]] = field(default_factory=dict)  # device -> its accepted updates, in order
    roots: dict[bytes, int] = field(default_factory=dict)  # root -> the round it was first revealed in
    announcements: dict[tuple[str, bytes], LogEvent] = field(
        default_factory=dict
    )  # challenger and sealed hash -> the announcement, until its bond has gone
    disputes: dict[int, LogEvent] = field(
        default_factory=dict
    )  # number -> the opening, until its bond has gone

    @classmethod
    def under(cls, terms: Terms) -> History:
        """Return the empty history of a federation with these terms."""
        return cls(
            terms.min_stake,
            terms.committee_size,
            rate_factor=terms.rate_factor,
            is_full=terms.mode == Mode.FULL,
        )

    @property
    def current(self) -> Round | None:
        """Return the latest round, None before the first one."""
        return self.rounds[self.number] if self.rounds else None

    @property
    def number(self) -> int:
        """Return the number of the latest round, 0 before the first one; rounds come in order."""
        return next(reversed(self.rounds), 0)

    def numbers_before(self, number: int, count: int) -> list[int]:
        """Return the numbers of so many rounds before another, in order; fewer where there are fewer."""
        return [before for before in range(max(1, number - count), number) if before in self.rounds]

    @property
    def head(self) -> Block:
        """Return the last block of the model ledger."""
        return self.blocks[-1]

    def model_before(self, number: int) -> Block:
        """Return the block whose model round `number` starts from."""
        return self.blocks[bisect_left(self.blocks, number, key=lambda block: block.round) - 1]

    def model_cids(self, block: Block) -> list[bytes]:
        """Return digests of CIDs under which a block's model may lie: at most four, the likeliest first.

        They are what its last leader named, the two corrections that most weight states, and what its first
        leader named. Each may be wrong: the root decides.
        """
        if block.round not in self.rounds:
            return [block.cid]
        round_ = self.rounds[block.round]
        corrected: list[bytes] = []
        if round_.corrected_cids:
            weights, stated = round_.weights(), Counter[bytes]()
            for miner, cid in round_.corrected_cids.items():
                stated[cid] += weights.get(miner, 0)
            corrected = [cid for cid, _ in stated.most_common(2)]
        named = [item.cid for item in round_.proposals if item.root == block.root]
        return list(dict.fromkeys([block.cid, *corrected, *named[:1]]))

    def device_index(self, account: str) -> int | None:
        """Return the index of a device; None if it never registered."""
        return self.indices.get(account)

    def voters(self) -> list[Member]:
        """Return the miners that may act in the running round, by index."""
        return self.seats

    def electors(self) -> list[Member]:
        """Return the miners that may vote in the running round, by index."""
        current = self.current
        if current is None or not current.electorate.is_committee:
            return self.seats
        return [member for member in self.seats if member.account in current.committee]

    def voter(self, account: str, wish: Engine | None = None) -> Voter:
        """Return a miner as the running round's chain of votes names it."""
        member, current = self.miners[account], self.current
        is_committee = current is not None and current.electorate.is_committee
        weight = 1 if is_committee else member.weight
        device = self.device_index(account) if member.also_device else None
        return Voter(account, weight, device, wish, member.index)

    def vote(self, opening: Opening) -> Vote:
        """Return the vote that an opening of the running round becomes."""
        return Vote(self.voter(opening.miner, opening.wish), opening)

    def binding(self, device: int) -> str | None:
        """Return the miner that serves a device in the running round; None where no miner is active."""
        if not self.seats:
            return None
        return self.seats[(device + self.number) % len(self.seats)].account

    def takes_part(self, device: int) -> bool:
        """Whether a device may take part in the running round."""
        number = self.number
        if not 0 <= device < len(self.devices):
            return False
        account = self.devices[device]
        return self.join_rounds[account] <= number < self.leave_rounds.get(account, number + 1)

    def expected_devices(self) -> list[int]:
        """Return the indices of the devices that may take part in the running round."""
        return self.present

    def round_of(self, event: LogEvent) -> Round:
        """Return the round that an event belongs to."""
        return self.rounds[event.args["round"]]

    def is_device(self, account: str) -> bool:
        """Whether an account is registered as a device and has not asked to leave."""
        return account in self.indices and account not in self.leave_rounds

    def seat_members(self) -> None:
        """Count who takes part when a round opens, as the contract does: weights, seats, devices."""
        for member in self.miners.values():
            is_out = member.exit_round or member.suspended
            member.weight = 0 if is_out else min(member.stake // self.min_stake, MAX_WEIGHT)
            may_be = member.also_device or member.consents
            member.also_device, member.consents = may_be and self.is_device(member.account), False
        members = (member for member in self.miners.values() if member.weight)
        self.seats = sorted(members, key=lambda member: member.index)
        self.present = [device for device in range(len(self.devices)) if self.takes_part(device)]
