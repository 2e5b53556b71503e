"""A voter's own update is voted on as any other: no minority keeps one out, and none brings one in."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import pytest

from bcfl.protocol.scores import Resources
from bcfl.protocol.types import Engine, Mode, Phase, Verdict
from testkit.harness import ETHER, TERMS, Federation

YES, NO, LOST = Verdict.ACCEPTED, Verdict.QUALITY, Verdict.UNAVAILABLE
MINORITIES = [(3, 1), (4, 1), (5, 2), (6, 2), (7, 3)]  # miners, and how many of them collude


def federation_of(miners: int, engine: Engine = Engine.STAKE, stakes: tuple[int, ...] = ()) -> Federation:
    """Open a federation in mode `full`: each miner is a device, and nobody else is one."""
    terms = replace(
        TERMS, mode=Mode.FULL, engine=engine, committee_size=miners, min_updates=(miners + 1) // 2
    )
    return Federation(miners, miners, terms, stakes, full=True).open()


def play(
    federation: Federation, colluders: Collection[int], honest_no: bool = False, no: Verdict = NO
) -> set[int]:
    """Let colluders accept nothing but their own updates, and return what is accepted, by device.

    The honest accept everything, or with `honest_no` nothing of a colluder.
    """
    order = [update.device for update in federation.until(Phase.VOTE).updates()]
    number, rows = federation.clock.round, []
    for miner in range(federation.miners):
        is_colluder = miner in colluders
        refused = [
            (device not in colluders) if is_colluder else honest_no and device in colluders
            for device in order
        ]
        rows.append([no if is_refused else YES for is_refused in refused])
    federation.vote_all(rows)
    federation.tally()
    (word,) = federation.round_events("Tallied", number)[0]["levels"]
    return {device for place, device in enumerate(order) if word >> 4 * place & 15}


def last(miners: int, count: int) -> set[int]:
    return set(range(miners - count, miners))


@pytest.mark.parametrize("engine", [Engine.STAKE, Engine.RESOURCE])
@pytest.mark.parametrize(("miners", "count"), MINORITIES)
def test_a_minority_keeps_no_update_of_the_others_out(miners: int, count: int, engine: Engine) -> None:
    """Two rounds; every update is good, and the others accept all."""
    federation = federation_of(miners, engine)
    for number in (1, 2):
        assert play(federation, last(miners, count)) == set(range(miners))
        federation.finish()
        assert federation.block(number).round == number


@pytest.mark.parametrize(("miners", "count"), [(2, 1), (3, 1), (4, 2), (5, 2), (6, 3), (7, 3)])
def test_half_of_all_weight_brings_no_update_of_its_own_in(miners: int, count: int) -> None:
    """However many of its own votes accept it, all others refuse it."""
    colluders = last(miners, count)
    accepted = play(federation_of(miners), colluders, honest_no=True)
    assert not accepted & colluders
    if 2 * count < miners:
        assert accepted == set(range(miners)) - colluders


@pytest.mark.parametrize(("miners", "count"), [(4, 1), (7, 2), (10, 3)])
def test_less_than_a_third_of_a_committee_keeps_no_update_of_the_others_out(miners: int, count: int) -> None:
    federation = committee_of(miners)
    colluders = last(miners, count)
    assert play(federation, colluders) == set(range(miners))
    federation.finish()
    assert not play(federation, colluders, honest_no=True) & colluders


@pytest.mark.parametrize(("miners", "count"), [(3, 2), (6, 4)])
def test_two_thirds_of_a_committee_bring_no_update_of_their_own_in(miners: int, count: int) -> None:
    colluders = last(miners, count)
    assert play(committee_of(miners), colluders, honest_no=True) == set()


def committee_of(miners: int) -> Federation:
    """Return a federation in a round of a committee in which all are members."""
    federation = federation_of(miners, Engine.COMMITTEE)
    federation.finish()
    current = federation.history().current
    assert current is not None
    assert (current.electorate.is_committee, current.electorate.whole) == (True, miners)
    return federation


@pytest.mark.parametrize(("miners", "count"), [(3, 1), (5, 2), (7, 3)])
def test_a_minority_that_calls_updates_unavailable_lowers_no_score(miners: int, count: int) -> None:
    """A tie is no majority here: it would speak against the miner whose update it is."""
    federation = federation_of(miners, Engine.RESOURCE)
    colluders = last(miners, count)
    assert play(federation, colluders, no=LOST) == set(range(miners))
    initial = Resources()
    for miner in set(range(miners)) - colluders:
        storage, quality, stability, *_ = federation.contract.call(
            "resources", federation.miner_keys[miner].address
        )
        assert storage > initial.storage
        assert quality > initial.quality
        assert stability > initial.stability


@pytest.mark.parametrize("weights", [(6, 4, 5), (5, 4, 4), (5, 5, 4, 5), (8, 1, 1, 5), (1, 1, 7, 8)])
def test_a_minority_keeps_no_heavier_miner_out(weights: tuple[int, ...]) -> None:
    """The last one says no to all others, and has less than half."""
    assert 2 * weights[-1] < sum(weights)
    federation = federation_of(len(weights), stakes=tuple(weight * ETHER for weight in weights))
    assert play(federation, {len(weights) - 1}) == set(range(len(weights)))


def test_a_minority_that_is_away_keeps_no_update_out() -> None:
    """Two of five have handed in updates and do not vote."""
    federation = federation_of(5).until(Phase.VOTE)
    openings = [federation.opening(miner) for miner in range(3)]
    for opening in openings:
        federation.commit_vote(opening)
    federation.expire()
    for opening in openings:
        federation.unveil(opening)
    federation.tally()
    assert federation.round_events("Tallied", 1)[0]["levels"] == (0x33333,)


def test_who_is_alone_needs_nobody() -> None:
    """All weight is more than half of it; where two are left, each needs the other."""
    terms = replace(TERMS, min_updates=1)
    federation = Federation(1, 1, terms, full=True).open().until(Phase.TALLY)
    federation.tally()
    assert federation.round_events("Tallied", 1)[0]["levels"] == (3,)
    federation = federation_of(2)
    assert play(federation, {1}) == {1}
    assert federation.round_events("Voided", 1) == []
