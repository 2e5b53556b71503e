"""Demand that what is kept back be shown: disputes of a proposal's trees and of accepted updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from bcfl.protocol.challenges import Form, Trees
from bcfl.protocol.disputes import DisputeSubject
from bcfl.protocol.limits import GROUP, LEVELS, MAX_MINERS
from bcfl.protocol.submissions import unpack_claim
from bcfl.protocol.types import Phase
from bcfl.specification import docket, proposals, refutations, registry, tallies, verification
from bcfl.specification.call import Call, bounded, require, unsigned
from bcfl.specification.rulings import context_of, reverting
from bcfl.specification.state import ZERO_ADDRESS, Dispute, RoundClock

MAX_ROW: Final = 120_833  # bytes of a row as the terms allow, behind a zero
MAX_OPEN: Final = 4_000  # disputes of one proposal
NODES: Final = 1 << LEVELS  # of an answer

Move = Callable[[Dispute], Dispute]

# The calls.


def dispute(call: Call, root: bytes, rows: bytes, tree: int) -> int:
    """Demand that a tree behind the proposal be shown; returns the number of the dispute."""
    require(tree <= Trees.ROWS, "disputes: no such tree")
    clock = docket.open_window(call)
    return begin(call, clock, DisputeSubject(root, rows, {}), tree)


def dispute_update(
    call: Call,
    accepted: bytes,
    root: bytes,
    rows: bytes,
    position: int,
    tally: bytes,
    opening: tuple[bytes, bytes, int],
    group: Sequence[int],
) -> int:
    """Demand that the accepted update at a position be shown; returns the number of the dispute.

    `opening`: root, CID and claim of the update; `group`: the words between the two checkpoints around it.
    """
    bounded(tallies.MAX_TALLY, tally)
    bounded(GROUP, group)
    clock = docket.open_window(call)
    require(accepted == call.state.verification.accepted, "proposals: another accepted set")
    tallies.check(call, tally)
    unsigned(position + 1)
    update = unpack_claim(clock.round, *opening)
    with reverting():
        context_of(call, b"").check_update(tallies.read(tally), position, update, group)
    return begin(call, clock, DisputeSubject(root, rows, {position: update.root}), Trees.UPDATE + position)


def answer_rows(call: Call, number: int, weights: bytes, rows: bytes) -> None:
    """Show the two digests behind the `rows` of a proposal; the nodes below are due at the same time."""
    terms, now = call.terms, call.block.timestamp
    moved = move(call, number, lambda item: item.answer_rows(terms, now, weights, rows))
    call.state.disputes.disputes[number] = moved
    shown = {"weights": weights, "rows": rows}
    call.log("RowsShown", round=moved.proposal >> 8, answerer=call.sender, number=number, **shown)


def answer(call: Call, number: int, nodes: Sequence[bytes]) -> None:
    """Show all nodes, but for padding, eight levels below the disputed one, or the leaves' digests."""
    bounded(NODES, nodes)
    moved = timed_move(call, number, lambda item: item.answer(call.terms, call.block.timestamp, nodes))
    round_ = moved.proposal >> 8
    call.log("NodesShown", round=round_, answerer=call.sender, number=number, nodes=tuple(nodes))


def answer_leaf(call: Call, number: int, content: bytes) -> None:
    """Show the bytes of the disputed leaf, behind their zero byte."""
    bounded(MAX_ROW, content)
    moved = timed_move(call, number, lambda item: item.answer_leaf(call.terms, call.block.timestamp, content))
    round_ = moved.proposal >> 8
    call.log("LeafShown", round=round_, answerer=call.sender, number=number, content=content)


def pursue(call: Call, number: int, child: int, digest: bytes, proof: Sequence[bytes]) -> None:
    """Pick the node to go on with, among those that were shown; `proof` leads up to the disputed one."""
    bounded(LEVELS, proof)
    terms, now = call.terms, call.block.timestamp

    def picked(item: Dispute) -> Dispute:
        return item.pursue(terms, call.sender, now, child, digest, proof)

    moved = timed_move(call, number, picked)
    picks: dict[str, Any] = {"child": child, "digest": digest}
    call.log("Pursued", round=moved.proposal >> 8, challenger=call.sender, number=number, **picks)


def expire(call: Call, number: int, voters: Sequence[int], bodies: Sequence[bytes]) -> None:
    """End a dispute in which the next move did not come in time, or whose proposal is gone.

    That no answer came refutes the proposal when nobody can challenge it any more.
    """
    bounded(MAX_MINERS, voters, bodies)
    item = current(call, number)
    require(item.bond_is_held, "disputes: none is open")
    if not item.is_open:
        end(call, number, True)
        return
    require(item.is_late, "disputes: not yet due")
    if not item.is_answerable:
        lose(call, number)
        return
    # Whoever can show a wrong place goes first: silence costs less, so colluders would rather be silent.
    require(docket.is_window_over(call, call.state.rounds.clock), "disputes: window open")
    require(docket.are_all_opened(call), "disputes: an announcement waits")
    verification.check_votes(call, voters, bodies)
    win(call, number, Form.SILENCE, voters)
