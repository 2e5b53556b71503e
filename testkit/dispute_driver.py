"""Play a dispute on the contract; the twin follows its events."""

from __future__ import annotations

from typing import Any

from bcfl.protocol import disputes, merkle
from bcfl.protocol.challenges import Trees, rows_digest
from bcfl.protocol.disputes import Course, Dispute, DisputeSubject
from bcfl.protocol.evidence import Evidence, Vectors
from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.limits import LEVELS
from testkit.harness import account
from testkit.proposal_fixture import ProposalFixture

ANSWERER = account("late", 0)


class DisputeDriver:
    """A dispute of a proposal, right or forged, on the contract and on the twin."""

    def __init__(self, fixture: ProposalFixture, evidence: Evidence, tree: Trees) -> None:
        self.fixture, self.evidence, self.terms = fixture, evidence, fixture.terms
        self.federation = fixture.federation
        fixture.put_proposal(evidence.context)
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

    @property
    def proposal(self) -> tuple[bytes, ...]:
        c = self.evidence.candidate
        return c.root, c.cid, rows_digest(c.weights, c.rows), c.layer

    def open(self, bond: int | None = None, **changes: Any) -> None:
        """Open the dispute; `changes` replace its arguments by name."""
        fields: dict[str, Any] = dict(zip(("root", "cid", "rows", "layer"), self.proposal, strict=True))
        function, extra_fields = "dispute", dict[str, Any](tree=self.kind)
        if self.kind is Trees.UPDATE:
            evidence, place = self.evidence, self.position
            opening = disputes.update_args(evidence.tally, evidence.words, place, evidence.updates[place])
            function = "dispute_update"
            extra_fields = dict(zip(("position", "tally", "opening", "group"), opening, strict=True))
        value = self.terms.challenge_bond if bond is None else bond
        args = (fields | extra_fields | changes).values()
        self.federation.send(self.federation.outsider, function, *args, value=value)

    @property
    def course(self) -> Course:
        """Follow the dispute in the contract's events, by the twin's rules."""
        names = {"Disputed", "RowsShown", "NodesShown", "LeafShown", "Pursued", "DisputeEnded"}
        events = [e for e in self.federation.contract.events(self.opening_block) if e.name in names]
        root, _, rows, _ = self.proposal
        bits = enumerate(self.evidence.tally.accepted)
        roots = {place: self.evidence.updates[place].root for place, bit in bits if bit}
        proposal = DisputeSubject(self.evidence.context.proposal, root, rows, roots)
        return disputes.courses(self.terms, proposal, events)[-1]

    @property
    def opening_block(self) -> int:
        """The block in which the last dispute was opened."""
        return [e for e in self.federation.contract.events() if e.name == "Disputed"][-1].block

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

    def answer(self) -> Any:
        state = self.state
        if state.shown == disputes.UNOPENED:
            c = self.evidence.candidate
            return self.send("answer_rows", c.weights, c.rows)
        if state.height:
            return self.send("answer", self.nodes())
        return self.send("answer_leaf", b"\0" + self.source.leaf(state.index))

    def pursue(self, child: int) -> Any:
        course = self.course
        return self.federation.send(
            self.federation.outsider, "pursue", child, course.nodes[child], list(course.proof(child))
        )

    def send(self, function: str, *args: Any) -> Any:
        return self.federation.send(ANSWERER, function, *args)

    def expire(self) -> Any:
        return self.send("expire", *self.votes())

    def votes(self) -> tuple[list[int], list[bytes]]:
        voters = list(self.fixture.setting.voters)
        bodies = [bytes(32)] * len(voters)
        links = bytes(32)
        for voter, body in zip(voters, bodies, strict=True):
            links = keccak(links + word(voter) + body)
        self.fixture.storage.put(("verification.votes", None, int.from_bytes(links, "big")))
        return voters, bodies
