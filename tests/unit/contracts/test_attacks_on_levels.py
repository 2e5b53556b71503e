"""Attacks on the count of levels and on what is settled by it, by somebody who had not written it.

Those up to the levels of own updates succeeded when they were found.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from bcfl.errors import Reverted
from bcfl.protocol import aggregation, cid, merkle, payload, verification
from bcfl.protocol.challenges import Trees, WeightsChallenge, proposal_digest, weights_digest
from bcfl.protocol.docket import longest_wait_seconds
from bcfl.protocol.evidence import Vectors
from bcfl.protocol.fixedpoint import lane_dtype
from bcfl.protocol.hashing import fold, keccak, word
from bcfl.protocol.limits import TRANSACTION_GAS
from bcfl.protocol.types import Engine, Mode, Opening, Phase, Rule, Verdict
from bcfl.roles.common.snapshot import take_snapshot
from testkit.dispute_driver import DisputeDriver
from testkit.forged_proposals import with_parts
from testkit.harness import CHALLENGED, ETHER, TERMS, Federation, account, reverts
from testkit.largest_tally import EVERYBODY, Case, LargestTally
from testkit.ledgers import slots_of
from testkit.proposal_fixture import ProposalFixture
from testkit.storage_slots import StorageSlots
from tests.integration.test_watchtower import WINDOW_TERMS, add_watchtower
from tests.local_federation import LAYOUT, LocalFederation
from tests.unit.contracts.test_levels import counted, levels_of

JUNK = 15 << 252  # what no update is judged by: the last four bits of a word, in a round of fewer than 64
PROPOSAL_TERMS = replace(CHALLENGED, parameters=16 * 700, leaf_lanes=16, max_updates=400, max_samples=1000)

Words = list[int]


class LooseVote:
    """A vote of any words, which are honest verdicts and `junk`."""

    def __init__(self, opening: Opening, junk: int) -> None:
        self.opening = opening
        self.words: Words = [verdicts | junk for verdicts in verification.verdict_words(opening)]

    def digest(self, links: bytes) -> bytes:
        """Return what its miner commits to."""
        o = self.opening
        start = word(o.round) + word(int(o.miner, 16)) + word(160) + word(0) + o.salt
        packed = word(len(self.words)) + b"".join(map(word, self.words))
        return verification.bound_digest(keccak(start + packed), links)

    def unveil(self, send: Callable[..., object]) -> bool:
        """Open it as it was committed, and return whether the contract takes it."""
        try:
            send("unveil", self.opening.miner, self.words, 0, self.opening.salt)
        except Reverted:
            return False
        return True

    @property
    def body(self) -> bytes:
        return fold(map(word, self.words), self.opening.salt)


def vote_with_junk(federation: Federation) -> LooseVote | None:
    """Vote honestly but for miner 0, whose words have bits that judge nothing; None if these are refused."""
    federation.until(Phase.VOTE)
    loose = LooseVote(federation.opening(0), JUNK)
    others = [federation.opening(index) for index in range(1, federation.miners)]
    attacker = federation.miner_keys[0]
    federation.send(attacker, "commit_vote", loose.digest(federation.links()))
    for opening in others:
        federation.commit_vote(opening)
    is_taken = loose.unveil(lambda *args: federation.send(attacker, *args))
    for opening in others:
        federation.unveil(opening)
    if federation.clock.phase is Phase.UNVEIL:
        federation.expire()
    return loose if is_taken else None


@pytest.mark.parametrize("code", range(11, 16))
def test_bits_that_judge_no_update_are_refused(code: int) -> None:
    """Codes from 11 to 15 passed behind the last update of a round."""
    federation = Federation().open().until(Phase.VOTE)
    loose = LooseVote(federation.opening(0), code << 252)
    federation.send(federation.miner_keys[0], "commit_vote", loose.digest(federation.links()))
    federation.expire()
    with reverts("verification: not a verdict on each update"):
        federation.send(
            federation.outsider, "unveil", loose.opening.miner, loose.words, 0, loose.opening.salt
        )


def test_one_miner_voids_no_round_by_its_vote() -> None:
    """The twin did not know these bits, so nobody honest could count the votes.

    The round was void, nobody was fined, and the next one was no better.
    """
    federation = Federation(devices=6, miners=20).open()
    vote_with_junk(federation)
    federation.tally()
    assert federation.clock.phase is Phase.PROPOSE


def test_one_miner_stops_nothing_for_ever() -> None:
    """It counted the votes itself; then honest parties could neither propose nor skip.

    PROPOSE is not ended by time: the federation stood until somebody wrote the call by hand.
    """
    federation = Federation(terms=CHALLENGED).open()
    loose = vote_with_junk(federation)
    args = federation.tally_args()
    if loose is not None:
        seat = [vote.voter.account for vote in federation.votes()].index(loose.opening.miner)
        args[3] = [*args[3][:seat], *loose.words, *args[3][seat + 1 :]]  # type: ignore[index]
    federation.tallies[1] = federation.twin_tally()
    federation.send(federation.miner_keys[0], "tally", *args)
    federation.expire()
    federation.send(federation.outsider, "skip", *federation.skip_args())
    federation.propose()
    federation.finish()
    assert federation.clock.round == 2


def test_colluders_do_not_blind_the_watchtower(tmp_path: Path) -> None:
    """A wrong model became final under its eyes, and it lost its bond."""
    local = LocalFederation(tmp_path, terms=WINDOW_TERMS)
    watchtower = add_watchtower(local)
    final = propose_wrongly(local)
    for _ in range(40):
        local.chain.warp(local.chain.now() + 5)  # type: ignore[union-attr]
        with suppress(Reverted):  # today: "challenges: not the round's tally"
            watchtower.act()
        with suppress(Reverted):
            local.send(local.miner_accounts[1], "finalize", *final)
    assert local.history.blocks[-1].root != final[0]
    assert [who for _, who in local.history.rounds[1].refutations] == [watchtower.account.address]


def propose_wrongly(local: LocalFederation) -> tuple[bytes, bytes, bytes]:
    """Let all miners collude: one votes with junk, if it can, and all attest a model that is off by one."""
    local.until(Phase.VOTE)
    snapshot = take_snapshot(local.ledger)
    assert snapshot is not None
    domain = local.ledger.domain
    count = len(snapshot.current.submissions)
    votes = {
        key.address: LooseVote(
            Opening(1, key.address, (Verdict.ACCEPTED,) * count, keccak(key.key)), JUNK * (not place)
        )
        for place, key in enumerate(local.miner_accounts)
    }
    for key in local.miner_accounts:
        local.send(key, "commit_vote", votes[key.address].digest(snapshot.current.links(domain)))
    for key in local.miner_accounts:
        votes[key.address].unveil(lambda *args, key=key: local.send(key, *args))
    if local.ledger.clock().phase is Phase.UNVEIL:
        local.chain.warp(local.ledger.clock().deadline)  # type: ignore[union-attr]
    round_ = local.history.rounds[1]
    args = list(verification.tally_args(round_.words(domain), round_.votes))
    present = [votes[vote.voter.account] for vote in round_.votes]
    args[3] = [item for vote in present for item in vote.words]
    links = bytes(32)
    for vote, loose in zip(round_.votes, present, strict=True):
        links = keccak(links + word(vote.voter.word) + loose.body)
    accepted = verification.tally_digest(replace(round_.tally(domain), votes=links))
    local.send(local.miner_accounts[1], "tally", *args)
    history = local.history
    right = local.archive.next_model(history.model_before(1), history.rounds[1].accepted_submissions())
    model = right.model.copy()
    model[7] += 1
    root = merkle.root(model, local.terms.leaf_lanes)
    final = root, cid.digest(cid.compute(payload.encode(LAYOUT, model))), right.rows
    leader = next(key for key in local.miner_accounts if key.address == history.rounds[1].leader)
    local.send(leader, "propose", accepted, *final)
    for key in local.miner_accounts:
        if key is not leader and key.address in {vote.voter.account for vote in round_.votes}:
            local.send(key, "attest", proposal_digest(1, accepted, root, right.rows))
    return final


@pytest.mark.parametrize("miners", [3, 5, 7])
def test_less_than_half_raises_no_level(miners: int) -> None:
    """(n - 1) / 2 of n give a miner's update 4, and everybody else, it too, 2.

    So one of three let an update of its choice weigh two thirds of the mean, and earn half of the pay.
    """
    colluders = (miners - 1) // 2
    rows = [[2] * miners] * (miners - colluders) + [[4] + [2] * (miners - 1)] * colluders
    assert set(levels_of(counted(*rows, full=True)).values()) == {2}


@pytest.mark.parametrize("miners", [3, 5, 7])
def test_less_than_half_accepts_nothing_that_all_others_refuse(miners: int) -> None:
    """Its own miner refuses it as well; half of the others had accepted it."""
    colluders = (miners - 1) // 2
    rows = [[0] + [3] * (miners - 1)] * (miners - colluders) + [[3] * miners] * colluders
    assert levels_of(counted(*rows, full=True))[0] == 0


def test_less_than_half_lowers_no_level_of_a_heavier_miner() -> None:
    """Of weights 6, 4 and 5 the 5 gave 1, and the 6's update weighed a ninth."""
    stakes = (6 * ETHER, 4 * ETHER, 5 * ETHER)
    assert levels_of(counted([3, 3, 3], [3, 3, 3], [1, 3, 3], stakes=stakes, full=True))[0] == 3


