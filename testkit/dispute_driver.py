"""Play a dispute on the contract; the twin follows its events."""

from __future__ import annotations

from typing import Any

from bcfl.ledger.contract import Receipt
from bcfl.protocol import disputes, merkle
from bcfl.protocol.challenges import Challenge, Trees, rows_digest
from bcfl.protocol.disputes import Course, Dispute, DisputeSubject, State
from bcfl.protocol.evidence import Evidence, Vectors
from bcfl.protocol.limits import LEVELS
from testkit.harness import Account, account
from testkit.proposal_fixture import CID, ProposalFixture

ANSWERER = account("late", 0)
STATE, HEIGHT, INDEX, NODE = 4, 5, 6, 7  # fields of a dispute, in storage
MOVES = {"Disputed", "RowsShown", "NodesShown", "LeafShown", "Pursued", "DisputeEnded"}


class DisputeDriver:
    """A dispute of a proposal, right or forged, on the contract and on the twin.

    `stands`: the proposal stands already, for one more dispute of it.
    """

    def __init__(
        self,
        fixture: ProposalFixture,
        evidence: Evidence,
        tree: Trees,
        challenger: Account | None = None,
        stands: bool = False,
    ) -> None:
        self.fixture, self.evidence, self.terms = fixture, evidence, fixture.terms
        self.federation = fixture.federation
        self.challenger = challenger or self.federation.outsider
        if not stands:
            fixture.put_proposal(evidence.context)
        self.window_end = (
            self.federation.clock.deadline - self.terms.attest_seconds + self.terms.challenge_seconds
        )
        self.position = max(i for i, bit in enumerate(evidence.tally.accepted) if bit)
        update_vectors = Vectors([evidence.lanes[-1]], self.terms.leaf_lanes)
        source: Any = {Trees.MODEL: evidence.model, Trees.ROWS: evidence.rows, Trees.UPDATE: update_vectors}[
            tree
        ]
        self.tree = merkle.tree_of(
            [source.leaf(i) for i in range(evidence.context.leaves)], evidence.context.depth
        )
        self.source = source
        self.kind = tree
        self.number = 0
        self.opening_block = 0

    @property
    def proposal(self) -> tuple[bytes, bytes, bytes]:
        c = self.evidence.candidate
        return c.root, CID, rows_digest(c.weights, c.rows)

    def open(self, bond: int | None = None, **changes: Any) -> Receipt:
        """Open the dispute; `changes` replace its arguments by name."""
        root, _, rows = self.proposal
        fields: dict[str, Any] = {"root": root, "rows": rows}
        function, extra_fields = "dispute", dict[str, Any](tree=self.kind)
        if self.kind is Trees.UPDATE:
            evidence, place = self.evidence, self.position
            opening = disputes.update_args(evidence.tally, evidence.words, place, evidence.updates[place])
            function = "dispute_update"
            fields = {"accepted": evidence.context.accepted} | fields
            extra_fields = dict(zip(("position", "tally", "opening", "group"), opening, strict=True))
        value = self.federation.contract.call("dispute_price") if bond is None else bond
        args = (fields | extra_fields | changes).values()
        receipt = self.federation.send(self.challenger, function, *args, value=value)
        (event,) = receipt.events
        self.number, self.opening_block = event.args["number"], event.block
        return receipt

    @property
    def course(self) -> Course:
        """Follow the dispute in the contract's events, by the twin's rules."""
        events = [e for e in self.federation.contract.events(self.opening_block) if e.name in MOVES]
        root, _, rows = self.proposal
        bits = enumerate(self.evidence.tally.accepted)
        roots = {place: self.evidence.updates[place].root for place, bit in bits if bit}
        return disputes.courses(self.terms, DisputeSubject(root, rows, roots), events)[self.number]

    @property
    def state(self) -> Dispute:
        return self.course.state

    def nodes(self) -> list[bytes]:
        state = self.state
        height = state.height - min(LEVELS, state.height)
        first = state.index << min(LEVELS, state.height)
        level = self.tree.levels[height]
        every = [level[i : i + 32] for i in range(0, len(level), 32)]
        return every[first : first + state.due_nodes(self.terms)]

    def answer(self) -> Receipt:
        """Make the answer that is due; what is behind `rows` and the nodes below it are two."""
        state = self.state
        if state.state is State.ROWS:
            c = self.evidence.candidate
            return self.send("answer_rows", c.weights, c.rows)
        if state.height:
            return self.send("answer", self.nodes())
        return self.send("answer_leaf", b"\0" + self.source.leaf(state.index))

    def pursue(self, child: int) -> Receipt:
        course = self.course
        fields = (child, course.nodes[child], list(course.proof(child)))
        return self.send("pursue", *fields, sender=self.challenger)

    def go_down(self, leaf: int) -> None:
        """Answer and pursue until a leaf is shown."""
        while True:
            state = self.state
            if state.state is State.RULE:
                return
            if state.state is not State.PICK:
                self.answer()
                continue
            child = (leaf >> (state.height - state.levels)) & ((1 << state.levels) - 1)
            self.pursue(child)

    def rule(self, challenge: Challenge) -> Receipt:
        """End the dispute by a challenge at its leaf."""
        return self.fixture.open(challenge, self.challenger, self.number)

    def send(self, function: str, *args: Any, sender: Account = ANSWERER) -> Receipt:
        """Make a move in this dispute."""
        return self.federation.send(sender, function, self.number, *args)

    def wait_out(self) -> None:
        """Let the time run out in which a move can come; that no answer came counts after the window."""
        state = self.state
        self.federation.chain.warp(
            max(state.deadline, self.window_end) if state.is_answerable else state.deadline
        )

    def expire(self) -> Receipt:
        return self.send("expire", *self.fixture.votes())
