"""Step 6 for miners: what a dispute asks for is shown by whoever has it, and time that is over is called.

A right proposal can be recomputed by everybody, so that one miner after the other answers for its leader.
What somebody asks of a wrong one is left to those who made it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bcfl.ports import Step
from bcfl.protocol import merkle, verification
from bcfl.protocol.challenges import Trees, weights_digest
from bcfl.protocol.disputes import LEVELS, UNOPENED, Course, Dispute, Disputed, courses
from bcfl.protocol.evidence import Vectors
from bcfl.protocol.fixedpoint import Lanes
from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.rounds import Proposal, Round
from bcfl.protocol.types import Terms
from bcfl.roles.archive import Archive
from bcfl.roles.clerk import Office
from bcfl.roles.moment import Moment

_ZERO = b"\x00"


class Answers:
    """What a miner does about a dispute; `agrees` says whether a proposal is what it computes itself."""

    def __init__(self, office: Office, archive: Archive, agrees: Callable[[Moment, Proposal], bool]) -> None:
        self.office, self.archive, self.agrees = office, archive, agrees

    def act(self, moment: Moment, state: Dispute) -> str | None:
        """Make the move of an open dispute that is due, when this miner's turn has come."""
        if not self.office.my_turn(moment):
            return None
        if moment.now >= state.due:
            self.office.send(expiry(moment))
            return "ended a dispute that nobody went on with"
        if not state.answerable or not self.agrees(moment, moment.current.proposals[-1]):
            return None
        self.office.send(self.answer(moment, state))
        return "showed what is disputed"

    def answer(self, moment: Moment, state: Dispute) -> Step:
        """What shows the disputed node of a right proposal."""
        taken = moment.current.taken()
        vectors: Sequence[Lanes] = [self.archive.update(item) for item in taken]
        if state.tree is Trees.MODEL:
            before = moment.history.model_before(moment.round)
            vectors = [self.archive.next_model(before, taken, moment.history).model]
        elif state.tree is Trees.UPDATE:
            vectors = [self.archive.update(moment.current.submissions[state.position or 0])]
        tree = Vectors(vectors, moment.terms.leaf_lanes)
        if state.shown == UNOPENED:
            return Step("answer_rows", (weights_digest([item.update.samples for item in taken]), tree.root))
        if state.height == 0:
            return Step("answer_leaf", (_ZERO + tree.leaf(state.index),))
        return Step("answer", (nodes_below(tree, state, moment.terms),))


def nodes_below(tree: Vectors, state: Dispute, terms: Terms) -> list[bytes]:
    """What an answer has to show of a tree that is made of these vectors."""
    levels = min(LEVELS, state.height)
    first = state.index << levels
    places = range(first, first + state.due_nodes(terms))
    height = state.height - levels
    return [merkle.rows_node(tree.vectors, tree.leaf_lanes, height, place) for place in places]


def expiry(moment: Moment) -> Step:
    """What ends a dispute in which no move came in time."""
    return Step("expire", verification.skip_args(moment.current.votes, moment.current.engine))


def proposal_digest(round_: int, proposal: Proposal) -> bytes:
    """What an attestation attests, and what a dispute is about."""
    return keccak(word(round_) + proposal.root + proposal.cid + proposal.rows + proposal.layer)


def disputes_of(moment: Moment) -> list[Course]:
    """The disputes about the proposal that stands."""
    proposal = moment.current.proposals[-1]
    name = proposal_digest(moment.round, proposal)
    disputed = Disputed(name, proposal.root, proposal.rows, accepted_roots(moment.current))
    return courses(moment.terms, disputed, proposal.disputed)


def accepted_roots(round_: Round) -> dict[int, bytes]:
    """The roots of a round's accepted updates by position."""
    return {item.position: item.update.root for item in round_.taken()}


def open_dispute(moment: Moment) -> Course | None:
    """The dispute that the round waits for."""
    found = disputes_of(moment)
    return found[-1] if found and found[-1].ended is None else None


def prolonged(found: Sequence[Course], terms: Terms) -> int:
    """By how many seconds disputes that are over have put off deadline and window."""
    ended = (course.ended - course.state.since for course in found if course.ended is not None)
    return sum(took + terms.answer_seconds for took in ended)
