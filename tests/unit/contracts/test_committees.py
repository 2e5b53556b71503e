"""committees.vy: everybody's salts draw three committees; members draw nobody, and two thirds decide."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bcfl.protocol import lottery
from bcfl.protocol.limits import COMMITTEES
from bcfl.protocol.lottery import Entrant
from bcfl.protocol.types import Engine, Phase, Verdict, VoidReason
from bcfl.protocol.verification import Vote, entropy
from testkit.harness import ETHER, TERMS, Account, Federation, digest, reverts

SIZE = 3
BOARD = replace(TERMS, engine=Engine.COMMITTEE, committee_size=SIZE)


def board(miners: int = 6, size: int = SIZE, stakes: tuple[int, ...] = ()) -> Federation:
    """Open a federation whose miners have weights 1, 2, 3 ..., by default."""
    default = tuple((2 * i + 3) * ETHER // 2 for i in range(miners))
    return Federation(4, miners, replace(BOARD, committee_size=size), stakes or default).open()


def is_committee(federation: Federation) -> bool:
    current = federation.history().current
    assert current is not None
    return current.electorate.is_committee


def members(federation: Federation) -> set[str]:
    return {member.account for member in federation.history().electors()}


def committees_of(federation: Federation, votes: list[Vote]) -> list[set[int]]:
    """Return the accounts that the twin draws from all active miners."""
    seats = federation.history().voters()
    entrants = [Entrant(int(member.account, 16), member.weight) for member in seats]
    return lottery.committees(entropy(votes), entrants, federation.terms.committee_size)


def leave(federation: Federation, miner: Account) -> None:
    """Let the others do the work of a miner that has no seat any more."""
    federation.miner_keys = [key for key in federation.miner_keys if key is not miner]
    federation.miners -= 1


def opened_by(federation: Federation) -> int:
    """Return the mask of members that the running round was opened with."""
    return int(federation.round_events("RoundOpened")[0]["committee"]) & (1 << 64) - 1


def test_the_salts_of_everybody_draw_the_next_three_committees() -> None:
    federation = board()
    assert not is_committee(federation)
    federation.until(Phase.TALLY)
    expected = committees_of(federation, federation.votes())
    federation.finish()
    for drawn in expected:
        assert is_committee(federation)
        assert {int(account, 16) for account in members(federation)} == drawn
        assert opened_by(federation).bit_count() == SIZE
        federation.finish()
    assert not is_committee(federation)
    assert opened_by(federation) == 0


def test_the_order_of_unveiling_does_not_move_the_draw() -> None:
    masks = set()
    for order in ((0, 1, 2, 3), (3, 1, 0, 2)):
        federation = board(4, size=2).until(Phase.UNVEIL)
        for index in order:
            federation.unveil(federation.opening(index))
        federation.finish()
        masks.add(opened_by(federation))
    assert len(masks) == 1


def test_who_watches_what_is_unveiled_can_only_veto() -> None:
    """The last to unveil knows the draw; all that it can do is to have none, and that it pays for."""
    federation = board(5).until(Phase.UNVEIL)
    for index in range(1, 5):
        federation.unveil(federation.opening(index))
    federation.expire()
    receipt = federation.tally()
    assert receipt.events[0].args["amount"] == BOARD.vote_penalty
    federation.finish()
    assert not is_committee(federation)
    assert opened_by(federation) == 0


def test_who_does_not_commit_does_not_veto() -> None:
    federation = board(5).until(Phase.VOTE)
    openings = [federation.opening(index) for index in range(1, 5)]
    for opening in openings:
        federation.commit_vote(opening)
    federation.expire()
    for opening in openings:
        federation.unveil(opening)
    expected = committees_of(federation, federation.votes())
    federation.finish()
    assert {int(account, 16) for account in members(federation)} == expected[0]


def test_members_draw_nobody() -> None:
    federation = board().finish()
    for _ in range(COMMITTEES - 1):
        draws = federation.history().draws
        federation.finish()
        assert federation.history().draws == draws[1:]
        assert is_committee(federation)
    federation.finish()
    assert not is_committee(federation)


def test_a_void_round_clears_the_draws() -> None:
    federation = board().finish()
    assert is_committee(federation)
    federation.push()
    assert federation.round_events("Voided", 2)[0]["reason"] == VoidReason.FEW_UPDATES
    assert not is_committee(federation)
    federation.finish()
    assert is_committee(federation)


def test_others_neither_vote_nor_attest_nor_lead() -> None:
    federation = board().finish().until(Phase.VOTE)
    outside = next(key for key in federation.miner_keys if key.address not in members(federation))
    with reverts("verification: not a miner of this round"):
        federation.send(outside, "commit_vote", federation.links())
    federation.until(Phase.ATTEST)
    assert federation.leader().address in members(federation)
    assert federation.contract.call("lead_now")[2:4] == (SIZE, 1)
    with reverts("proposals: not a voter of this round"):
        federation.send(outside, "attest", federation.proposal_digest())


@pytest.mark.parametrize(("size", "enough"), [(3, 3), (5, 4), (6, 5)])
def test_more_than_two_thirds_of_all_members_decide(size: int, enough: int) -> None:
    """Of five, three are sixty per cent: they neither accept nor make final, whoever else is absent."""
    for voters in (enough - 1, enough):
        federation = board(7, size=size).finish().until(Phase.VOTE)
        openings = [federation.opening(index) for index in federation.jury()[:voters]]
        for opening in openings:
            federation.commit_vote(opening)
        federation.expire()
        for opening in openings:
            federation.unveil(opening)
        if federation.clock.phase is Phase.UNVEIL:
            federation.expire()
        names = [event.name for event in federation.tally().events]
        assert ("Voided" in names) is (voters < enough)
        assert ("Elected" in names) is (voters == enough)


def test_sixty_per_cent_of_a_committee_do_not_make_a_model_final() -> None:
    federation = board(7, size=5).finish().until(Phase.ATTEST)
    leader = federation.leader().address
    voters = [federation.miner_keys[i] for i in federation.jury()]
    others = [key for key in voters if key.address != leader]
    for key in others[:2]:
        federation.send(key, "attest", federation.proposal_digest())
    assert federation.contract.call("lead_now")[2:4] == (5, 3)
    with reverts("proposals: not enough attestations"):
        federation.finalize()
    federation.send(others[2], "attest", federation.proposal_digest())
    federation.finalize()


def test_sixty_per_cent_of_a_committee_do_not_accept_an_update() -> None:
    federation = board(7, size=5).finish().until(Phase.VOTE)
    rejected = [Verdict.QUALITY, *[Verdict.ACCEPTED] * 3]
    openings = [
        federation.opening(index, rejected if place < 2 else None)
        for place, index in enumerate(federation.jury())
    ]
    for opening in openings:
        federation.commit_vote(opening)
    for opening in openings:
        federation.unveil(opening)
    federation.tally()
    assert federation.round_events("Tallied")[0]["levels"] == (0x3330,)


def test_a_member_that_left_counts_as_one_that_says_no() -> None:
    federation = board(6, size=3).finish()
    second = federation.history().draws[0]
    leaver = next(key for i, key in enumerate(federation.miner_keys) if i in second)
    federation.send(leaver, "leave_miner")
    federation.finish()
    assert opened_by(federation).bit_count() == 2
    current = federation.history().current
    assert current is not None
    assert current.electorate.whole == 3  # as many as were drawn
    assert len(members(federation)) == 2
    leave(federation, leaver)
    federation.until(Phase.TALLY)
    receipt = federation.tally()  # two of three are not more than two thirds
    assert "Voided" in [event.name for event in receipt.events]


def test_who_takes_the_seat_of_a_member_is_no_member() -> None:
    federation = board(6, size=3).finish()
    second, third = federation.history().draws
    leaver = next(key for i, key in enumerate(federation.miner_keys) if i in third - second)
    federation.send(leaver, "leave_miner")
    federation.finish()
    newcomer = federation.outsider
    federation.send(newcomer, "register_miner", value=50 * ETHER)
    seat = federation.contract.call("miner", newcomer.address)[0]
    leave(federation, leaver)
    federation.finish()
    assert not opened_by(federation) >> seat & 1


def test_everybody_votes_by_stake_where_no_member_is_left() -> None:
    federation = board(4, size=1).finish()
    (seat,) = federation.history().draws[0]
    federation.send(federation.miner_keys[seat], "leave_miner")
    federation.finish()
    assert (opened_by(federation), is_committee(federation)) == (0, False)
    leave(federation, federation.miner_keys[seat])
    federation.finish()


@pytest.mark.parametrize(("size", "miners"), [(1, 3), (5, 3), (64, 1)])
def test_sizes_of_committees(size: int, miners: int) -> None:
    federation = board(miners, size=size).finish()
    assert opened_by(federation).bit_count() == min(size, miners)
    federation.finish()
    assert federation.block(2).leader in federation.history().rounds[2].committee


def test_members_lead_in_turn() -> None:
    federation = board(5, size=4).finish().until(Phase.PROPOSE)
    line, seats = federation.ranking(), members(federation)
    federation.push()
    assert [event["leader"] for event in federation.round_events("Elected", 2)] == line
    assert set(line) == seats


def test_a_committee_binds_its_members_votes_to_the_round() -> None:
    """A vote of a member weighs one, whatever its stake."""
    federation = board(5, size=4).finish().until(Phase.TALLY)
    assert [vote.voter.weight for vote in federation.votes()] == [1] * 4
    assert digest("vote", 2, federation.jury()[0]) == federation.votes()[0].opening.salt
