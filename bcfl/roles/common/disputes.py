"""Step 6 for miners: what a dispute asks for is shown by whoever has it, and time that is over is called.

A right proposal can be recomputed by everybody, so that one miner after the other answers for its leader.
What somebody asks of a wrong one is left to those who made it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bcfl.ports import ContractCall
from bcfl.protocol import merkle, verification
from bcfl.protocol.challenges import Trees, weights_digest
from bcfl.protocol.disputes import LEVELS, UNOPENED, Course, Dispute, Disputed, courses
from bcfl.protocol.evidence import Vectors
from bcfl.protocol.fixedpoint import Lanes
from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.rounds import Proposal, Round
from bcfl.protocol.types import Terms
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.snapshot import RoundSnapshot
from bcfl.roles.miner.context import MinerContext

_ZERO = b"\x00"


class Answers:
    """What a miner does about a dispute; `agrees` says whether a proposal is what it computes itself."""

    def __init__(
        self, context: MinerContext, archive: Archive, agrees: Callable[[RoundSnapshot, Proposal], bool]
    ) -> None:
        self.context, self.archive, self.agrees = context, archive, agrees

    def act(self, snapshot: RoundSnapshot, state: Dispute) -> str | None:
        """Make the move of an open dispute that is due, when this miner's turn has come."""
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
        """What shows the disputed node of a right proposal."""
        taken = snapshot.current.taken()
        vectors: Sequence[Lanes] = [self.archive.update(item) for item in taken]
        if state.tree is Trees.MODEL:
            before = snapshot.history.model_before(snapshot.round)
            vectors = [self.archive.next_model(before, taken, snapshot.history).model]
        elif state.tree is Trees.UPDATE:
            vectors = [self.archive.update(snapshot.current.submissions[state.position or 0])]
        tree = Vectors(vectors, snapshot.terms.leaf_lanes)
        if state.shown == UNOPENED:
            return ContractCall(
                "answer_rows", (weights_digest([item.update.samples for item in taken]), tree.root)
            )
        if state.height == 0:
            return ContractCall("answer_leaf", (_ZERO + tree.leaf(state.index),))
        return ContractCall("answer", (nodes_below(tree, state, snapshot.terms),))


def nodes_below(tree: Vectors, state: Dispute, terms: Terms) -> list[bytes]:
    """What an answer has to show of a tree that is made of these vectors."""
    levels = min(LEVELS, state.height)
    first = state.index << levels
    places = range(first, first + state.due_nodes(terms))
    height = state.height - levels
    return [merkle.rows_node(tree.vectors, tree.leaf_lanes, height, place) for place in places]


def expiry(snapshot: RoundSnapshot) -> ContractCall:
    """What ends a dispute in which no move came in time."""
    return ContractCall("expire", verification.skip_args(snapshot.current.votes, snapshot.current.engine))


def proposal_digest(round_: int, proposal: Proposal) -> bytes:
    """What an attestation attests, and what a dispute is about."""
    return keccak(word(round_) + proposal.root + proposal.cid + proposal.rows + proposal.layer)


def disputes_of(snapshot: RoundSnapshot) -> list[Course]:
    """The disputes about the proposal that stands."""
    proposal = snapshot.current.proposals[-1]
    name = proposal_digest(snapshot.round, proposal)
    disputed = Disputed(name, proposal.root, proposal.rows, accepted_roots(snapshot.current))
    return courses(snapshot.terms, disputed, proposal.disputed)


def accepted_roots(round_: Round) -> dict[int, bytes]:
    """The roots of a round's accepted updates by position."""
    return {item.position: item.update.root for item in round_.taken()}


def open_dispute(snapshot: RoundSnapshot) -> Course | None:
    """The dispute that the round waits for."""
    found = disputes_of(snapshot)
    return found[-1] if found and found[-1].ended is None else None


def prolonged(found: Sequence[Course], terms: Terms) -> int:
    """By how many seconds disputes that are over have put off deadline and window."""
    ended = (course.ended - course.state.since for course in found if course.ended is not None)
    return sum(took + terms.answer_seconds for took in ended)