def let_all_leave(tally: LargestTally, slots: StorageSlots) -> None:
    """Let every miner have asked to leave: the next round frees all seats."""
    keys = tally.federation.miner_keys
    slots.put(
        ("registry.roster", None, slots.get("registry.roster") | EVERYBODY << 128),
        *[("registry.exits", int(key.address, 16), 5) for key in keys],
    )


def let_all_consent(tally: LargestTally, slots: StorageSlots) -> None:
    """Let every miner have consented to be a device: the next round looks each of them up."""
    for index, key in enumerate(tally.federation.miner_keys):
        account_ = int(key.address, 16)
        slots.put(
            ("registry.records", account_, slots.get("registry.records", account_) | 2**28),
            ("registry.device_index", account_, index + 1),
            ("registry.devices", index, account_ | 1 << 160 | (2**32 - 1) << 192),
        )


@pytest.mark.evm("gas of a transaction")
@pytest.mark.parametrize("change", [let_all_leave, let_all_consent])
def test_the_dearest_tally_fits_where_everybody_changes(
    change: Callable[[LargestTally, StorageSlots], None],
) -> None:
    """The largest count, a draw, scores, a void round, and 64 seats that take more than a new weight."""
    tally = LargestTally(Case(Engine.RESOURCE, Mode.HYBRID, is_void=True))
    change(tally, slots_of(tally.federation.contract))
    used, events = tally.send()
    assert "RoundOpened" in events
    assert 14_500_000 < used < TRANSACTION_GAS


