"""Deadlines in blocks: nobody is late because the chain stood still, and nobody waits for blocks in vain."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bcfl.protocol.types import Engine, Phase, VoidReason
from testkit.harness import CHALLENGED, TERMS, Federation, digest, reverts
from testkit.ledgers import slots_of

BLOCKS = 6
SLOW = replace(TERMS, min_blocks=BLOCKS)
SINCE = 108  # shift of the clock


def mine(federation: Federation, blocks: int) -> None:
    """Let somebody else make blocks."""
    for _ in range(blocks):
        federation.send(federation.outsider, "fund", value=1)


def number(federation: Federation) -> int:
    return int(federation.chain.request("eth_blockNumber"), 16)


def stand_still(federation: Federation) -> None:
    """Let the phase's seconds pass without a block."""
    federation.expire()
    federation.wait(10_000)


def test_default_behavior() -> None:
    """After an outage of the chain a phase is open until its blocks have come."""
    federation = Federation(terms=SLOW).open()
    opened = number(federation)
    stand_still(federation)
    with reverts("rounds: nothing is due"):
        federation.send(federation.outsider, "advance")  # a block as well
    federation.commit(federation.miner_keys[0], federation.share(0))
    phases = [federation.clock.phase]
    mine(federation, opened + BLOCKS - 1 - number(federation))
    federation.send(federation.outsider, "advance")
    assert number(federation) == opened + BLOCKS
    assert [*phases, federation.clock.phase] == [Phase.COMMIT, Phase.REVEAL]
    assert federation.clock.expected == 0b001


def test_blocks_alone_end_nothing() -> None:
    federation = Federation(terms=SLOW).open()
    mine(federation, 3 * BLOCKS)
    with reverts("rounds: nothing is due"):
        federation.send(federation.outsider, "advance")
    assert federation.clock.phase is Phase.COMMIT


@pytest.mark.parametrize("engine", [Engine.STAKE, Engine.POW])
def test_where_all_have_acted_nobody_waits_for_blocks(engine: Engine) -> None:
    """Also on a chain with fewer blocks than a phase lasts at least."""
    terms = replace(TERMS, min_blocks=64, engine=engine, pow_target=2**254)
    federation = Federation(terms=terms).open()
    assert number(federation) < 64
    federation.finish().finish()
    assert federation.clock.round == 3


def test_a_leader_is_not_late_before_its_blocks() -> None:
    federation = Federation(terms=SLOW).open().until(Phase.PROPOSE)
    stand_still(federation)
    with reverts("proposals: not yet due"):
        federation.send(federation.outsider, "skip", *federation.skip_args())
    federation.propose()
    assert federation.clock.phase is Phase.ATTEST


def test_a_leader_is_late_after_its_blocks() -> None:
    federation = Federation(terms=SLOW).open().until(Phase.PROPOSE)
    mine(federation, BLOCKS - 1)
    stand_still(federation)
    with reverts("proposals: too late"):
        federation.propose()
    federation.send(federation.outsider, "skip", *federation.skip_args())


def test_attestations_are_not_late_before_their_blocks() -> None:
    federation = Federation(terms=SLOW).open().until(Phase.ATTEST)
    stand_still(federation)
    with reverts("proposals: not yet due"):
        federation.send(federation.outsider, "skip", *federation.skip_args())
    federation.attest_enough()
    federation.finalize()
    assert federation.clock.round == 2


def test_the_challenge_window_has_its_blocks() -> None:
    federation = Federation(terms=replace(CHALLENGED, min_blocks=BLOCKS)).open().until(Phase.ATTEST)
    proposed = number(federation)
    federation.attest_enough()
    federation.wait(CHALLENGED.challenge_seconds)
    with reverts("proposals: window still open"):
        federation.finalize()
    sealed = digest("sealed")
    federation.send(
        federation.outsider, "announce_challenge", sealed, value=CHALLENGED.challenge_bond
    )  # in time
    mine(federation, proposed + BLOCKS - number(federation))
    with reverts("docket: window over"):
        federation.send(
            federation.outsider, "announce_challenge", digest("late"), value=CHALLENGED.challenge_bond
        )


@pytest.mark.parametrize("phase", [Phase.REVEAL, Phase.VOTE, Phase.UNVEIL, Phase.TALLY])
def test_every_phase_has_its_blocks(phase: Phase) -> None:
    federation = Federation(terms=SLOW).open().until(phase)
    federation.send(federation.outsider, "advance")  # a phase begins with the call that notices it
    began = number(federation)
    stand_still(federation)
    mine(federation, BLOCKS - 2)
    with reverts("rounds: nothing is due"):
        federation.send(federation.outsider, "advance")
    federation.send(federation.outsider, "advance")
    assert number(federation) == began + BLOCKS
    assert federation.clock.phase is not phase


def test_a_tally_is_taken_until_its_blocks_have_come() -> None:
    federation = Federation(terms=SLOW).open().until(Phase.UNVEIL)
    federation.unveil(federation.opening(0))
    federation.unveil(federation.opening(1))
    mine(federation, BLOCKS)
    federation.expire()
    federation.send(federation.outsider, "advance")
    stand_still(federation)
    federation.tally()
    assert federation.clock.phase is Phase.PROPOSE


def test_a_tally_that_comes_too_late_is_void() -> None:
    federation = Federation(terms=SLOW).open().until(Phase.UNVEIL)
    federation.unveil(federation.opening(0))
    mine(federation, BLOCKS)
    federation.expire()
    federation.send(federation.outsider, "advance")
    stand_still(federation)
    mine(federation, BLOCKS)
    assert (federation.clock.phase, federation.clock.updates) == (Phase.VOID, VoidReason.NO_TALLY)


@pytest.mark.parametrize("before", [1, 5, 2**15])
def test_blocks_are_counted_across_a_wrap(before: int) -> None:
    """The clock keeps the low 16 bits of the block's number."""
    federation = Federation(terms=SLOW).open()
    slots = slots_of(federation.contract)
    clock = slots.get("rounds.clock") & ~(0xFFFF << SINCE)
    slots.put(("rounds.clock", None, clock | ((number(federation) - before) % 2**16) << SINCE))
    stand_still(federation)
    is_due = before + 1 >= BLOCKS  # the call is one more
    if not is_due:
        with reverts("rounds: nothing is due"):
            federation.send(federation.outsider, "advance")
        mine(federation, BLOCKS)
    federation.send(federation.outsider, "advance")
    assert federation.clock.phase is Phase.REVEAL
