"""Demand that what is kept back be shown: disputes of a proposal's trees and of accepted updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from bcfl.errors import ChallengeError
from bcfl.protocol.challenges import Form, Trees, proposal_digest
from bcfl.protocol.disputes import DisputeSubject
from bcfl.protocol.limits import GROUP, LEVELS, MAX_MINERS
from bcfl.protocol.submissions import unpack_claim
from bcfl.protocol.types import Phase
from bcfl.specification import docket, proposals, refutations, tallies, verification
from bcfl.specification.call import Call, bounded, require, unsigned
from bcfl.specification.rulings import context_of, reverting
from bcfl.specification.state import NO_DISPUTE, ZERO_ADDRESS, Dispute, RoundClock

MAX_ROW: Final = 120_833  # bytes of a row as the terms allow, behind a zero
MAX_OPEN: Final = 4_000  # disputes of one proposal
NODES: Final = 1 << LEVELS  # of an answer
NO_NODE: Final = "disputes: no such node"

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
        try:
            return item.pursue(terms, call.sender, now, child, digest, proof)
        except ChallengeError as error:
            if str(error) == NO_NODE:
                unsigned((item.index << item.levels) + child)  # Vyper adds before it looks
            raise

    moved = timed_move(call, number, picked)
    picks: dict[str, Any] = {"child": child, "digest": digest}
    call.log("Pursued", round=moved.proposal >> 8, challenger=call.sender, number=number, **picks)


def expire(call: Call, number: int, voters: Sequence[int], bodies: Sequence[bytes]) -> None:
    """End a dispute in which the next move did not come in time, or whose proposal is gone.

    That no answer came refutes the proposal when nobody can challenge it any more.
    """
    bounded(MAX_MINERS, voters, bodies)
    item = current(call, number)
    require(not item.is_ended, "disputes: none is open")
    if not item.stands:
        end(call, number, True)
        return
    require(item.is_late, "disputes: not yet due")
    if not item.is_answerable:
        lose(call, number)
        return
    # Whoever can show a wrong place goes first: silence costs less, so colluders would rather be silent.
    require(docket.is_window_over(call, call.state.rounds.clock), "disputes: window open")
    require(docket.are_all_opened(call), "disputes: an announcement waits")
    verification.check_chain(call, voters, bodies, "proposals: not the votes of this round")
    win(call, number, Form.SILENCE, voters)


# The view.


def dispute_state(call: Call, number: int) -> tuple[Any, ...]:
    """Return where a dispute stands, as the contract's struct."""
    item = stored(call, number)
    state = 0 if item.is_ended else int(item.state)
    place = (item.height, item.index, item.node, item.levels)
    times = (item.due, item.left, item.moved, item.block)
    return (item.challenger, item.bond, item.proposal, item.code, state, *place, *times)


# For other modules.


def stored(call: Call, number: int) -> Dispute:
    """Return the dispute of a number, as it was left by its last move."""
    return call.state.disputes.disputes.get(number, NO_DISPUTE)


def current(call: Call, number: int) -> Dispute:
    """Return the dispute of a number, and whether its proposal stands and its next move is late."""
    item, clock = stored(call, number), call.state.rounds.clock
    stands = clock.phase == Phase.ATTEST and item.proposal == docket.name_of(call, clock)
    return replace(item, stands=stands, is_late=docket.has_passed(call, item.deadline, item.block))


def begin(call: Call, clock: RoundClock, subject: DisputeSubject, code: int) -> int:
    """Take the bond of a dispute about the proposal that stands; returns its number."""
    state, terms, now = call.state, call.terms, call.block.timestamp
    accepted = state.verification.accepted
    proposals.check(call, proposal_digest(clock.round, accepted, subject.root, subject.rows))
    entry = docket.entry_of(call, clock)
    require(call.value >= docket.price(call, entry, clock.round), "disputes: not the bond")
    require(entry.disputes < MAX_OPEN, "disputes: too many")
    opened = min(entry.opened + 1, docket.COUNTED)
    state.docket.entry = replace(entry, disputes=entry.disputes + 1, opened=opened)
    state.election.lead = replace(state.election.lead, is_held=True)
    state.treasury.owed += call.value
    number = len(state.disputes.disputes) + 1
    twin = subject.open(terms, number, code, call.sender, now)
    name, block = docket.name_of(call, clock), call.block.number
    state.disputes.disputes[number] = Dispute(**vars(twin), bond=call.value, proposal=name, block=block)
    fields = {"challenger": call.sender, "tree": int(code), "number": number, "bond": call.value}
    call.log("Disputed", round=clock.round, **fields)
    return number


def move(call: Call, number: int, make: Move) -> Dispute:
    """Make a move in a dispute, as the twin takes it; returns what the dispute is then."""
    with reverting():
        item = make(current(call, number))
    call.state.disputes.disputes[number] = item
    return item


def timed_move(call: Call, number: int, make: Move) -> Dispute:
    """Make a move with which the time of the next one begins."""
    item = replace(move(call, number, make), block=call.block.number)
    call.state.disputes.disputes[number] = item
    return item


def check_ruling(call: Call, number: int, form: Form, leaf: int) -> None:
    """Insist that the sender may rule in its dispute by such a challenge."""
    with reverting():
        current(call, number).check_ruling(call.terms, call.sender, call.block.timestamp, form, leaf)


def win(call: Call, number: int, form: Form, voters: Sequence[int]) -> None:
    """End a dispute that has refuted the proposal: the bond goes back, and the challenger is rewarded."""
    end(call, number, True)
    refutations.refute(call, stored(call, number).challenger, form, voters)


def lose(call: Call, number: int) -> None:
    """End a dispute that the challenger has lost; the next ones cost more."""
    end(call, number, False)
    docket.note_lost(call, call.state.rounds.clock.round)


def end(call: Call, number: int, is_returned: bool) -> None:
    """End a dispute that the challenger has not won: its bond goes back where the proposal is gone.

    Where it is lost, half goes to the author of the proposal, who had to answer, and the rest to the pool.
    """
    state, item = call.state, stored(call, number)
    if is_returned:
        docket.give_back(call, item.challenger, item.bond, True)
    else:
        author = state.registry.miners.get(state.proposals.proposal.author, ZERO_ADDRESS)
        half = item.bond // 2
        docket.give_back(call, author, half, True)
        docket.give_back(call, author, item.bond - half, False)
    entry = state.docket.entry
    if entry.proposal == item.proposal:
        state.docket.entry = replace(entry, disputes=entry.disputes - 1)
    state.disputes.disputes[number] = replace(item, is_ended=True)
    call.log("DisputeEnded", challenger=item.challenger, number=number, returned=is_returned)
