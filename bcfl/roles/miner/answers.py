"""Answer disputes about a right proposal, and end those in which no move came in time.

Everybody can recompute a right proposal. Silence costs its author the most, so the author answers first; the
other miners, who attested it, do so one after the other in the second half of the time. Challenges of a wrong
proposal are left to those who made it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from bcfl.errors import PayloadError, Reverted, StoreError
from bcfl.ports import ContractCall
from bcfl.protocol.challenges import Trees, weights_digest
from bcfl.protocol.disputes import Dispute, State
from bcfl.protocol.evidence import Vectors
from bcfl.protocol.fixedpoint import Lanes
from bcfl.protocol.rounds import Proposal
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.disputes import expires, expiry, nodes_below, open_disputes
from bcfl.roles.common.snapshot import TURN_SECONDS, RoundSnapshot
from bcfl.roles.miner.context import MinerContext

_ZERO = b"\x00"


class Answers:
    """A miner's moves in disputes; `agrees` tells whether a proposal is what the miner computes itself."""

    def __init__(
        self, context: MinerContext, archive: Archive, agrees: Callable[[RoundSnapshot, Proposal], bool]
    ) -> None:
        self.context, self.archive, self.agrees = context, archive, agrees

    def act(self, snapshot: RoundSnapshot) -> str | None:
        """Make the first move that is due of this miner in an open dispute; None if there is none.

        A dispute that cannot be answered keeps no other from being answered.
        """
        for course in open_disputes(snapshot):
            try:
                report = self._move(snapshot, course.state)
            except (PayloadError, StoreError, Reverted):  # the bytes are gone, or somebody else was quicker
                continue
            if report is not None:
                return report
        return None

    def answers(self, snapshot: RoundSnapshot, state: Dispute) -> list[ContractCall]:
        """Return the calls that show the disputed node of a right proposal, all that are due at once.

        Raises StoreError or PayloadError where the bytes of an accepted update cannot be had.
        """
        submissions = snapshot.current.accepted_submissions()
        tree = Vectors(self._vectors(snapshot, state), snapshot.terms.leaf_lanes)
        if state.state is State.ROWS:
            weights = weights_digest([item.update.samples for item in submissions])
            below = replace(state, state=State.ANSWER, node=tree.root)
            return [
                ContractCall("answer_rows", (state.number, weights, tree.root)),
                self._show(tree, snapshot, below),
            ]
        return [self._show(tree, snapshot, state)]

    def _move(self, snapshot: RoundSnapshot, state: Dispute) -> str | None:
        if snapshot.now >= state.deadline:
            if snapshot.now < expires(snapshot, state) or not self.context.my_turn(snapshot):
                return None
            self.context.send(expiry(snapshot, state.number))
            return "ended a dispute that nobody went on with"
        proposal = snapshot.current.proposals[-1]
        if not state.is_answerable or snapshot.now < self._turn_to_answer(snapshot, state, proposal):
            return None
        if not self.agrees(snapshot, proposal):
            return None
        self.context.send(*self.answers(snapshot, state))
        return "showed what is disputed"

    def _turn_to_answer(self, snapshot: RoundSnapshot, state: Dispute, proposal: Proposal) -> int:
        """Return the time from which this miner answers: the author at once, then the others in turn."""
        if proposal.author == self.context.address:
            return state.due - snapshot.terms.answer_seconds
        seats = [member.account for member in snapshot.history.voters()]
        half = snapshot.terms.answer_seconds // 2
        gap = min(TURN_SECONDS, half // 2 // len(seats))
        place = seats.index(self.context.address)
        return state.due - half + (place - snapshot.round) % len(seats) * gap

    def _vectors(self, snapshot: RoundSnapshot, state: Dispute) -> Sequence[Lanes]:
        """Return what the disputed tree is made of."""
        submissions = snapshot.current.accepted_submissions()
        if state.tree is Trees.MODEL:
            parent = snapshot.history.model_before(snapshot.round)
            return [self.archive.next_model(parent, submissions, snapshot.history).model]
        if state.tree is Trees.UPDATE:
            return [self.archive.update(snapshot.current.submissions[state.position or 0])]
        return [self.archive.update(item) for item in submissions]

    @staticmethod
    def _show(tree: Vectors, snapshot: RoundSnapshot, state: Dispute) -> ContractCall:
        """Return the call that shows the nodes below the disputed one, or its leaf."""
        if state.height == 0:
            return ContractCall("answer_leaf", (state.number, _ZERO + tree.leaf(state.index)))
        return ContractCall("answer", (state.number, nodes_below(tree, state, snapshot.terms)))
