"""Say where the round stands.

A phase ends when its deadline has passed, in seconds and in blocks, or all who may act have acted; whoever
comes next moves the clock on. Blocks count so that nobody is late because the chain stood still.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from bcfl.protocol.limits import NO_DEADLINE
from bcfl.protocol.rewards import block_hash
from bcfl.protocol.types import ZERO_DIGEST, Block, Electorate, Engine, Phase, VoidReason
from bcfl.specification import registry
from bcfl.specification.call import Call, require
from bcfl.specification.state import ZERO_ADDRESS, Committee, RoundClock

LOW_BLOCK: Final = 0xFFFF  # the bits of a block's number that are kept


def construct(call: Call, root: bytes, cid: bytes) -> None:
    """Put the genesis model into the ledger."""
    rounds = call.state.rounds
    rounds.head = block_hash(Block(ZERO_DIGEST, 0, ZERO_DIGEST, root, cid, ZERO_ADDRESS, 0))
    rounds.ledger[0] = rounds.head
    rounds.clock = RoundClock(opened=call.block.timestamp, deadline=NO_DEADLINE)
    call.log("Genesis", root=root, cid=cid, block_hash=rounds.head)


def blocks_since(call: Call, clock: RoundClock) -> int:
    """Return how many blocks have come since the running phase began, modulo 2**16."""
    return call.block.number - clock.since & LOW_BLOCK


def is_reached(call: Call, clock: RoundClock) -> bool:
    """Whether the running phase is over."""
    return call.block.timestamp >= clock.deadline and blocks_since(call, clock) >= call.terms.min_blocks


def stage(call: Call, clock: RoundClock, phase: Phase, seconds: int, expected: int) -> RoundClock:
    """Return the clock at the beginning of a phase of the same round, of the miners that may act in it."""
    return replace(
        clock,
        phase=phase,
        deadline=call.block.timestamp + seconds,
        since=call.block.number & LOW_BLOCK,
        acted=0,
        expected=expected,
    )


def failed(clock: RoundClock, reason: VoidReason) -> RoundClock:
    """Return the clock of a round that came to nothing."""
    return RoundClock(Phase.VOID, reason, clock.round, clock.opened)


def due(call: Call, clock: RoundClock) -> RoundClock:
    """Return the clock with everything counted in that time alone has brought about."""
    if not is_reached(call, clock):
        return clock
    terms = call.terms
    if clock.phase == Phase.COMMIT:
        return stage(call, clock, Phase.REVEAL, terms.reveal_seconds, clock.acted)
    if clock.phase == Phase.REVEAL:
        if clock.updates < terms.min_updates:
            return failed(clock, VoidReason.FEW_UPDATES)
        return stage(call, clock, Phase.VOTE, terms.vote_seconds, electors(call, clock))
    if clock.phase == Phase.VOTE:
        if clock.acted == 0:
            return failed(clock, VoidReason.NO_VOTES)
        return stage(call, clock, Phase.UNVEIL, terms.unveil_seconds, clock.acted)
    if clock.phase == Phase.UNVEIL:
        # The tally must know who was to unveil and who did.
        counted = stage(call, clock, Phase.TALLY, terms.tally_seconds, clock.expected)
        return replace(counted, acted=clock.acted)
    if clock.phase == Phase.TALLY:
        return failed(clock, VoidReason.NO_TALLY)
    if clock.phase == Phase.ELECT:
        return failed(clock, VoidReason.NO_LEADER)
    return clock


def is_committee(call: Call, clock: RoundClock) -> bool:
    """Whether a committee decides in the running round, and not everybody."""
    return clock.engine == Engine.COMMITTEE and call.state.rounds.committee != Committee()


def electors(call: Call, clock: RoundClock) -> int:
    """Return the mask of the miners that may vote in the running round."""
    if is_committee(call, clock):
        return call.state.rounds.committee.mask
    return call.state.registry.active


def electorate(call: Call, clock: RoundClock) -> Electorate:
    """Return the weight of all who may vote in the running round; the members of a committee weigh 1."""
    if is_committee(call, clock):
        return Electorate(call.state.rounds.committee.size, is_committee=True)
    return Electorate(call.state.registry.total)


def enter(call: Call, phase: Phase) -> RoundClock:
    """Return the clock, if this phase is due; for the caller to change and store."""
    clock = due(call, call.state.rounds.clock)
    require(clock.phase == phase, "rounds: not this phase")
    return clock


def act(call: Call, clock: RoundClock, bit: int, grace: int) -> RoundClock:
    """Return the clock once a miner has acted; the last one closes the phase early, after the grace."""
    clock = replace(clock, acted=clock.acted | bit)
    if clock.acted != clock.expected:
        return clock
    deadline = min(clock.deadline, call.block.timestamp + grace)
    # Nobody is left who could be late: blocks need not pass.
    return replace(clock, deadline=deadline, since=call.block.number - call.terms.min_blocks & LOW_BLOCK)


def open_round(call: Call, round_: int) -> None:
    """Open a round; what changed in the registry takes effect."""
    registry.refresh(call, round_)
    rounds, members = call.state.rounds, call.state.registry
    engine, committee = members.next_engine, Committee()
    if engine == Engine.COMMITTEE:
        # A member that has left counts as one that says no, and who takes its seat is no member.
        coming, *later = [mask & members.active for mask in rounds.draws] or [0]
        if coming:
            committee = Committee(coming, rounds.drawn)
        rounds.committee = committee
        rounds.draws = tuple(later) if any(later) else ()
    rounds.clock = RoundClock(
        Phase.COMMIT,
        round=round_,
        opened=call.block.timestamp,
        deadline=call.block.timestamp + call.terms.commit_seconds,
        since=call.block.number & LOW_BLOCK,
        expected=members.active,
        engine=engine,
    )
    call.log("RoundOpened", round=round_, engine=int(engine), committee=committee.word)


def void(call: Call, round_: int, reason: int) -> None:
    """End a round without a new model and open the next, in which everybody votes."""
    call.log("Voided", round=round_, reason=int(reason))
    call.state.rounds.draws = ()
    open_round(call, round_ + 1)


# The calls.


def start(call: Call) -> None:
    """Open the first round: the owner may, and some time after the deployment anybody."""
    clock = call.state.rounds.clock
    is_late = call.block.timestamp >= clock.opened + call.terms.exit_seconds
    require(call.sender == call.state.registry.owner or is_late, "rounds: not the owner")
    require(clock.phase == Phase.IDLE, "rounds: already started")
    open_round(call, 1)


def advance(call: Call) -> None:
    """Move the clock on, where time alone has brought something about."""
    before = call.state.rounds.clock
    clock = due(call, before)
    require(clock != before or clock.phase == Phase.VOID, "rounds: nothing is due")
    if clock.phase == Phase.VOID:
        void(call, clock.round, clock.updates)
    else:
        call.state.rounds.clock = clock


# The views.


def round_clock(call: Call) -> tuple[int, int, int, int, int, int, int]:
    """Return where the round stands at the block's time; `updates` is the reason when it is void."""
    clock = due(call, call.state.rounds.clock)
    return (
        int(clock.phase),
        int(clock.updates),
        clock.round,
        clock.opened,
        clock.deadline,
        clock.acted,
        clock.expected,
    )


def ledger(call: Call, round_: int) -> bytes:
    """Return the hash of a round's block; zero where there is none."""
    return call.state.rounds.ledger.get(round_, ZERO_DIGEST)


def binding(call: Call, device: int) -> str:
    """Return the miner that a device hands its messages to in the running round."""
    members = call.state.registry
    miners = [members.miners.get(index, ZERO_ADDRESS) for index in registry.seats(members.active)]
    require(miners, "rounds: no miner")
    return miners[(device + call.state.rounds.clock.round) % len(miners)]
