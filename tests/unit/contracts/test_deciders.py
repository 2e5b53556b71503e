"""What decides: more than half of all active weight, whoever is absent; and who is paid for its verdicts."""

from __future__ import annotations

import pytest

from bcfl.protocol.rewards import prices
from bcfl.protocol.types import Phase, Verdict, VoidReason
from testkit.harness import CHALLENGED, ETHER, TERMS, Federation, reverts

YES, NO = Verdict.ACCEPTED, Verdict.QUALITY
STAKES = (4 * ETHER + ETHER // 2, 3 * ETHER + ETHER // 2, ETHER + ETHER // 2)


def vote(federation: Federation, rows: dict[int, list[Verdict]]) -> None:
    """Let some miners vote, by index; the others are away."""
    federation.until(Phase.VOTE)
    openings = [federation.opening(index, row) for index, row in rows.items()]
    for opening in openings:
        federation.commit_vote(opening)
    if federation.clock.phase is Phase.VOTE:
        federation.expire()
    for opening in openings:
        federation.unveil(opening)


def test_half_of_active_weight_does_not_accept() -> None:
    """Four of eight say yes, and the other four are away or say no: it is all the same."""
    for away in (False, True):
        federation = Federation(4, 3, stakes=(4 * ETHER, 3 * ETHER, ETHER)).open()
        rows = {0: [YES] * 4, 1: [NO, YES, YES, YES]}
        vote(federation, rows if away else {**rows, 2: [NO, YES, YES, YES]})
        federation.tally()
        assert federation.round_events("Tallied")[0]["levels"] == (0x3330,)


def test_one_weight_more_than_half_accepts_alone() -> None:
    federation = Federation(4, 3, stakes=(5 * ETHER, 3 * ETHER, ETHER)).open()
    vote(federation, {0: [YES] * 4, 1: [NO] * 4, 2: [NO] * 4})
    federation.tally()
    assert federation.round_events("Tallied")[0]["levels"] == (0x3333,)


def test_half_of_active_weight_neither_finds_a_quorum_nor_finalizes() -> None:
    federation = Federation(4, 3, stakes=STAKES).open()
    vote(federation, {0: [YES] * 4})
    receipt = federation.tally()
    (voided,) = (event for event in receipt.events if event.name == "Voided")
    assert voided.args["reason"] == VoidReason.NO_QUORUM
    federation.until(Phase.ATTEST)
    assert federation.leader() == federation.miner_keys[0]
    assert federation.contract.call("lead_now")[2:4] == (8, 4)
    with reverts("proposals: not enough attestations"):
        federation.finalize()
    federation.send(federation.miner_keys[2], "attest", federation.proposal_digest())
    federation.finalize()


def test_the_own_weight_counts_as_any_other() -> None:
    """On the update of the third, of weight 3 of 7: with the first it is more than half, alone it is not."""
    for friend, is_accepted in ((2, True), (0, False)):
        stakes = (2 * ETHER, 2 * ETHER, 3 * ETHER)
        federation = Federation(3, 3, stakes=stakes, full=True).open()
        order = {update.device: place for place, update in enumerate(federation.until(Phase.VOTE).updates())}
        row = [NO if place == order[2] else YES for place in range(3)]
        vote(federation, {0: [YES] * 3 if friend else row, 1: row, 2: [YES] * 3})
        federation.tally()
        levels = federation.round_events("Tallied")[0]["levels"][0]
        assert levels == 0x333 & ~(0 if is_accepted else 15 << 4 * order[2])


def test_to_see_the_others_votes_and_then_keep_the_own_one_costs_more_than_it_earns() -> None:
    """A choice made late is a vote committed and not opened: its price is above a round's pay."""
    federation = Federation(4, 3, stakes=STAKES).open().until(Phase.UNVEIL)
    for index in (0, 1):
        federation.unveil(federation.opening(index))
    federation.expire()
    federation.tally()
    (penalty,) = federation.round_events("Penalized")
    assert penalty["amount"] == TERMS.vote_penalty  # of its weight of 1
    whole = sum(stake // ETHER for stake in STAKES)
    pay = TERMS.reward * TERMS.miner_share // 10_000 // whole
    assert penalty["amount"] > pay


def test_pay_is_by_weight() -> None:
    federation = Federation(4, 3, stakes=STAKES).open().finish()
    amounts = claims(federation)
    price = prices(TERMS, federation.block(1).reward, federation.tallies[1])
    leader = federation.block(1).leader
    for key, stake in zip(federation.miner_keys, STAKES, strict=True):
        lead = price.leader if key.address == leader else 0
        assert amounts[key.address] == price.verdict * 4 * (stake // ETHER) + lead


def claims(federation: Federation) -> dict[str, int]:
    """Let everybody claim round 1; return what the miners got."""
    for place in range(len(federation.tallies[1].voters)):
        federation.send(federation.outsider, "claim_miner", *federation.claim_miner_args(1, place))
    events = federation.contract.events(name="Claimed")
    return {event.args["account"]: event.args["amount"] for event in events if event.args["as_miner"]}


@pytest.mark.parametrize("exist", [False, True])
def test_only_attesters_are_paid_where_challenges_exist(exist: bool) -> None:
    federation = Federation(4, 5, CHALLENGED if exist else TERMS).open().until(Phase.ATTEST)
    federation.attest_enough()
    federation.wait(federation.terms.challenge_seconds)
    federation.finalize()
    attested = federation.block(1).attested
    assert attested.bit_count() == 3
    pool = federation.contract.call("pool")
    amounts = claims(federation)
    paid = [amounts[key.address] > 0 for key in federation.miner_keys]
    assert paid == [bool(attested >> seat & 1) or not exist for seat in range(5)]
    price = prices(federation.terms, federation.block(1).reward, federation.tallies[1])
    returned = 2 * 4 * price.verdict if exist else 0
    assert federation.contract.call("pool") == pool + returned
    balance, stakes, owed, pool = federation.money()
    assert balance == stakes + owed + pool
