"""Take the price of a wrong proposal from its author and from whoever attested it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bcfl.protocol.challenges import Form
from bcfl.protocol.limits import BASIS_POINTS
from bcfl.protocol.types import Electorate, VoidReason
from bcfl.specification import docket, election, registry, rounds, treasury
from bcfl.specification.call import Call
from bcfl.specification.state import ZERO_ADDRESS, Proposal


def refute(call: Call, challenger: str, form: int, voters: Sequence[int]) -> None:
    """End a proposal that was shown to be wrong, or that is kept back, in the form of a refutation.

    Its author and whoever attested it are slashed, a quarter of the author's part is the challenger's, and
    the rest is burned. The next in turn of those who voted leads, unless too little weight is left that has
    not attested it.
    """
    state = call.state
    clock, lead, seat = state.rounds.clock, state.election.lead, state.proposals.proposal.author
    leader = state.registry.miners.get(seat, ZERO_ADDRESS)
    call.log("Refuted", round=clock.round, leader=leader, challenger=challenger, form=int(form))
    docket.note_refuted(call, clock)
    attested = lead.attested | 1 << seat
    taken, total = registry.slash(call, clock.round, attested, seat, *parts(call, form))
    reward = taken // 4
    treasury.credit(call, challenger, reward)
    state.treasury.owed += reward
    state.proposals.proposal = Proposal()
    # They are no voters of this round any more.
    clock = replace(clock, expected=clock.expected & ~attested)
    lead = replace(lead, failed=lead.failed | attested, is_standing=False)
    weight = lead.whole - min(lead.attested_weight, lead.whole)
    enough = Electorate(lead.whole, rounds.is_committee(call, clock)).decides(weight)
    if not enough or not election.pass_to_next(call, clock, lead, voters):
        # For `advance` to end.
        state.rounds.clock = rounds.failed(clock, VoidReason.NO_LEADER)
    call.burn(total - reward)


def parts(call: Call, form: int) -> tuple[int, int]:
    """Return what the author and each attester lose of their stakes, in basis points."""
    if form != Form.SILENCE:
        return BASIS_POINTS, call.terms.attest_slash
    # Each of them could have answered, but none of them has signed anything wrong.
    return BASIS_POINTS // 2, min(call.terms.attest_slash, BASIS_POINTS // 10)