@pytest.mark.parametrize("claim", [1, 100_000])
@pytest.mark.parametrize(("devices", "colluders"), [(3, 1), (6, 2), (20, 9)])
def test_less_than_half_of_the_claims_move_the_cap_within_the_others(
    devices: int, colluders: int, claim: int
) -> None:
    federation = Federation(devices, 3).open()
    updates = [
        federation.update(device, **({"samples": claim} if device < colluders else {}))
        for device in range(devices)
    ]
    federation.commit(federation.miner_keys[0], updates)
    federation.expire()
    federation.reveal(federation.miner_keys[0], updates)
    federation.until(Phase.TALLY)
    args = federation.tally_args()
    for cap in {1, 100_000, 0, 2**256 - 1} - {args[5]}:
        with reverts("verification: not the median claim"):
            federation.send(federation.outsider, "tally", *args[:5], cap)
    federation.tally()
    honest = [update.samples for update in updates[colluders:]]
    assert min(honest) <= federation.tallies[1].cap <= max(honest)


def test_tally_challenge_and_dispute_read_the_same_levels() -> None:
    """Beyond the first word of levels too; weights by the level itself, or without the cap, are refuted."""
    fixture, rng = ProposalFixture(replace(PROPOSAL_TERMS, parameters=40)), Random(1)
    right = fixture.evidence(2, [rng.random() < 0.7 for _ in range(131)])
    claims, tally = [update.samples for update in right.updates], right.tally
    assert max(claims) > tally.cap
    weights = verification.mean_weights(tally, claims)
    pairs = list(zip(claims, tally.levels, strict=True))
    for samples in (
        [min(claim, tally.cap) * level for claim, level in pairs if level],
        [claim * level**2 for claim, level in pairs if level],
        [min(claim, tally.cap) * level**2 for claim, level in pairs],
    ):
        forged = with_parts(right, weights=weights_digest(samples))
        fixture.put_proposal(forged.context)
        assert fixture.ruling(WeightsChallenge(forged.candidate, tally, tuple(right.words), weights)) is True
    fixture.put_proposal(right.context)
    assert fixture.ruling(WeightsChallenge(right.candidate, tally, tuple(right.words), weights)) is False
    driver = DisputeDriver(fixture, right, Trees.UPDATE)
    for driver.position in (0, 31, 32, 63, 64, 65, 127, 128, 130):
        if tally.levels[driver.position]:
            driver.open()
        else:
            with reverts("challenges: no such place"):
                driver.open()
    lanes = [vector.copy() for vector in right.lanes]
    lanes[-1][5] ^= 1
    forged = with_parts(right, rows=Vectors(lanes, fixture.terms.leaf_lanes))
    fixture.put_proposal(forged.context)
    challenge: Any = forged.find()
    assert challenge.position > 64
    assert fixture.ruling(challenge) is True


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize(("updates", "claim"), [(1, 2**24 - 1), (16, 2**24 - 1), (1024, 2**18 - 1)])
def test_the_heaviest_weights_overflow_nothing(updates: int, claim: int, bits: int) -> None:
    """The largest claims at the highest level, and lanes at both ends of their range."""
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    rows = [[low, high, low if place % 2 else high, place] for place in range(updates)]
    rows = [[max(low, min(high, lane)) for lane in row] for row in rows]
    weights = [16 * claim - place % 2 for place in range(updates)]
    shift = 32 - bits
    found = aggregation.mean([np.array(row, lane_dtype(bits)) for row in rows], weights, shift)
    for place in range(4):
        column = [row[place] for row in rows]
        assert found[place] == aggregation.aggregate_lane(Rule.MEAN, column, weights, shift, 0)


