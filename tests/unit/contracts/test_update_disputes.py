"""disputes.vy: an accepted update whose bytes nobody gives, and every attempt to ask for what is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from bcfl.protocol import merkle
from bcfl.protocol.challenges import Form, Trees
from bcfl.protocol.disputes import State, update_args
from bcfl.protocol.evidence import Evidence, Vectors
from bcfl.protocol.limits import USUAL_LEVEL
from bcfl.protocol.types import Phase
from bcfl.protocol.verification import tally_bytes
from testkit.dispute_driver import ANSWERER, DisputeDriver
from testkit.forged_proposals import assemble, case_of, with_model
from testkit.harness import CHALLENGED, reverts
from testkit.proposal_fixture import ProposalFixture
from tests.unit.contracts.dispute_checks import (
    OTHER,
    check_balance,
    check_bond_and_proposal,
    check_bond_goes_back,
    check_window_and_phase,
)

SMALL = PROPOSAL_TERMS = replace(
    CHALLENGED, parameters=16 * 40, leaf_lanes=16, max_updates=64
)  # 40 leaves, depth 6
REJECTED = 2


@pytest.fixture
def right(fixture: ProposalFixture) -> Evidence:
    """A right proposal over 34 updates, two groups of words, all but one accepted."""
    return fixture.evidence(11, [place != REJECTED for place in range(34)])


def at(driver: DisputeDriver, position: int) -> dict[str, Any]:
    """The arguments that open the update at a position."""
    evidence = driver.evidence
    args = update_args(evidence.tally, evidence.words, position, evidence.updates[position])
    return dict(zip(("position", "tally", "opening", "group"), args, strict=True))


@pytest.mark.parametrize("position", [0, 1, 31, 32, 33])
def test_each_accepted_update_can_be_asked_for(
    fixture: ProposalFixture, right: Evidence, position: int
) -> None:
    driver = DisputeDriver(fixture, right, Trees.UPDATE)
    (event,) = driver.open(**at(driver, position)).events
    assert event.args["tree"] == Trees.UPDATE + position
    state = driver.state
    assert (state.position, state.node, state.height) == (position, right.updates[position].root, 6)
    # Its own leaf is the answer, to the end.
    vectors = Vectors([right.lanes[position - (position > REJECTED)]], 16)
    driver.send("answer", nodes_of(vectors))
    driver.pursue(39)
    with reverts("disputes: not the disputed node"):
        driver.send("answer_leaf", b"\0" + vectors.leaf(38))
    with reverts("disputes: not the disputed node"):
        driver.send("answer_leaf", b"\0" + right.rows.leaf(39))
    receipt = driver.send("answer_leaf", b"\0" + vectors.leaf(39))
    assert [e.name for e in receipt.events] == ["LeafShown"]
    assert driver.state.state is State.RULE


def test_what_is_asked_for_has_to_be_an_accepted_update(fixture: ProposalFixture, right: Evidence) -> None:
    driver = DisputeDriver(fixture, right, Trees.UPDATE)
    place, opening = "challenges: no such place", "challenges: not the update's opening"
    updates, tally = "challenges: not the round's updates", "challenges: not the round's tally"
    other_tally = replace(right.tally, levels=(USUAL_LEVEL,) * 34)
    attempts: list[tuple[str, dict[str, Any]]] = [
        (place, at(driver, REJECTED)),
        (place, at(driver, 0) | {"position": 34}),
        (place, at(driver, 0) | {"position": 255}),
        (place, at(driver, 0) | {"position": 256}),
        (place, at(driver, 0) | {"position": 2**255}),
        (opening, at(driver, 1) | {"position": 0}),  # the opening of another update
        (opening, at(driver, 1) | {"position": 31}),
        (updates, at(driver, 1) | {"position": 33}),  # of another group
        (updates, at(driver, 32) | {"position": 0}),
        (updates, at(driver, 0) | {"group": right.words[:31]}),
        (updates, at(driver, 0) | {"group": []}),
        (updates, at(driver, 33) | {"group": right.words[32:33]}),
        (opening, at(driver, 0) | {"opening": (OTHER, *at(driver, 0)["opening"][1:])}),
        (opening, at(driver, 0) | {"opening": (*at(driver, 0)["opening"][:2], 0)}),
        (tally, at(driver, REJECTED) | {"tally": tally_bytes(other_tally)}),
        (tally, at(driver, 0) | {"tally": at(driver, 0)["tally"] + bytes(32)}),
        ("proposals: another accepted set", at(driver, 0) | {"accepted": OTHER}),
    ]
    for reason, changes in attempts:
        with reverts(reason):
            driver.open(**changes)
    driver.open()


def test_what_every_dispute_insists_on(fixture: ProposalFixture, right: Evidence) -> None:
    driver = DisputeDriver(fixture, right, Trees.UPDATE)
    check_bond_and_proposal(driver)
    driver.open()
    with reverts("proposals: not undisputed"):
        driver.federation.send(ANSWERER, "finalize", *driver.proposal)


def test_too_late_and_not_in_this_phase(fixture: ProposalFixture, right: Evidence) -> None:
    check_window_and_phase(DisputeDriver(fixture, right, Trees.UPDATE))


def test_the_updates_of_an_earlier_round_are_no_longer_to_be_shown(
    fixture: ProposalFixture, right: Evidence
) -> None:
    """After finality another proposal and another tally stand; what was opened then does not open now."""
    driver = DisputeDriver(fixture, right, Trees.UPDATE)
    later = assemble(
        Random(12),
        SMALL,
        right.parent_model,
        right.lanes,
        right.tally.accepted,
        replace(fixture.setting, round=2),
    )
    fixture.put_proposal(later.context)
    with reverts("proposals: another accepted set"):
        driver.open()
    accepted = later.context.accepted
    with reverts("proposals: not what was proposed"):
        driver.open(accepted=accepted, tally=tally_bytes(later.tally), **opened_later(driver, later))


def opened_later(driver: DisputeDriver, evidence: Evidence) -> dict[str, Any]:
    place = driver.position
    _, _, opening, group = update_args(evidence.tally, evidence.words, place, evidence.updates[place])
    return {"opening": opening, "group": group}


def test_silence_refutes_and_costs_half_of_the_stake(fixture: ProposalFixture, right: Evidence) -> None:
    driver = DisputeDriver(fixture, right, Trees.UPDATE)
    driver.open()
    before, stake = driver.federation.money(), fixture.stake(0)
    driver.wait_out()
    end, refutation, *_ = driver.expire().events
    assert (end.name, end.args["returned"]) == ("DisputeEnded", True)
    assert (refutation.name, refutation.args["form"]) == ("Refuted", Form.SILENCE)
    assert driver.federation.money()[1] == before[1] - stake // 2
    check_balance(driver)
    assert driver.federation.clock.phase is Phase.PROPOSE


def test_rows_are_no_answer_and_only_the_challenger_goes_on(
    fixture: ProposalFixture, right: Evidence
) -> None:
    driver = DisputeDriver(fixture, right, Trees.UPDATE)
    driver.open()
    with reverts("disputes: not what is due"):
        driver.send("answer_rows", right.candidate.weights, right.candidate.rows)
    with reverts("disputes: not what is due"):
        driver.send("answer_leaf", b"\0" + driver.source.leaf(0))
    with reverts("disputes: not the disputed node"):
        driver.send("answer", nodes_of(Vectors([right.lanes[0]], 16)))  # another accepted update
    driver.answer()
    with reverts("disputes: not the challenger"):
        driver.send("pursue", 0, driver.course.nodes[0], list(driver.course.proof(0)))
    with reverts("disputes: no such node"):
        driver.send("pursue", 40, bytes(32), list(driver.course.proof(40)), sender=driver.challenger)


def test_a_challenge_while_an_update_is_disputed_pays_the_bond_back(
    fixture: ProposalFixture, right: Evidence
) -> None:
    model = case_of(right).model()
    model[9] ^= 1
    wrong = with_model(right, model)
    assert wrong is not None
    driver = DisputeDriver(fixture, wrong, Trees.UPDATE)
    driver.open()
    challenge = wrong.find()
    assert challenge is not None
    assert fixture.ruling(challenge) is True
    check_bond_goes_back(driver)


WRONG_LEAVES: list[Callable[[Evidence], bytes]] = [lambda e: e.rows.leaf(0), lambda _: bytes(33)]


@pytest.mark.parametrize("forge", WRONG_LEAVES)
def test_no_other_bytes_are_a_leaf_of_it(
    fixture: ProposalFixture, right: Evidence, forge: Callable[[Evidence], bytes]
) -> None:
    driver = DisputeDriver(fixture, right, Trees.UPDATE)
    driver.open()
    driver.answer()
    driver.pursue(0)
    with reverts("disputes: not the disputed node"):
        driver.send("answer_leaf", b"\0" + forge(right))


def nodes_of(vectors: Vectors) -> list[bytes]:
    """The digests of the 40 leaves of a vector."""
    return [merkle.rows_node(vectors.vectors, vectors.leaf_lanes, 0, place) for place in range(40)]
