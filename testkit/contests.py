"""Play contests in which many moves are wrong, copied, late or of nothing at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from bcfl.ledger.contract import Receipt
from bcfl.protocol.challenges import Trees
from bcfl.protocol.disputes import State, update_args
from bcfl.protocol.hashing import keccak, word
from testkit.dispute_driver import DisputeDriver
from testkit.forged_proposals import FORGERIES, change_field, evidence, hostile_challenge, random_terms
from testkit.interleavings import TERMS, Interleaving, Move
from testkit.ledgers import BOTH
from testkit.pair import Pair
from testkit.proposal_fixture import SALT, ProposalFixture

UPDATES = 7  # of a generated proposal, at most
OTHER = bytes(range(32))  # 32 bytes that are not what belongs there


@dataclass
class Contest(Interleaving):
    """An interleaving with everything that nobody honest would send as well."""

    def moves(self) -> tuple[list[Move], list[Move]]:
        """Return the calls to choose from: while a proposal stands, and after."""
        standing, over = super().moves()
        hostile: list[Move] = [
            self.announce_again, self.open_other, self.dispute_other, self.answer_wrongly, self.copy_answer,
            self.pursue_wrongly, self.rule_wrongly, self.expire_other, self.move_of_none, self.settle_other,
        ]  # fmt: skip
        whole: list[Move] = [self.challenge, self.challenge, self.argue, self.argue, self.lapse, self.support]
        return [*standing, *hostile * 2, *whole * 2], [*over, *hostile, *[self.skip] * 3]

    def check(self) -> None:
        """Insist that the money adds up, and that both have the same docket."""
        super().check()
        contract = self.fixture.federation.contract
        if isinstance(contract, Pair):
            compare_dockets(contract, [(item[0].address, item[3]) for item in self.sealed])

    def challenge(self) -> Receipt | None:
        """Announce, wait, and open."""
        self._book(self.announce())
        self.fixture.federation.wait(self.fixture.part)
        sender, challenge, salt, _ = self.sealed[-1]
        function, args = challenge.call(salt)
        return self._send(sender, function, *args)

    def argue(self) -> Receipt | None:
        """Dispute, go down to a leaf, and rule there."""
        self._book(self.dispute())
        driver, evidence, leaves = self.disputes[-1], self.evidence, self.evidence.context.leaves
        challenge = evidence.find()
        if challenge is None or self.rng.random() < 0.3:
            leaf = self.rng.randrange(leaves)
            challenge = evidence.sum_challenge(leaf, self.rng.randrange(evidence.context.terms.leaf_lanes))
        leaf = min(challenge.place[0], leaves - 1)
        while (state := driver.state).state is not State.RULE:
            if state.state is not State.PICK:
                self._book(driver.answer())
                continue
            child = (leaf >> (state.height - state.levels)) & ((1 << state.levels) - 1)
            self._book(driver.pursue(child))
        return driver.rule(challenge)

    def lapse(self) -> Receipt | None:
        """Dispute, make some moves, and be silent until somebody is late."""
        self._book(self.dispute())
        driver = self.disputes[-1]
        for _ in range(self.rng.randrange(4)):
            if driver.state.is_answerable:
                self._book(driver.answer())
            elif driver.state.state is State.PICK:
                self._book(driver.pursue(self.rng.randrange(len(driver.course.nodes))))
        driver.wait_out()
        self._pass_blocks()
        return driver.send("expire", *self.votes, sender=self._somebody())

    def support(self) -> Receipt | None:
        """Let everybody attest, and finalize when the time is over."""
        clock, federation = self.fixture.federation.clock, self.fixture.federation
        for key in federation.miner_keys:
            seat = 1 << federation.contract.call("miner", key.address)[0]
            if clock.expected & seat and not federation.contract.call("lead_now")[4] & seat:
                self._book(self._send(key, "attest", self.evidence.context.proposal))
        federation.wait(self.rng.choice((TERMS.challenge_seconds, 2 * TERMS.challenge_seconds)))
        self._pass_blocks()
        return self.finalize()

    def _pass_blocks(self) -> None:
        """Let as many blocks come as have to, one less now and then."""
        for _ in range(self.fixture.terms.min_blocks - (self.rng.random() < 0.2)):
            self._book(self._send(self._somebody(), "fund", value=1))

    def announce_again(self) -> Receipt | None:
        """Announce what another has announced, or for another bond."""
        sealed = self.rng.choice(self.sealed)[3] if self.sealed else OTHER
        bond = TERMS.challenge_bond + self.rng.choice((0, 0, 0, 1, -1))
        return self._send(self._somebody(), "announce_challenge", sealed, value=bond)

    def open_other(self) -> Receipt | None:
        """Open a place that is not the announced one, or is not shown as it is."""
        if not self.sealed:
            return None
        sender, challenge, salt, _ = self.rng.choice(self.sealed)
        if self.rng.random() < 0.3:
            challenge = hostile_challenge(self.rng, self.evidence)
        function, args = change_field(self.rng, challenge).call(salt)
        return self._send(sender, function, *args)

    def settle_other(self) -> Receipt | None:
        """End an announcement of nobody, or that of another hash."""
        sealed = self.rng.choice(self.sealed)[3] if self.sealed else OTHER
        return self._send(self._somebody(), "settle", self._somebody().address, sealed)

    def dispute_other(self) -> Receipt | None:
        """Dispute what is not there, what is no accepted update, or for too little or too much."""
        tree = self.rng.choice([Trees.MODEL, Trees.ROWS, Trees.UPDATE, Trees.UPDATE])
        driver = DisputeDriver(self.fixture, self.evidence, tree, self._somebody(), stands=True)
        price = self.fixture.federation.contract.call("dispute_price")
        price += self.rng.choice((0, 0, 0, -1, 1, -price))
        changes: dict[str, Any] = {}
        if tree is not Trees.UPDATE:
            choices: list[dict[str, Any]] = [
                {"tree": 2},
                {"tree": 2**255},
                {"root": OTHER},
                {"rows": OTHER},
                {},
            ]
            changes = self.rng.choice(choices)
        else:
            changes = self._wrong_update(driver)
        receipt = driver.open(price, **changes)
        self.paid_in += price
        self.disputes.append(driver)
        return receipt

    def _wrong_update(self, driver: DisputeDriver) -> dict[str, Any]:
        evidence, rng = self.evidence, self.rng
        place = rng.randrange(len(evidence.updates))
        args = update_args(evidence.tally, evidence.words, place, evidence.updates[place])
        fields: dict[str, Any] = dict(zip(("position", "tally", "opening", "group"), args, strict=True))
        (root, cid, claim), group = fields["opening"], fields["group"]
        if driver.position != place and evidence.tally.accepted[place]:
            return {}  # its driver would not know the bytes
        choices: list[dict[str, Any]] = [
            fields, {"position": place}, {"position": 2**256 - 1}, {"position": 64},
            {"opening": (root, cid, claim ^ 1)}, {"opening": (OTHER, cid, claim)}, {"tally": b""},
            {"tally": fields["tally"] + b"\0"}, {"group": []}, {"group": group[:-1]},
            {"group": [*group, 1] * 12}, {"accepted": OTHER},
        ]  # fmt: skip
        return rng.choice(choices)

    def answer_wrongly(self) -> Receipt | None:
        """Answer with other bytes, with too many, or what is not due."""
        driver = self._any_dispute()
        if driver is None:
            return None
        rng, leaf = self.rng, b"\0" + driver.source.leaf(self.rng.randrange(self.evidence.context.leaves))
        nodes, candidate = driver.nodes(), self.evidence.candidate
        moves: list[tuple[str, tuple[Any, ...]]] = [
            ("answer", ([OTHER, *nodes[1:]],)), ("answer", (nodes[:-1],)), ("answer", ([*nodes, OTHER],)),
            ("answer", ([OTHER] * 257,)), ("answer", (nodes,)), ("answer_leaf", (leaf,)),
            ("answer_leaf", (b"\1" + OTHER,)), ("answer_leaf", (b"",)),
            ("answer_rows", (candidate.rows, candidate.weights)),
            ("answer_rows", (candidate.weights, candidate.rows)),
        ]  # fmt: skip
        function, args = rng.choice(moves)
        return driver.send(function, *args, sender=self._somebody())

    def copy_answer(self) -> Receipt | None:
        """Send a right answer in another's name, and once more."""
        driver = self._dispute_in(State.ROWS, State.ANSWER)
        if driver is None:
            return None
        state, sender = driver.state, self._somebody()
        function, args = "answer_leaf", tuple[Any, ...]((b"\0" + driver.source.leaf(state.index),))
        if state.state is State.ROWS:
            function, args = "answer_rows", (self.evidence.candidate.weights, self.evidence.candidate.rows)
        elif state.height:
            function, args = "answer", (driver.nodes(),)
        receipt = driver.send(function, *args, sender=sender)
        self._book(receipt)
        return driver.send(function, *args, sender=self._somebody())

    def pursue_wrongly(self) -> Receipt | None:
        """Pick what was not shown, with another proof, or in another's dispute."""
        driver = self._any_dispute()
        if driver is None:
            return None
        rng, course = self.rng, driver.course
        nodes = course.nodes or (OTHER,)
        child = rng.randrange(len(nodes))
        proof = list(course.proof(child)) if course.nodes else []
        choices = [
            (child, nodes[child], proof), (child ^ 1, nodes[child], proof), (child, OTHER, proof),
            (child + 256, nodes[child], proof), (2**256 - 1, nodes[child], proof),
            (child, nodes[child], proof[1:]), (child, nodes[child], [*proof, OTHER]),
            (child, nodes[child], [OTHER] * 9),
        ]  # fmt: skip
        sender = driver.challenger if rng.random() < 0.8 else self._somebody()
        return driver.send("pursue", *rng.choice(choices), sender=sender)

    def rule_wrongly(self) -> Receipt | None:
        """Rule elsewhere, too early, in another's dispute or by what does not open."""
        driver = self._any_dispute()
        if driver is None:
            return None
        challenge = hostile_challenge(self.rng, self.evidence)
        sender = driver.challenger if self.rng.random() < 0.7 else self._somebody()
        number = driver.number if self.rng.random() < 0.9 else self.rng.choice((0, 2**63, SALT - 8))
        return self.fixture.open(challenge, sender, number)

    def expire_other(self) -> Receipt | None:
        """End a dispute with other votes than those of the round."""
        driver = self._any_dispute()
        if driver is None:
            return None
        voters, bodies = self.votes
        choices = [([], []), (voters, bodies[1:]), (voters[1:], bodies[1:]), (voters * 13, bodies * 13)]
        return driver.send("expire", *self.rng.choice(choices), sender=self._somebody())

    def move_of_none(self) -> Receipt | None:
        """Make a move in a dispute that there is not."""
        rng, number = self.rng, self.rng.choice((0, len(self.disputes) + 1, 2**255))
        moves: list[tuple[str, tuple[Any, ...]]] = [
            ("answer", ([OTHER] * rng.randrange(3),)), ("answer_leaf", (b"\0",)),
            ("answer_rows", (OTHER, OTHER)), ("pursue", (0, OTHER, [])), ("expire", ([], [])),
        ]  # fmt: skip
        function, args = rng.choice(moves)
        return self._send(self._somebody(), function, number, *args)

    def _any_dispute(self) -> DisputeDriver | None:
        return self.rng.choice(self.disputes) if self.disputes else None


