"""Say who leads: the voters of a round in turns, or whoever wins the race."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from bcfl.protocol import election as twin
from bcfl.protocol.types import SEAT, Engine, Phase, weight_of
from bcfl.specification import registry, rounds, scores, turns
from bcfl.specification.call import Call, require
from bcfl.specification.packing import account_of
from bcfl.specification.state import NOBODY, ZERO_ADDRESS, Lead, RoundClock

RACE: Final = Engine.POW


def construct(call: Call) -> None:
    """Set the first target of the race."""
    call.state.election.target = call.terms.pow_target


def begin(
    call: Call, clock: RoundClock, samples: int, matches: int, voters: Sequence[int], puzzle: bytes
) -> None:
    """Start the election of a counted round; `puzzle` is what a race starts from."""
    election = call.state.election
    lead = Lead(whole=rounds.electorate(call, clock).whole, samples=samples, matches=matches)
    if clock.engine == RACE:
        election.puzzle = puzzle
        if election.lead.leader == NOBODY:
            # The last race ended without a winner: the target is too hard for those who are left.
            election.target = twin.ease(election.target, call.terms.pow_seconds)
    _pass_on(call, clock, lead, clock.acted, voters)


def pass_to_next(call: Call, clock: RoundClock, before: Lead, voters: Sequence[int]) -> bool:
    """Pass the lead on after a leader lost its turn; returns whether somebody was left.

    What was attested stays while a proposal stands. If nobody was left, the round is void.
    """
    failed = (before.failed | 1 << before.leader) & 2**64 - 1
    # More than one may fail at once: whoever attested what was refuted.
    if not clock.expected & ~failed:
        return False
    lead = Lead(whole=before.whole, samples=before.samples, matches=before.matches)
    if before.is_standing:
        lead = replace(
            lead, is_standing=True, attested_weight=before.attested_weight, attested=before.attested
        )
    _pass_on(call, clock, replace(lead, turn=before.turn + 1, failed=failed), clock.expected, voters)
    return True


def _pass_on(call: Call, clock: RoundClock, lead: Lead, seats: int, voters: Sequence[int]) -> None:
    """Open a race, or make the next in turn the leader. `lead` has no leader."""
    state, terms = call.state, call.terms
    if clock.engine == RACE:
        state.election.lead = replace(lead, leader=NOBODY)
        state.rounds.clock = rounds.stage(call, clock, Phase.ELECT, terms.elect_seconds, seats)
        return
    accounts = {voter >> SEAT: account_of(voter) for voter in voters}
    able = [seat for seat in accounts if not lead.failed >> seat & 1]
    # While a proposal stands, who passes it on neither earns nor pays a lead.
    if not lead.is_standing:
        turns.share(call, _weights(call, clock, voters, lead.failed))
    leader = turns.first(call, able)
    if not lead.is_standing:
        turns.charge(call, leader)
    state.election.lead = replace(lead, leader=leader)
    state.rounds.clock = rounds.stage(call, clock, Phase.PROPOSE, terms.propose_seconds, seats)
    call.log("Elected", round=clock.round, leader=accounts[leader], turn=lead.turn, nonce=0)


def _weights(call: Call, clock: RoundClock, voters: Sequence[int], failed: int) -> dict[int, int]:
    """Return by what a lead is shared out, by seat: stake, or the score before the round."""
    weights = {}
    for voter in voters:
        weight = weight_of(voter)
        if clock.engine == Engine.RESOURCE:
            weight = scores.score(call, account_of(voter), clock.round)
        weights[voter >> SEAT] = 0 if failed >> (voter >> SEAT) & 1 else weight
    return weights


def solve(call: Call, nonce: int) -> None:
    """End the race: the sender has found a proof of work and leads."""
    clock = rounds.enter(call, Phase.ELECT)
    election = call.state.election
    record, bit = registry.seat(call, call.sender, clock.expected)
    require(bit, "election: not a voter of this round")
    assert record is not None
    lead = election.lead
    require(not lead.failed & bit, "election: lost its turn")
    proof = twin.proof_value(election.puzzle, lead.turn, call.sender, nonce)
    require(proof < election.target, "election: above the target")
    started = clock.deadline - call.terms.elect_seconds
    took = call.block.timestamp - started
    election.target = twin.retarget(election.target, took, call.terms.pow_seconds)
    election.lead = replace(lead, leader=record.index)
    call.state.rounds.clock = rounds.stage(
        call, clock, Phase.PROPOSE, call.terms.propose_seconds, clock.expected
    )
    call.log("Elected", round=clock.round, leader=call.sender, turn=lead.turn, nonce=nonce)


# The views.


def target(call: Call) -> int:
    """Return what a proof of work has to stay under."""
    return call.state.election.target


def puzzle(call: Call) -> bytes:
    """Return what the proofs of work of a race start from."""
    return call.state.election.puzzle


def lead_now(call: Call) -> tuple[str, int, int, int, int, int, int, int, bool]:
    """Return who leads, at which turn, and how much weight has attested."""
    lead = call.state.election.lead
    leader = call.state.registry.miners.get(lead.leader, ZERO_ADDRESS)
    counts = lead.whole, lead.attested_weight, lead.attested, lead.failed, lead.samples, lead.matches
    return leader, lead.turn, *counts, lead.is_standing
