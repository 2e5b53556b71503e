"""Read the disputes about a proposal, and build what ends or answers one."""

from __future__ import annotations

from collections.abc import Sequence

from bcfl.ports import ContractCall
from bcfl.protocol import merkle, verification
from bcfl.protocol.disputes import Course, Dispute, DisputeSubject, courses
from bcfl.protocol.evidence import Vectors
from bcfl.protocol.hashing import keccak, word
from bcfl.protocol.limits import LEVELS
from bcfl.protocol.rounds import Proposal, Round
from bcfl.protocol.types import Terms
from bcfl.roles.common.snapshot import RoundSnapshot


def nodes_below(tree: Vectors, state: Dispute, terms: Terms) -> list[bytes]:
    """Return the nodes that an answer has to show of a tree: those some levels below the disputed one."""
    levels = min(LEVELS, state.height)
    first = state.index << levels
    places = range(first, first + state.due_nodes(terms))
    height = state.height - levels
    return [merkle.rows_node(tree.vectors, tree.leaf_lanes, height, place) for place in places]


def expiry(snapshot: RoundSnapshot) -> ContractCall:
    """Return the call that ends a dispute in which no move came in time."""
    return ContractCall("expire", verification.skip_args(snapshot.current.votes, snapshot.current.engine))


def proposal_digest(round_: int, proposal: Proposal) -> bytes:
    """Return the digest of a proposal that miners attest and challengers dispute."""
    return keccak(word(round_) + proposal.root + proposal.cid + proposal.rows + proposal.layer)


def disputes_of(snapshot: RoundSnapshot) -> list[Course]:
    """Return the disputes about the last proposal, in their order."""
    proposal = snapshot.current.proposals[-1]
    digest = proposal_digest(snapshot.round, proposal)
    subject = DisputeSubject(digest, proposal.root, proposal.rows, accepted_roots(snapshot.current))
    return courses(snapshot.terms, subject, proposal.dispute_moves)


def accepted_roots(round_: Round) -> dict[int, bytes]:
    """Return the roots of a round's accepted updates by position."""
    return {item.position: item.update.root for item in round_.accepted_submissions()}


def open_dispute(snapshot: RoundSnapshot) -> Course | None:
    """Return the dispute that the round waits for, or None."""
    disputes = disputes_of(snapshot)
    return disputes[-1] if disputes and disputes[-1].end_time is None else None


def extension_seconds(disputes: Sequence[Course], terms: Terms) -> int:
    """Return by how many seconds ended disputes have put off the deadline and the challenge window."""
    durations = (course.end_time - course.state.since for course in disputes if course.end_time is not None)
    return sum(seconds + terms.answer_seconds for seconds in durations)
