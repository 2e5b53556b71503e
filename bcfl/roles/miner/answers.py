"""Answer disputes about a right proposal, and end those in which no move came in time.

Everybody can recompute a right proposal, so one miner after the other answers for its leader. Challenges of
a wrong proposal are left to those who made it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bcfl.ports import ContractCall
from bcfl.protocol.challenges import Trees, weights_digest
from bcfl.protocol.disputes import UNOPENED, Dispute
from bcfl.protocol.evidence import Vectors
from bcfl.protocol.fixedpoint import Lanes
from bcfl.protocol.rounds import Proposal
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.disputes import expiry, nodes_below
from bcfl.roles.common.snapshot import RoundSnapshot
from bcfl.roles.miner.context import MinerContext

_ZERO = b"\x00"


class Answers:
    """A miner's moves in disputes; `agrees` tells whether a proposal is what the miner computes itself."""

    def __init__(
        self, context: MinerContext, archive: Archive, agrees: Callable[[RoundSnapshot, Proposal], bool]
    ) -> None:
        self.context, self.archive, self.agrees = context, archive, agrees

    def act(self, snapshot: RoundSnapshot, state: Dispute) -> str | None:
        """Make the move that an open dispute needs, once it is this miner's turn; None if there is none."""
        if not self.context.my_turn(snapshot):
            return None
        if snapshot.now >= state.due:
            self.context.send(expiry(snapshot))
            return "ended a dispute that nobody went on with"
        if not state.answerable or not self.agrees(snapshot, snapshot.current.proposals[-1]):
            return None
        self.context.send(self.answer(snapshot, state))
        return "showed what is disputed"

    def answer(self, snapshot: RoundSnapshot, state: Dispute) -> ContractCall:
        """Return the call that shows the disputed node of a right proposal.

        Raises StoreError or PayloadError where the bytes of an accepted update cannot be had.
        """
        submissions = snapshot.current.accepted_submissions()
        vectors: Sequence[Lanes] = [self.archive.update(item) for item in submissions]
        if state.tree is Trees.MODEL:
            parent = snapshot.history.model_before(snapshot.round)
            vectors = [self.archive.next_model(parent, submissions, snapshot.history).model]
        elif state.tree is Trees.UPDATE:
            vectors = [self.archive.update(snapshot.current.submissions[state.position or 0])]
        tree = Vectors(vectors, snapshot.terms.leaf_lanes)
        if state.shown == UNOPENED:
            weights = weights_digest([item.update.samples for item in submissions])
            return ContractCall("answer_rows", (weights, tree.root))
        if state.height == 0:
            return ContractCall("answer_leaf", (_ZERO + tree.leaf(state.index),))
        return ContractCall("answer", (nodes_below(tree, state, snapshot.terms),))
