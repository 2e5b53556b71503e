"""Levels: how much an accepted update counts in the mean and is paid, and who decides that."""

from __future__ import annotations

import numpy as np
import pytest

from bcfl.protocol import aggregation, verification
from bcfl.protocol.fixedpoint import lane_dtype
from bcfl.protocol.rewards import prices
from bcfl.protocol.submissions import claim_cap
from bcfl.protocol.types import Phase, Tally, Verdict
from testkit.harness import ETHER, TERMS, Federation

YES, NO = Verdict.ACCEPTED, Verdict.OUTLIER


def counted(*rows: list[int], stakes: tuple[int, ...] = (), full: bool = False) -> Federation:
    """Count votes whose rows are levels by device, 0 to reject."""
    federation = Federation(len(rows[0]), len(rows), stakes=stakes, full=full).open().until(Phase.VOTE)
    order = [update.device for update in federation.updates()]
    openings = []
    for miner, row in enumerate(rows):
        levels = [row[device] for device in order]
        verdicts = [YES if level else NO for level in levels]
        openings.append(federation.opening(miner, verdicts, levels=levels))
    for opening in openings:
        federation.commit_vote(opening)
    for opening in openings:
        federation.unveil(opening)
    federation.tally()
    return federation


def levels_of(federation: Federation) -> dict[int, int]:
    """Return the levels in force, by device."""
    (words,) = [event["levels"] for event in federation.round_events("Tallied", 1)]
    devices = [update.device for update in federation.updates(1)]
    return dict(zip(devices, verification.unpack_codes(words, len(devices)), strict=True))


@pytest.mark.parametrize(
    ("votes", "stakes", "level"),
    [
        ((1, 3, 4), (1, 1, 1), 3),  # the middle one
        ((4, 4, 1), (1, 1, 1), 4),
        ((0, 4, 4), (1, 1, 1), 4),  # who rejects gives no level
        ((0, 2, 4), (1, 1, 1), 2),
        ((0, 0, 4), (1, 1, 1), 0),
        ((1, 4, 4), (3, 1, 1), 1),  # by weight
        ((1, 2, 3, 4), (1, 1, 1, 1), 2),  # more than half gives 2 at least
        ((1, 1, 4, 4), (1, 1, 1, 1), 1),
        ((4, 4, 4), (1, 1, 1), 4),
    ],
)
def test_the_level_that_more_than_half_of_all_weight_gives_at_least(
    votes: tuple[int, ...], stakes: tuple[int, ...], level: int
) -> None:
    federation = counted(*[[vote, 3, 3, 3] for vote in votes], stakes=tuple(ETHER * s for s in stakes))
    assert levels_of(federation) == {0: level, 1: 3, 2: 3, 3: 3}


@pytest.mark.parametrize("wish", [1, 4])
def test_a_minority_moves_no_level(wish: int) -> None:
    """Two of five give everybody but their friend the least, or the most."""
    federation = counted(*[[3] * 6] * 3, *[[4, *[wish] * 5]] * 2)
    assert set(levels_of(federation).values()) == {3}


def test_who_is_away_gives_no_level() -> None:
    """As for acceptance: more than half of all active weight, whoever votes."""
    federation = Federation(4, 5).open().until(Phase.VOTE)
    openings = [federation.opening(miner, levels=[level] * 4) for miner, level in enumerate((4, 3, 2))]
    for opening in openings:
        federation.commit_vote(opening)
    federation.expire()
    for opening in openings:
        federation.unveil(opening)
    federation.tally()
    assert set(levels_of(federation).values()) == {2}


def test_a_voter_levels_its_own_update_as_any_other() -> None:
    rows = [[4 if device == miner else 2 for device in range(3)] for miner in range(3)]
    assert levels_of(counted(*rows, full=True)) == {0: 2, 1: 2, 2: 2}
    assert levels_of(counted([1, 3, 3], [4, 3, 3], [2, 3, 3], full=True))[0] == 2
    assert levels_of(counted([4, 3, 3], [4, 3, 3], [2, 3, 3], full=True))[0] == 4


def test_pay_follows_the_level_and_the_claim_up_to_the_median() -> None:
    federation = counted(*[[1, 2, 3, 4]] * 3).finish()
    tally, updates = federation.tallies[1], federation.updates(1)
    claims = [update.samples for update in updates]
    cap = claim_cap(claims)
    assert cap < max(claims)
    price = prices(TERMS, federation.block(1).reward, tally).sample
    paid = 0
    for position, update in enumerate(updates):
        federation.send(federation.outsider, "claim_device", *federation.claim_device_args(1, position))
        credit = federation.contract.call("credits", federation.device_keys[update.device].address)
        assert credit == price * min(update.samples, cap) * (update.device + 1)
        paid += credit
    assert paid == price * tally.samples


def test_the_largest_claim_buys_nothing() -> None:
    """One device of four claims a hundred times as much: what the others earn and weigh stays."""
    outcomes = []
    for claim in (54, 5_400):
        federation = Federation(4, 3).open()
        updates = [
            federation.update(device, samples=claim if device == 3 else 50 + device) for device in range(4)
        ]
        federation.commit(federation.miner_keys[0], updates)
        federation.expire()
        federation.reveal(federation.miner_keys[0], updates)
        federation.until(Phase.TALLY)
        federation.tally()
        tally = federation.tallies[1]
        outcomes.append(
            (tally.cap, tally.samples, verification.mean_weights(tally, [u.samples for u in updates]))
        )
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][2] == (9 * 50, 9 * 51, 9 * 51, 9 * 51)


def test_equal_levels_are_a_mean_by_samples() -> None:
    """Whatever level everybody has, the mean is the same to the last bit."""
    rng = np.random.default_rng(1)
    lanes = list(rng.integers(-30_000, 30_000, (5, 200)).astype(lane_dtype(16)))
    claims = [10, 20, 30, 30, 30]
    tallies = [Tally((), bytes(32), (), (), (level,) * 5, 30, 0) for level in (1, 2, 3, 4)]
    results = [aggregation.mean(lanes, verification.mean_weights(tally, claims), 8) for tally in tallies]
    plain = aggregation.mean(lanes, claims, 8)
    assert all(np.array_equal(result, plain) for result in results)