def compare_dockets(pair: Pair, announced: Sequence[tuple[str, bytes]]) -> None:
    """Insist that both know the same of these announcements, and which proposals are refuted."""
    real, docket = pair.slots.real, pair.specification.chain.state.docket
    for account, sealed in announced:
        key = keccak(word(int(account, 16)) + sealed)
        entry = docket.sealed.get((account, sealed))
        number = 0 if entry is None else entry.block << 68 | entry.time << 32 | entry.proposal
        assert real.get("docket.sealed", int.from_bytes(key, "big")) == number
    for name in range(1 << 8, (1 << 8) + 4):  # the turns of the first round
        assert real.get("docket.refuted", name) == (name in docket.refuted)


def rulings(rng: Random, proposals: int, challenges: int) -> Counter[str]:
    """Challenge generated proposals under random terms on both, rightly and by what does not open.

    Returns how often each ruling came.
    """
    counts: Counter[str] = Counter()
    fixture = ProposalFixture(random_terms(rng), kind=BOTH)
    for _ in range(proposals):
        right = evidence(rng, fixture.terms, rng.randint(1, UPDATES), fixture.setting)
        forged = rng.choice(FORGERIES)(rng, right) or right
        for shown in (right, forged):
            attempts = [hostile_challenge(rng, shown) for _ in range(challenges)]
            if (fault := shown.find()) is not None:
                attempts.append(fault)
            for challenge in attempts:
                fixture.put_proposal(shown.context, attested=rng.randrange(8) | 1)
                verdict = fixture.ruling(challenge)
                counts[verdict if isinstance(verdict, str) else "refuted" if verdict else "lost"] += 1
    return counts
