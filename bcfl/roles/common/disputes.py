"""Read the disputes about a proposal, and build what ends or answers one."""

from __future__ import annotations

from bcfl.ports import ContractCall
from bcfl.protocol import merkle, verification
from bcfl.protocol.disputes import Course, Dispute, DisputeSubject, courses
from bcfl.protocol.evidence import Vectors
from bcfl.protocol.limits import LEVELS
from bcfl.protocol.rounds import Round
from bcfl.protocol.types import Terms
from bcfl.roles.common.snapshot import RoundSnapshot, window_end


def nodes_below(tree: Vectors, state: Dispute, terms: Terms) -> list[bytes]:
    """Return the nodes that an answer has to show of a tree: those some levels below the disputed one."""
    levels = min(LEVELS, state.height)
    first = state.index << levels
    places = range(first, first + state.due_nodes(terms))
    height = state.height - levels
    return [merkle.rows_node(tree.vectors, tree.leaf_lanes, height, place) for place in places]


def expires(snapshot: RoundSnapshot, state: Dispute) -> int:
    """Return the time from which a dispute can be ended if no move comes: challenges go before silence."""
    return max(state.deadline, window_end(snapshot)) if state.is_answerable else state.deadline


def expiry(snapshot: RoundSnapshot, number: int) -> ContractCall:
    """Return the call that ends a dispute in which no move came in time, or whose proposal is gone."""
    args = verification.skip_args(snapshot.current.votes)
    return ContractCall("expire", (number, *args))


def disputes_of(snapshot: RoundSnapshot) -> list[Course]:
    """Return the disputes about the last proposal, in their order, but for those that cannot be followed."""
    proposal = snapshot.current.proposals[-1]
    subject = DisputeSubject(proposal.root, proposal.rows, accepted_roots(snapshot.current))
    return list(courses(snapshot.terms, subject, proposal.dispute_moves, strict=False).values())


def open_disputes(snapshot: RoundSnapshot) -> list[Course]:
    """Return the disputes that the round waits for; the one whose next move is due first comes first."""
    return sorted(
        (course for course in disputes_of(snapshot) if course.is_open),
        key=lambda course: course.state.deadline,
    )


def accepted_roots(round_: Round) -> dict[int, bytes]:
    """Return the roots of a round's accepted updates by position."""
    return {item.position: item.update.root for item in round_.accepted_submissions()}
