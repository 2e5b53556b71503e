"""What the engines and modes do to a round: resources, wishes, dual accounts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import pytest

from bcfl.protocol.election import search
from bcfl.protocol.hashing import keccak
from bcfl.protocol.scores import WHOLE, Resources
from bcfl.protocol.types import Engine, Mode, Phase, Verdict
from testkit.harness import ETHER, TERMS, Account, Federation, account, reverts

NO, LOST = Verdict.QUALITY, Verdict.UNAVAILABLE
RESOURCE = replace(TERMS, engine=Engine.RESOURCE, min_updates=1, reward=0, vote_penalty=0, leader_penalty=0)
HYBRID = replace(TERMS, mode=Mode.HYBRID, pow_target=2**253)
LATE = account("late")
LED = 12  # rounds in which leads are counted


# Resources.


def resources(federation: Federation, key: Account) -> Resources:
    storage, quality, stability, rate, score = federation.contract.call("resources", key.address)
    scores = Resources(storage, quality, stability, rate)
    assert scores.score == score
    assert federation.history().resources.get(key.address, Resources()) == scores
    return scores


def everybody(rows: list[list[Verdict]] | None = None) -> Federation:
    """Three devices that are all miners, one round to the tally."""
    federation = Federation(3, 3, RESOURCE, full=True).open().until(Phase.VOTE)
    federation.vote_all(rows)
    federation.tally()
    return federation


def test_an_accepted_update_in_time_raises_all() -> None:
    federation = everybody()
    initial = Resources()
    for device, key in enumerate(federation.miner_keys):
        update = next(u for u in federation.updates(1) if u.device == device)
        scores = resources(federation, key)
        assert scores == initial.after(
            on_time=True, available=True, accepted=True, pace=update.samples * 10**6 // update.microseconds
        )
        assert scores.score > initial.score


def row(federation: Federation, device: int, verdict: Verdict) -> list[list[Verdict]]:
    updates = federation.updates()
    return [[verdict if u.device == device else Verdict.ACCEPTED for u in updates]] * 3


@pytest.mark.parametrize(
    ("verdict", "storage", "quality"),
    [(NO, True, False), (LOST, False, False), (Verdict.ACCEPTED, True, True)],
)
def test_storage_and_quality_follow_the_majority(verdict: Verdict, storage: bool, quality: bool) -> None:
    federation = Federation(3, 3, RESOURCE, full=True).open().until(Phase.VOTE)
    federation.vote_all(row(federation, 0, verdict))
    federation.tally()
    scores = resources(federation, federation.miner_keys[0])
    assert (scores.storage > WHOLE // 4) is storage
    assert (scores.quality > WHOLE // 4) is quality
    assert (scores.rate > 1) is quality
    assert scores.stability > WHOLE // 4


def test_who_does_not_unveil_loses_of_all() -> None:
    federation = Federation(3, 3, RESOURCE, full=True).open().until(Phase.VOTE)
    for opening in [federation.opening(index) for index in range(2)]:
        federation.commit_vote(opening)
    federation.expire()
    for index in range(2):
        federation.unveil(federation.opening(index))
    federation.tally()
    absent = resources(federation, federation.miner_keys[2])
    assert absent == Resources().after(on_time=False, available=False, accepted=False, pace=0)


def test_a_device_without_an_update_loses_storage_and_quality() -> None:
    federation = Federation(3, 3, RESOURCE, full=True).open()
    for index, key in enumerate(federation.miner_keys):
        federation.commit(key, [u for u in federation.share(index) if u.device != 0])
    for index, key in enumerate(federation.miner_keys):
        federation.reveal(key, [u for u in federation.share(index) if u.device != 0])
    federation.until(Phase.TALLY).tally()
    scores = resources(federation, federation.miner_keys[0])
    assert scores == Resources().after(on_time=True, available=False, accepted=False, pace=0)


def test_a_miner_that_is_no_device_has_nothing_to_lose_but_its_punctuality() -> None:
    federation = Federation(3, 2, RESOURCE).open().until(Phase.TALLY)
    federation.tally()
    for key in federation.miner_keys:
        scores = resources(federation, key)
        assert scores == Resources().after(on_time=True, available=True, accepted=True, pace=0)
        assert scores.rate == 1


def claimed(
    federation: Federation, microseconds: Sequence[int | None], silent: Sequence[int] = (), refused: int = -1
) -> list[Resources]:
    """Count a round in which each miner's device claims so much time; return what is known of the miners.

    None: no update. `silent`: who does not unveil. `refused`: the device whose update nobody accepts.
    """
    batches = [
        [] if claim is None else [federation.update(i, microseconds=claim)]
        for i, claim in enumerate(microseconds)
    ]
    for key, batch in zip(federation.miner_keys, batches, strict=True):
        federation.commit(key, batch)
    federation.wait(1)
    for key, batch in zip(federation.miner_keys, batches, strict=True):
        federation.reveal(key, batch)
    verdicts = [NO if update.device == refused else Verdict.ACCEPTED for update in federation.updates()]
    openings = [federation.opening(i, verdicts) for i in range(federation.miners)]
    for opening in openings:
        federation.commit_vote(opening)
    for i in set(range(federation.miners)) - set(silent):
        federation.unveil(openings[i])
    if silent:
        federation.expire()
    federation.tally()
    return [resources(federation, key) for key in federation.miner_keys]


def test_a_faster_device_has_the_higher_rate() -> None:
    terms = replace(RESOURCE, rate_factor=10_000_000)
    first, second = claimed(Federation(2, 2, terms, full=True).open(), [100, 100_000])
    assert first.rate > 900 * second.rate
    assert (first.storage, first.quality, first.stability) == (
        second.storage,
        second.quality,
        second.stability,
    )


@pytest.mark.parametrize("stakes", [(1, 1, 1, 1), (1, 1, 5, 1), (3, 2, 1, 1), (2, 2, 2, 1)])
@pytest.mark.parametrize(
    "claims", [(1, 90_000, 100_000, 110_000), (1, 2, 100_000, 100_000), (10**6, 10, 20, 30)]
)
def test_a_claimed_pace_counts_up_to_twice_the_median(
    stakes: tuple[int, ...], claims: tuple[int, ...]
) -> None:
    stakes = tuple(stake * TERMS.min_stake for stake in stakes)
    federation = Federation(4, 4, RESOURCE, stakes=stakes, full=True).open()
    known = claimed(federation, claims)
    samples = {update.device: update.samples for update in federation.updates(1)}
    paces = [min(2**24 - 1, samples[device] * 10**6 // claim) for device, claim in enumerate(claims)]
    by_pace = sorted(zip(paces, stakes, strict=True))
    behind = accumulate(stake for _, stake in by_pace)
    median = next(
        pace for (pace, _), so_far in zip(by_pace, behind, strict=True) if 2 * so_far >= sum(stakes)
    )
    for pace, record in zip(paces, known, strict=True):
        counted = min(pace, 2 * median)
        assert record == Resources().after(on_time=True, available=True, accepted=True, pace=counted)


@pytest.mark.parametrize("missing", ["no update", "refused", "silent"])
def test_whose_update_is_missing_hands_nobody_the_median(missing: str) -> None:
    """49 of 100 claim no time at all in rounds in which 26 honest ones have no accepted update."""
    stakes = tuple(stake * TERMS.min_stake for stake in (49, 25, 26))
    federation = Federation(3, 3, RESOURCE, stakes=stakes, full=True).open()
    honest = 200_000
    claimed(federation, [honest] * 3)
    claims = [1, honest, None if missing == "no update" else honest]
    for _ in range(3):
        federation.finish()
        before = resources(federation, federation.miner_keys[0])
        known = claimed(
            federation,
            claims,
            silent=[2] if missing == "silent" else [],
            refused=2 if missing == "refused" else -1,
        )
        samples = {update.device: update.samples for update in federation.updates()}
        pace = samples[1] * 10**6 // honest
        counted = before.after(on_time=True, available=True, accepted=True, pace=2 * pace)
        assert known[0].rate <= counted.rate
        assert known[2].rate <= pace


def lead_of_liars(stakes: Sequence[int], liars: int, silent: Sequence[int], says: Verdict) -> float:
    """Return the share of rounds led by the first `liars`, who say this of all updates of the others.

    `silent`: who does not unveil, in every second round.
    """
    count, leads = len(stakes), 0
    terms = replace(RESOURCE, min_updates=count // 2, mode=Mode.FULL)
    weights = tuple(stake * TERMS.min_stake for stake in stakes)
    federation = Federation(count, count, terms, stakes=weights, full=True).open()
    for number in range(LED):
        federation.until(Phase.VOTE)
        devices = [update.device for update in federation.updates()]
        bad = [Verdict.ACCEPTED if device < liars else says for device in devices]
        openings = [federation.opening(i, bad if i < liars else None) for i in range(count)]
        for opening in openings:
            federation.commit_vote(opening)
        away = set(silent) if number % 2 else set()
        for i in set(range(count)) - away:
            federation.unveil(openings[i])
        if away:
            federation.expire()
        federation.tally()
        federation.until(Phase.PROPOSE)
        leader = federation.history().rounds[federation.clock.round].leader
        leads += leader in {key.address for key in federation.miner_keys[:liars]}
        federation.finish()
    for key in federation.miner_keys:
        resources(federation, key)
    return leads / LED


@pytest.mark.parametrize("says", [LOST, NO])
@pytest.mark.parametrize(
    ("stakes", "liars", "silent"),
    [((14, 14, 13, 20, 20, 19), 3, ()), ((1, 1, 1, 1, 1), 2, (4,)), ((35, 33, 32), 1, ())],
    ids=["41 of 100", "2 of 5, one away", "35 of 100"],
)
def test_less_than_half_that_votes_no_does_not_decide_who_leads(
    stakes: Sequence[int], liars: int, silent: Sequence[int], says: Verdict
) -> None:
    """With weights that differ, or while others are away, it keeps updates out; scores are left alone."""
    honest = lead_of_liars(stakes, liars, silent, Verdict.ACCEPTED)
    assert lead_of_liars(stakes, liars, silent, says) <= honest + 1 / LED


def test_miners_that_are_no_devices_hold_the_claim_of_one_that_is() -> None:
    """Where most are judges only, the median is theirs: one sample a second."""
    federation = Federation(1, 3, RESOURCE).open()
    federation.device_keys.append(federation.miner_keys[0])
    federation.send(federation.owner, "register_devices", [federation.miner_keys[0].address])
    federation.send(federation.miner_keys[0], "accept_device")
    federation.finish()
    federation.devices = 2
    quick = federation.update(1, microseconds=1)
    share = federation.share
    federation.share = lambda miner, round_=None: [  # type: ignore[method-assign]
        quick if update.device == 1 else update for update in share(miner, round_)
    ]
    federation.until(Phase.TALLY).tally()
    assert quick in federation.updates()
    assert resources(federation, federation.miner_keys[0]).rate == 2


def test_a_lead_is_shared_out_by_the_scores_from_before_the_round() -> None:
    federation = everybody()
    assert set(federation.history().rounds[1].scores.values()) == {Resources().score}
    assert federation.contract.call("lead_now")[0] == federation.ranking()[0]
    line = federation.ranking()
    federation.expire()
    federation.send(federation.outsider, "skip", *federation.skip_args())
    assert federation.contract.call("lead_now")[0] == line[1]
    federation.finish()
    scores = federation.history().rounds[2].scores
    assert scores == {key.address: resources(federation, key).score for key in federation.miner_keys}
    federation.finish()


# Wishes.


def vote_with(federation: Federation, wishes: list[Engine | None]) -> None:
    """Let the first miners vote with these wishes, and finish the round."""
    federation.until(Phase.VOTE)
    openings = [federation.opening(i, wish=wish) for i, wish in enumerate(wishes)]
    for opening in openings:
        federation.commit_vote(opening)
    if federation.clock.phase is Phase.VOTE:
        federation.expire()
    for opening in openings:
        federation.unveil(opening)
    federation.finish()


def test_a_federation_changes_its_engine_by_votes_without_stopping() -> None:
    federation = Federation(3, 3, HYBRID).open()
    for engine in (Engine.POW, Engine.RESOURCE, Engine.STAKE):
        vote_with(federation, [engine, engine, None])
        assert federation.engine is engine
    federation.finish()
    engines = [federation.block(number).engine for number in range(1, 5)]
    assert engines == [Engine.STAKE, Engine.POW, Engine.RESOURCE, Engine.STAKE]


def test_a_committee_does_not_choose_the_engine() -> None:
    """Everybody votes again after three rounds, and then a wish counts."""
    federation = Federation(3, 3, replace(HYBRID, committee_size=3)).open()
    vote_with(federation, [Engine.COMMITTEE] * 3)
    for is_committee in (True, True, True, False):
        current = federation.history().current
        assert current is not None
        assert current.electorate.is_committee is is_committee
        assert federation.engine is Engine.COMMITTEE
        vote_with(federation, [Engine.STAKE] * 3)
    assert federation.engine is Engine.STAKE


def test_wishes_of_more_than_half_of_all_active_weight_decide() -> None:
    federation = Federation(3, 5, HYBRID).open()
    vote_with(federation, [Engine.POW, Engine.POW, None])  # three of five voted, two of them wish
    engines = [federation.engine]
    vote_with(federation, [Engine.POW] * 3)
    assert [*engines, federation.engine] == [Engine.STAKE, Engine.POW]


def test_half_of_the_weight_changes_nothing() -> None:
    federation = Federation(3, 4, HYBRID).open()
    vote_with(federation, [Engine.POW, Engine.POW, Engine.COMMITTEE, None])
    assert federation.engine is Engine.STAKE


def test_a_wish_is_bound_by_the_vote() -> None:
    federation = Federation(3, 3, HYBRID).open().until(Phase.VOTE)
    opening = federation.opening(0, wish=Engine.POW)
    federation.commit_vote(opening)
    federation.expire()
    with reverts("verification: not the committed vote"):
        federation.unveil(replace(opening, wish=Engine.RESOURCE))
    miner, verdicts, _, salt = federation.unveil_args(opening)
    with reverts("verification: unknown engine"):
        federation.send(federation.outsider, "unveil", miner, verdicts, 5, salt)
    federation.unveil(opening)


@pytest.mark.parametrize("mode", [Mode.FULL, Mode.PARTIAL])
def test_no_wishes_elsewhere(mode: Mode) -> None:
    federation = Federation(3, 3, replace(TERMS, mode=mode), full=True).open().until(Phase.VOTE)
    federation.commit_vote(federation.opening(0, wish=Engine.POW))
    federation.expire()
    with reverts("verification: no wishes in this mode"):
        federation.unveil(federation.opening(0, wish=Engine.POW))


# Everybody a device and a miner.


def test_in_full_mode_every_miner_is_a_device() -> None:
    federation = Federation(3, 3, replace(RESOURCE, mode=Mode.FULL), full=True).open()
    with reverts("registry: not a device"):
        federation.send(LATE, "register_miner", value=ETHER)
    federation.finish()


def test_a_dual_account_commits_its_batch_and_then_alone() -> None:
    federation = Federation(3, 3, replace(TERMS, mode=Mode.FULL), full=True).open()
    first = federation.miner_keys[0]
    batches = [federation.update(1)], [federation.update(2)]
    federation.commit(first, [])
    federation.commit(first, [federation.update(0)])
    for key, batch in zip(federation.miner_keys[1:], batches, strict=True):
        federation.commit(key, batch)
    assert federation.history().rounds[1].device_commits == {first.address: digest_of(federation, 0)}
    federation.reveal(first, [federation.update(0)])
    assert federation.clock.acted == 0  # its batch is still to come
    federation.reveal(first, [])
    for key, batch in zip(federation.miner_keys[1:], batches, strict=True):
        federation.reveal(key, batch)
    federation.finish()
    assert len(federation.tallies[1].accepted) == 3


def digest_of(federation: Federation, device: int) -> bytes:
    return keccak(bytes(32) + federation.commitment(federation.update(device)))


def test_a_miner_alone() -> None:
    for engine in (Engine.STAKE, Engine.POW, Engine.RESOURCE, Engine.COMMITTEE):
        terms = replace(TERMS, engine=engine, pow_target=2**254, min_updates=1)
        federation = Federation(2, 1, terms).open().finish().finish()
        assert federation.block(2).leader == federation.miner_keys[0].address


def test_two_proofs_at_once() -> None:
    federation = (
        Federation(terms=replace(TERMS, engine=Engine.POW, pow_target=2**254)).open().until(Phase.ELECT)
    )
    seed, target = federation.contract.call("puzzle"), federation.contract.call("target")
    nonces = [search(seed, 0, key.address, target, 0, 1000) for key in federation.miner_keys[:2]]
    federation.send(federation.miner_keys[0], "solve", nonces[0])
    with reverts("rounds: not this phase"):
        federation.send(federation.miner_keys[1], "solve", nonces[1])
    assert federation.leader() == federation.miner_keys[0]
