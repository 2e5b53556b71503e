"""turns.vy on chain: leads follow weight, nothing can be ground or withheld, twin and chain agree."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import permutations

import pytest

from bcfl.protocol.turns import JOINING, LEAST, MOST, UNIT
from bcfl.protocol.types import Engine, Phase
from testkit.harness import ETHER, TERMS, Federation, account, digest
from testkit.mocks import mock
from tests.unit.contracts.votes import vote_some

FREE = replace(TERMS, reward=0, vote_penalty=0, leader_penalty=0)


def credits_of(federation: Federation) -> list[int]:
    """Return the credits of all seats; the twin, which reads events alone, has the same."""
    credits = [int(credit) for credit in federation.contract.call("turn_credits")]
    known = federation.history().credits
    assert credits[: federation.miners] == [known.get(seat, JOINING) for seat in range(federation.miners)]
    return credits


def leaders(federation: Federation) -> list[str]:
    return [event.args["leader"] for event in federation.contract.events(name="Elected")]


def test_a_seat_that_is_taken_begins_one_lead_below_zero() -> None:
    federation = Federation(miners=2).open()
    assert credits_of(federation)[:2] == [JOINING] * 2


def test_leads_follow_weight() -> None:
    """Ten rounds of weights 1, 2, 3 and 4 are led once, twice, three and four times."""
    stakes = tuple(weight * ETHER + ETHER // 2 for weight in (1, 2, 3, 4))
    federation = Federation(4, 4, FREE, stakes).open()
    for _ in range(10):
        federation.finish()
        credits_of(federation)
    counts = Counter(leaders(federation))
    assert [counts[key.address] for key in federation.miner_keys] == [1, 2, 3, 4]


def test_nothing_that_is_unveiled_moves_who_leads() -> None:
    """Salts, their order and what was voted are of no avail: credits and weights alone decide."""
    outcomes = set()
    for salt, order in enumerate(list(permutations(range(3)))[:3]):
        federation = Federation(terms=FREE).open().until(Phase.VOTE)
        openings = [replace(federation.opening(i), salt=digest("ground", salt, i)) for i in range(3)]
        for opening in openings:
            federation.commit_vote(opening)
        for index in order:
            federation.unveil(openings[index])
        federation.tally()
        outcomes.add((federation.leader().address, tuple(credits_of(federation))))
    assert len(outcomes) == 1


def test_who_is_absent_neither_earns_nor_pays() -> None:
    federation = Federation(miners=5).open().until(Phase.VOTE)
    vote_some(federation, 4)
    federation.tally()
    credits = credits_of(federation)
    assert credits[4] == JOINING
    assert sum(credits[:4]) == 4 * JOINING


def test_a_late_leader_has_paid_and_another_lead_is_shared_out() -> None:
    federation = Federation(miners=4).open().until(Phase.PROPOSE)
    before = credits_of(federation)
    late = federation.contract.call("miner", federation.leader().address)[0]
    federation.expire()
    federation.send(federation.outsider, "skip", *federation.skip_args())
    following = federation.contract.call("miner", federation.leader().address)[0]
    after = credits_of(federation)
    assert after[late] == before[late]
    assert after[following] == before[following] + UNIT // 3 - UNIT
    rest = set(range(4)) - {late, following}
    assert all(after[seat] == before[seat] + UNIT // 3 for seat in rest)


def test_a_lead_passes_on_for_nothing_while_a_proposal_stands() -> None:
    """Attestations that are withheld let the author keep its block, and give nobody a lead of its own."""
    federation = Federation(miners=4).open().until(Phase.ATTEST)
    author, credits = federation.leader(), credits_of(federation)
    for _ in range(2):
        federation.expire()
        federation.send(federation.outsider, "skip", *federation.skip_args())
        federation.propose()
        assert credits_of(federation) == credits
    federation.attest_enough()
    federation.finalize()
    assert federation.block(1).leader == author.address


def test_whoever_replaces_what_stands_pays_for_a_lead() -> None:
    federation = Federation(miners=4).open().until(Phase.ATTEST)
    federation.expire()
    federation.send(federation.outsider, "skip", *federation.skip_args())
    credits, leader = credits_of(federation), federation.leader()
    model = digest("other"), digest("other cid"), digest("other rows")
    federation.send(leader, "propose", federation.accepted(), *model)
    seat = federation.contract.call("miner", leader.address)[0]
    credits[seat] -= UNIT
    assert credits_of(federation) == credits


def test_the_score_from_before_the_round_shares_out_leads_under_resource() -> None:
    terms = replace(FREE, engine=Engine.RESOURCE, min_updates=1)
    federation = Federation(3, 3, terms, full=True).open()
    for _ in range(3):
        federation.until(Phase.PROPOSE)
        assert federation.leader().address == federation.ranking()[0]
        federation.finish()
        credits_of(federation)


def test_a_seat_that_is_taken_anew_begins_anew() -> None:
    federation = Federation(miners=3, terms=replace(FREE, exit_rounds=1)).open().finish()
    leaver = federation.miner_keys[0]
    federation.send(leaver, "leave_miner")
    federation.push()
    newcomer = account("late")
    federation.send(newcomer, "register_miner", value=ETHER)
    assert federation.contract.call("miner", newcomer.address)[0] == 0
    assert credits_of(federation)[0] == JOINING


@pytest.mark.parametrize("level", [LEAST, LEAST + UNIT - 1, LEAST + UNIT])
def test_a_credit_stays_at_its_least(level: int) -> None:
    election, _ = mock("ElectionMock")
    assert election.call("charged", [level - LEAST, *[0] * 7], 0)[0] == 0


def test_a_credit_stays_at_its_most_and_does_not_touch_its_neighbour() -> None:
    """A seat alone with weight earns a whole lead; the next seat's field begins one bit above."""
    election, _ = mock("ElectionMock")
    full = MOST - LEAST
    voters = [1 << 160 | 1, 1 << 200 | 3 << 160 | 2]
    words = [full << 32 | 5, *[0] * 7]
    seats, credits = election.call("leads", Engine.STAKE, words, voters, [0, 0], [0])
    assert seats == (1,)
    assert credits[0] == (full - UNIT) << 32 | 5 + UNIT // 4
