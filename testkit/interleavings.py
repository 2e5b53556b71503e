"""Play random orders of challenges, disputes, exits and suspensions on the contract, and follow the money."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import NamedTuple

from bcfl.errors import Reverted
from bcfl.ledger.contract import Receipt
from bcfl.protocol.challenges import Challenge, Form, Trees
from bcfl.protocol.disputes import State
from bcfl.protocol.evidence import Evidence
from bcfl.protocol.types import Phase
from testkit.dispute_driver import DisputeDriver
from testkit.forged_proposals import FORGERIES, hostile_challenge
from testkit.harness import CHALLENGED, ETHER, Account, account
from testkit.proposal_fixture import SALT, ProposalFixture

TERMS = replace(
    CHALLENGED, parameters=16 * 9 - 5, leaf_lanes=16, max_updates=64, exit_seconds=50_000,
    absence_seconds=50_000,
)  # fmt: skip
MINERS = 5
NOBODY = "0x" + "00" * 20  # where what is burned goes

Move = Callable[[], Receipt | None]


class Money(NamedTuple):
    """All money of the contract, in wei: what it has, what its books say, and the sums of their parts."""

    balance: int
    staked: int
    owed: int
    pool: int
    stakes: int
    credits: int
    burned: int  # by anybody


@dataclass
class Interleaving:
    """One random order of calls against a proposal, right or forged, on a state that is set up anew.

    After every call the balance is stakes, debts and pool; the debts are credits, bonds and what is set
    aside; and what is gone was withdrawn or burned. A right proposal is refuted by silence alone.
    """

    fixture: ProposalFixture
    rng: Random
    counts: Counter[str] = field(default_factory=Counter)
    bonds: dict[object, int] = field(
        default_factory=dict
    )  # by sealed hash and sender, or number of a dispute
    reserved: int = 0  # wei set aside for claims
    paid_in: int = 0
    withdrawn: int = 0

    def __post_init__(self) -> None:
        self.fixture.rewind()
        f, rng = self.fixture.federation, self.rng
        self.people = [*f.miner_keys, f.outsider, *(account("late", i) for i in range(2))]
        right = self.fixture.evidence(rng.randrange(8), [True, True, False, True])
        forged = rng.choice(FORGERIES)(rng, right) if rng.random() < 0.6 else None
        self.evidence: Evidence = forged or right
        self.is_right = forged is None
        self.sealed: list[tuple[Account, Challenge, int, bytes]] = []
        self.disputes: list[DisputeDriver] = []
        self.fixture.put_proposal(self.evidence.context, attested=rng.randrange(1, 1 << MINERS) | 1)
        self.votes = self.fixture.votes()
        self.before = self.money()

    def play(self, calls: int) -> None:
        """Make so many calls, and check the money after each that was taken."""
        standing, over = self.moves()
        for _ in range(calls):
            phase = self.fixture.storage.get("rounds.clock") & 15
            act = self.rng.choice(standing if phase == Phase.ATTEST else over)
            name = act.__name__
            try:
                receipt = act()
            except Reverted:
                self.counts[f"{name}, reverted"] += 1
                continue
            if receipt is not None:
                self.counts[name] += 1
                self._book(receipt)
                self.check()

    def moves(self) -> tuple[list[Move], list[Move]]:
        """Return the calls to choose from, likely ones several times: while a proposal stands, and after."""
        members: list[Move] = [
            self.leave,
            self.release,
            self.enter,
            self.withdraw,
            self.resume,
            self.evict,
            self.fund,
        ]
        contests: list[Move] = [
            self.announce,
            self.open,
            self.dispute,
            self.answer,
            self.pursue,
            self.rule,
            self.wait,
        ] * 3
        ends: list[Move] = [self.expire, self.settle, self.attest, self.finalize, self.skip, self.advance]
        over = [*[self.wait, self.advance] * 5, self.open, self.settle, self.expire, *members]
        return [*contests, *ends, *members], over

    def check(self) -> None:
        """Insist that the money adds up."""
        money = self.money()
        assert money.balance == money.staked + money.owed + money.pool
        assert money.staked == money.stakes
        assert money.owed == money.credits + sum(self.bonds.values()) + self.reserved
        lost = self.withdrawn + money.burned - self.before.burned
        assert money.balance == self.before.balance + self.paid_in - lost

    def money(self) -> Money:
        """Read all money from the contract's storage."""
        keys = [int(key.address, 16) for key in self.people]
        stakes, credits = ([(name, key) for key in keys] for name in ("registry.stakes", "treasury.credits"))
        storage = self.fixture.storage
        books, staked, *values = storage.read(
            ("treasury.books", None), ("registry.staked", None), *stakes, *credits
        )
        balances = storage.balances(self.fixture.federation.contract.address, NOBODY)
        parts = sum(values[: len(keys)]), sum(values[len(keys) :])
        return Money(balances[0], staked, books >> 128, books & (2**128 - 1), *parts, balances[1])

    def _book(self, receipt: Receipt) -> None:
        """Follow the bonds and the debts of a call that was taken."""
        for event in receipt.events:
            args = event.args
            if event.name == "ChallengeAnnounced":
                self.bonds[args["challenger"], args["sealed"]] = TERMS.challenge_bond
            elif event.name == "AnnouncementEnded":
                del self.bonds[args["challenger"], args["sealed"]]
            elif event.name == "Disputed":
                self.bonds[args["number"]] = args["bond"]
            elif event.name == "DisputeEnded":
                del self.bonds[args["number"]]
            elif event.name == "Finalized":
                money = self.money()
                self.reserved = money.owed - money.credits - sum(self.bonds.values())
                assert self.reserved <= args["reward"]
            elif event.name == "Withdrawn":
                self.withdrawn += args["amount"]
            elif event.name == "Refuted":
                assert not self.is_right or args["form"] == Form.SILENCE, "a right proposal is refuted"
            self.counts[event.name] += 1

    def _send(self, sender: Account, function: str, *args: object, value: int = 0) -> Receipt:
        receipt = self.fixture.federation.send(sender, function, *args, value=value)
        self.paid_in += value
        return receipt

    def _somebody(self) -> Account:
        return self.rng.choice(self.people)

    # Challenges.

    def announce(self) -> Receipt:
        """Announce a challenge of what is wrong, or of a right place."""
        sender, salt = self._somebody(), SALT + self.rng.randrange(4)
        challenge = self.evidence.find() or hostile_challenge(self.rng, self.evidence)
        sealed = self.fixture.seal(challenge, sender, salt)
        receipt = self._send(sender, "announce_challenge", sealed, value=TERMS.challenge_bond)
        self.sealed.append((sender, challenge, salt, sealed))
        return receipt

    def open(self) -> Receipt | None:
        """Open an announcement, now and then another's."""
        if not self.sealed:
            return None
        sender, challenge, salt, _ = self.rng.choice(self.sealed)
        function, args = challenge.call(salt)
        return self._send(sender if self.rng.random() < 0.8 else self._somebody(), function, *args)

    def settle(self) -> Receipt | None:
        """End an announcement that was not opened."""
        if not self.sealed:
            return None
        sender, _, _, sealed = self.rng.choice(self.sealed)
        return self._send(self._somebody(), "settle", sender.address, sealed)

    # Disputes.

    def dispute(self) -> Receipt:
        """Dispute a tree of the proposal for its price."""
        tree = self.rng.choice([Trees.MODEL, Trees.ROWS, Trees.UPDATE])
        driver = DisputeDriver(self.fixture, self.evidence, tree, self._somebody(), stands=True)
        price = self.fixture.federation.contract.call("dispute_price")
        receipt = driver.open(price)
        self.paid_in += price
        self.disputes.append(driver)
        return receipt

    def answer(self) -> Receipt | None:
        """Make the answer that is due in a dispute."""
        driver = self._dispute_in(State.ROWS, State.ANSWER)
        return None if driver is None else driver.answer()

    def pursue(self) -> Receipt | None:
        """Go down to a node of what was shown."""
        driver = self._dispute_in(State.PICK)
        return None if driver is None else driver.pursue(self.rng.randrange(len(driver.course.nodes)))

    def rule(self) -> Receipt | None:
        """Rule at a leaf by a challenge, right or not."""
        driver = self._dispute_in(State.RULE)
        if driver is None:
            return None
        return driver.rule(self.evidence.find() or hostile_challenge(self.rng, self.evidence))

    def expire(self) -> Receipt | None:
        """End a dispute whose time is over."""
        if not self.disputes:
            return None
        return self.rng.choice(self.disputes).send("expire", *self.votes, sender=self._somebody())

    def _dispute_in(self, *states: State) -> DisputeDriver | None:
        drivers = [item for item in self.disputes if item.number in self.bonds and item.state.state in states]
        return self.rng.choice(drivers) if drivers else None

    # The round, and its miners.

    def wait(self) -> None:
        """Let time pass."""
        is_attested = self.fixture.storage.get("rounds.clock") & 15 == Phase.ATTEST
        times = (1, 100, 601, self.fixture.part) if is_attested else (601, 50_000)
        self.fixture.federation.wait(self.rng.choice(times))

    def attest(self) -> Receipt:
        """Attest the proposal."""
        return self._send(self._somebody(), "attest", self.evidence.context.proposal)

    def finalize(self) -> Receipt:
        """Make the proposal final."""
        fields = DisputeDriver(self.fixture, self.evidence, Trees.MODEL, stands=True).proposal
        return self._send(self._somebody(), "finalize", *fields)

    def skip(self) -> Receipt:
        """Pass the lead on."""
        return self._send(self._somebody(), "skip", *self.votes)

    def advance(self) -> Receipt:
        """End a phase, or open the next round after a void one."""
        return self._send(self._somebody(), "advance")

    def leave(self) -> Receipt:
        """Announce a miner's exit."""
        return self._send(self._somebody(), "leave_miner")

    def withdraw(self) -> Receipt:
        """Pay out what somebody may have."""
        return self._send(self._somebody(), "withdraw", self._somebody().address)

    def release(self) -> Receipt:
        """Pay out the stake of a miner that has left."""
        sender = self._somebody()
        stake = self.fixture.storage.get("registry.stakes", int(sender.address, 16))
        receipt = self._send(sender, "release_stake")
        self.withdrawn += stake
        return receipt

    def enter(self) -> Receipt:
        """Register as a miner, or add to a stake."""
        function = self.rng.choice(("register_miner", "top_up"))
        return self._send(self._somebody(), function, value=ETHER + self.rng.randrange(ETHER))

    def resume(self) -> Receipt:
        """Come back after a suspension."""
        return self._send(self._somebody(), "resume")

    def evict(self) -> Receipt:
        """Free the seat of who is away for too long."""
        return self._send(self._somebody(), "evict", self._somebody().address)

    def fund(self) -> Receipt:
        """Add to the pool."""
        return self._send(self._somebody(), "fund", value=self.rng.randrange(1, ETHER))
