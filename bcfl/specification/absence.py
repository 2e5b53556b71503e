"""Price what silence costs; the rule is `bcfl.protocol.absence`."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bcfl.protocol import absence as twin
from bcfl.specification import registry
from bcfl.specification.call import Call, require
from bcfl.specification.state import ZERO_ADDRESS, Rest

EVICTED: Final = 16  # times `absence_seconds` after which a suspended seat can be freed


def settle(call: Call, round_: int, voters: int, present: int, unopened: int) -> None:
    """Count who has missed a round in which somebody voted.

    Masks: of those that could vote, that unveiled a vote, and that committed one and did not unveil it.
    """
    absence, members = call.state.absence, call.state.registry
    if not voters & ~present and not any(absence.missed.values()):
        return
    electors = []
    for index in registry.seats(voters):
        miner = members.miners.get(index, ZERO_ADDRESS)
        record = members.records.get(miner)
        weight = 0 if record is None else record.weight
        electors.append(twin.Elector(miner, index, weight, members.stakes.get(miner, 0)))
    known = {elector.miner: absence.rests.get(elector.miner, Rest()) for elector in electors}
    rests = {miner: twin.Rest(rest.since, rest.strikes, rest.last) for miner, rest in known.items()}
    count = twin.Absences(call.terms, dict(absence.missed), rests)
    places = {elector.miner: elector.seat for elector in electors}
    there = {elector.miner for elector in electors if present >> elector.seat & 1}
    committed = there | {elector.miner for elector in electors if unopened >> elector.seat & 1}
    untils = {miner: rest.until_round for miner, rest in known.items()}
    for what in count.settle(round_, electors, there, committed, call.block.timestamp):
        index = places[what.miner]
        if what.event == "Penalized":
            call.state.treasury.pool += registry.penalize(call, round_, index, what.value)
        else:
            untils[what.miner] = what.value
            members.records[what.miner] = replace(members.records[what.miner], is_suspended=True)
            members.changed |= 1 << index
            call.log("Suspended", round=round_, miner=what.miner, until_round=what.value)
    absence.missed = count.missed
    for miner, counted in count.rests.items():
        absence.rests[miner] = Rest(counted.since, counted.strikes, untils[miner], counted.last)


def resume(call: Call, round_: int) -> None:
    """Let the sender's weight count again from the next round on."""
    members = call.state.registry
    record = registry.staying(call, call.sender)
    require(record.is_suspended, "absence: not suspended")
    until_round = call.state.absence.rests.get(call.sender, Rest()).until_round
    require(round_ >= until_round, "absence: suspension not over")
    members.records[call.sender] = replace(record, is_suspended=False)
    members.changed |= 1 << record.index
    call.log("Resumed", miner=call.sender)


def evict(call: Call, account: str, round_: int) -> None:
    """Free the seat of a miner that has been suspended for long; its stake goes the way of an exit."""
    require(registry.staying(call, account).is_suspended, "absence: not suspended")
    last = call.state.absence.rests.get(account, Rest()).last
    is_long = call.block.timestamp >= last + EVICTED * call.terms.absence_seconds
    require(is_long, "absence: not suspended for long")
    registry.leave_miner(call, account, round_)


def forget(call: Call, index: int) -> None:
    """Let a seat that is taken anew have missed nothing."""
    call.state.absence.missed[index] = 0


def rest(call: Call, account: str) -> tuple[int, int, int, bool, int]:
    """Return what a miner's absence has come to."""
    record = call.state.registry.records.get(account)
    require(record is not None and record.is_seated, "registry: not a miner")
    assert record is not None
    known = call.state.absence.rests.get(account, Rest())
    missed = call.state.absence.missed.get(record.index, 0)
    return missed, known.since, known.strikes, record.is_suspended, known.until_round