def test_a_flood_of_disputes_of_all_kinds_is_one_wait_and_one_bill() -> None:
    """Three attackers open eighteen in the last seconds; answered once each, all are lost at one deadline."""
    fixture = ProposalFixture(PROPOSAL_TERMS)
    right, federation = fixture.evidence(5, [True] * 3), fixture.federation
    fixture.put_proposal(right.context, 0b111)
    start, stakes = federation.chain.now(), federation.money()[1]
    federation.wait(PROPOSAL_TERMS.challenge_seconds - 24)
    federation.send(account("late", 1), "announce_challenge", bytes(31) + b"1", value=ETHER // 10)
    drivers = []
    for number in range(18):
        tree, attacker = list(Trees)[number % 3], account("late", 1 + number // 6)
        drivers.append(DisputeDriver(fixture, right, tree, attacker, stands=True))
        drivers[-1].open()
    for driver in drivers:
        driver.answer()
        if driver.kind is Trees.ROWS:
            driver.answer()
    bonds = sum(driver.course.bond for driver in drivers)
    assert bonds == (8 + 2 + 4 + 8 + 7 * 16) * PROPOSAL_TERMS.challenge_bond
    final = drivers[0].proposal
    federation.chain.warp(max(driver.state.deadline for driver in drivers))
    for driver in drivers:
        with reverts("proposals: not undisputed"):
            federation.send(federation.outsider, "finalize", *final)
        driver.expire()
    federation.chain.warp(max(federation.chain.now(), start + PROPOSAL_TERMS.challenge_seconds * 7 // 4))
    federation.send(federation.outsider, "finalize", *final)
    assert federation.chain.now() - start <= longest_wait_seconds(PROPOSAL_TERMS)
    author = federation.miner_keys[0].address
    assert federation.contract.call("credits", author) * 2 == bonds
    balance, staked, owed, pool = federation.money()
    assert (staked, balance) == (stakes, staked + owed + pool)


@pytest.mark.parametrize(("miners", "weight"), [(1, 1), (2, 65_535), (20, 3)])
def test_claims_come_to_what_was_set_aside_and_pay_once(miners: int, weight: int) -> None:
    """Every level and every reason, one miner far heavier than the others, each share claimed twice."""
    terms = replace(TERMS, mode=Mode.FULL, min_updates=1, min_stake=10**9, reward=10**9, vote_penalty=10**8,
                    leader_penalty=10**7)  # fmt: skip
    stakes = tuple(terms.min_stake * (weight if seat == 0 else 1) for seat in range(miners))
    federation = Federation(miners, miners, terms, stakes, full=True).open().until(Phase.VOTE)
    rng, openings = Random(miners), []
    for seat in range(miners):
        codes = [1 + rng.randrange(4) if rng.random() < 0.9 else rng.randint(5, 10) for _ in range(miners)]
        verdicts, levels = verification.verdicts_of(codes)
        openings.append(federation.opening(seat, list(verdicts), levels=levels))
    for opening in openings:
        federation.commit_vote(opening)
    for opening in openings:
        federation.unveil(opening)
    federation.tally()
    federation.finish()
    accepted, before = federation.tallies[1].accepted, federation.contract.call("owed")
    for _ in range(2):
        for place in range(miners):
            federation.send(federation.outsider, "claim_miner", *federation.claim_miner_args(1, place))
            if accepted[place]:
                federation.send(federation.outsider, "claim_device", *federation.claim_device_args(1, place))
        credits = [federation.contract.call("credits", key.address) for key in federation.miner_keys]
        assert sum(credits) == before == federation.contract.call("owed") > 0
