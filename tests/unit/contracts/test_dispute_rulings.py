"""disputes.vy: the end of a dispute that comes to a leaf, and who has its money."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bcfl.protocol import disputes, merkle
from bcfl.protocol.challenges import Challenge, Trees, WeightsChallenge, weights_digest
from bcfl.protocol.disputes import State
from bcfl.protocol.evidence import Evidence
from testkit.dispute_driver import ANSWERER, DisputeDriver
from testkit.forged_proposals import case_of, with_model, with_parts
from testkit.harness import CHALLENGED, account, reverts
from testkit.proposal_fixture import ProposalFixture
from tests.unit.contracts.dispute_checks import OTHER, check_balance, check_bond_goes_back

DEEP = PROPOSAL_TERMS = replace(
    CHALLENGED, parameters=16 * 700, leaf_lanes=16, max_updates=64
)  # 700 leaves, depth 10
BOND = DEEP.challenge_bond
WRONG_LEAF = 650


@pytest.fixture
def right(fixture: ProposalFixture) -> Evidence:
    return fixture.evidence(5, [True] * 3)


@pytest.fixture
def wrong(right: Evidence) -> Evidence:
    """A proposal whose model is wrong in one leaf."""
    model = case_of(right).model()
    model[16 * WRONG_LEAF + 5] ^= 1
    proposal = with_model(right, model)
    assert proposal is not None
    return proposal


def credits(driver: DisputeDriver, account: Any) -> int:
    return int(driver.federation.contract.call("credits", account.address))


def author(driver: DisputeDriver) -> Any:
    return driver.federation.miner_keys[0]


def test_a_wrong_leaf_is_shown_and_the_challenger_alone_rules(
    fixture: ProposalFixture, right: Evidence, wrong: Evidence
) -> None:
    """The tree's owner answers to the end; then the bond comes back and the reward is the challenger's."""
    driver, stake = DisputeDriver(fixture, wrong, Trees.MODEL), fixture.stake(0)
    driver.federation.wait(
        DEEP.challenge_seconds - 10
    )  # no later than the window, however long it takes then
    driver.open()
    honest_driver = DisputeDriver.__new__(DisputeDriver)
    honest_driver.__dict__ |= driver.__dict__
    honest_driver.tree = merkle.build(right.model.vectors[0], 16)  # type: ignore[attr-defined]
    while driver.state.state is not State.RULE:
        honest_nodes = honest_driver.nodes()
        driver.federation.wait(DEEP.answer_seconds - 10)
        driver.answer()
        if driver.state.state is State.PICK:
            place = disputes.first_mismatch(driver.course.nodes, honest_nodes)
            assert place is not None
            driver.pursue(place)
    assert driver.state.index == WRONG_LEAF
    challenge = wrong.find()
    assert challenge is not None
    with reverts("disputes: not the challenger"):
        fixture.open(challenge, ANSWERER, driver.number)
    names = [event.name for event in driver.rule(challenge).events]
    assert names == ["DisputeEnded", "Refuted", "Penalized", "Elected"]
    assert credits(driver, driver.challenger) == BOND + stake // 4
    check_balance(driver)


def test_a_ruling_is_at_the_disputed_leaf(fixture: ProposalFixture, right: Evidence) -> None:
    """Nobody rules elsewhere, nor before the leaf is shown; who rules on what is right loses its bond."""
    driver = DisputeDriver(fixture, right, Trees.MODEL)
    driver.open()
    driver.answer()
    weights = WeightsChallenge(right.candidate, right.tally, tuple(right.words), right.samples)
    elsewhere: list[Challenge] = [right.sum_challenge(0, 0), right.row_challenge(2, 0, 0), weights]
    for challenge in elsewhere:
        with reverts("challenges: not what is disputed"):
            driver.rule(challenge)
    driver.pursue(0)
    with reverts("disputes: not what is due"):
        driver.rule(right.sum_challenge(0, 0))
    driver.go_down(1)
    before, mine = driver.federation.money(), credits(driver, author(driver))
    for challenge in elsewhere:
        with reverts("challenges: not what is disputed"):
            driver.rule(challenge)
    names = [event.name for event in driver.rule(right.sum_challenge(1, 0)).events]
    assert names == ["ChallengeFailed", "DisputeEnded"]
    assert driver.federation.money()[3] == before[3] + BOND - BOND // 2
    assert credits(driver, author(driver)) == mine + BOND // 2
    with reverts("disputes: none is open"):
        driver.rule(right.sum_challenge(1, 0))


def test_the_weights_are_ruled_on_once_they_are_shown(fixture: ProposalFixture, right: Evidence) -> None:
    wrong = with_parts(right, weights=weights_digest([*right.samples[:-1], 1]))
    driver = DisputeDriver(fixture, wrong, Trees.ROWS)
    driver.open()
    challenge = wrong.find()
    assert challenge is not None
    with reverts("disputes: not what is due"):
        driver.rule(challenge)
    driver.answer()
    driver.answer()
    assert "Refuted" in [event.name for event in driver.rule(challenge).events]


def test_another_refutes_it_meanwhile_and_the_bonds_go_back(
    fixture: ProposalFixture, wrong: Evidence
) -> None:
    driver = DisputeDriver(fixture, wrong, Trees.MODEL)
    driver.open()
    challenge = wrong.find()
    assert challenge is not None
    other = account("late", 1)
    sealed = fixture.announce(challenge, other)
    before, stake = credits(driver, other), fixture.stake(0)
    fixture.send(challenge)
    with reverts("disputes: none is open"):
        driver.send("answer", [OTHER] * 175)
    check_bond_goes_back(driver)
    (event,) = driver.federation.send(ANSWERER, "settle", other.address, sealed).events
    assert event.args["returned"]
    assert credits(driver, other) == before + BOND
    assert credits(driver, driver.challenger) == stake // 4 + 2 * BOND
    check_balance(driver)
