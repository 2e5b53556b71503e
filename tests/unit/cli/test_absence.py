"""Queries about who is not there: a proposal is passed on, a miner is suspended, a vote is never unveiled."""

from __future__ import annotations

from bcfl.protocol.types import Phase
from testkit.harness import TERMS, Federation
from tests.unit.cli.conftest import Bcfl, Played


def test_a_proposal_that_a_second_leader_repeats(bcfl: Bcfl, play_federation: Played) -> None:
    federation = play_federation().open().until(Phase.PROPOSE)
    author = federation.leader().address
    federation.propose()
    federation.expire()
    federation.send(federation.outsider, "skip", *federation.skip_args())
    leader = federation.leader().address
    federation.finish()
    view = bcfl("leader", 1, "--json").json
    assert (view["author"], view["leader"]) == (author, leader)
    assert author != leader
    assert f"leader {leader}\nauthor {author}" in bcfl("leader", 1).text
    first, second = bcfl("round", 1, "--json").json["proposals"]
    assert (first["author"], second["author"], second["leader"]) == (author, author, leader)
    assert (first["attested"], second["attested"][:2]) == ([author], [author, leader])
    assert f"{leader} {author}" in bcfl("round", 1).text


def play_without(federation: Federation, miner: int, seconds: int = 0) -> None:
    """Play the running round without one miner's vote; its model becomes final so many seconds late."""
    federation.until(Phase.VOTE)
    openings = [federation.opening(index) for index in range(federation.miners) if index != miner]
    for opening in openings:
        federation.commit_vote(opening)
    federation.expire()
    for opening in openings:
        federation.unveil(opening)
    federation.until(Phase.ATTEST)
    federation.attest_enough()
    federation.wait(seconds)
    federation.finalize()


def test_a_miner_that_is_suspended(bcfl: Bcfl, play_federation: Played) -> None:
    federation = play_federation().open()
    absent = federation.miner_keys[2]
    play_without(federation, 2, TERMS.absence_seconds)
    view = bcfl("miner", 2, "--json").json
    assert (view["rest"]["missed"], view["rest"]["suspended"]) == (1, False)
    assert view["penalties"] == view["rounds"][0]["penalty"] > 0
    assert "missed 1 round of late since" in bcfl("miner", 2).text
    for _ in range(2):
        play_without(federation, 2)
    rest = bcfl("miner", 2, "--json").json["rest"]
    assert (rest["missed"], rest["strikes"], rest["suspended"], rest["until_round"]) == (0, 1, True, 4)
    text = bcfl("miner", 2).text
    assert "suspended for missed rounds, at least to round 4" in text
    assert "`resume`" in text
    assert bcfl("miner", 2, "--json").json["weight"] == 0
    federation.send(absent, "resume")
    assert not bcfl("miner", 2, "--json").json["rest"]["suspended"]


def test_nobody_is_awaited_to_count_what_is_not_unveiled(bcfl: Bcfl, play_federation: Played) -> None:
    federation = play_federation().open().until(Phase.VOTE)
    openings = [federation.opening(index) for index in range(3)]
    for opening in openings:
        federation.commit_vote(opening)
    for opening in openings[:2]:
        federation.unveil(opening)
    federation.expire()
    federation.send(federation.outsider, "advance")
    assert bcfl("round", 1, "--json").json["due"] == {
        "phase": "tally", "deadline": federation.clock.deadline, "awaited": [],
    }  # fmt: skip
