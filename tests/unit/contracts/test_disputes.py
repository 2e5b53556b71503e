"""disputes.vy: each move, what it costs whom, and every reason why it is refused."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from bcfl.errors import ChallengeError
from bcfl.protocol import disputes, merkle
from bcfl.protocol.challenges import Form, Trees, rows_digest
from bcfl.protocol.evidence import Evidence, Leaves
from bcfl.protocol.hashing import keccak
from bcfl.protocol.types import Phase, Rule
from testkit.challenges import lone_place, terms_of
from testkit.dispute_driver import ANSWERER, DisputeDriver
from testkit.forged_proposals import case_of, with_model, with_parts
from testkit.harness import ETHER, TERMS, reverts
from testkit.proposal_fixture import ProposalFixture
from tests.unit.contracts.dispute_checks import (
    OTHER,
    check_bond_and_proposal,
    check_bond_goes_back,
    check_deadline_and_phase,
)

DEEP = PROPOSAL_TERMS = replace(
    TERMS, parameters=16 * 700, leaf_lanes=16, max_updates=64
)  # 700 leaves, depth 10


@pytest.fixture
def right(fixture: ProposalFixture) -> Evidence:
    return fixture.evidence(5, [True] * 3)


def credits(driver: DisputeDriver, account: Any) -> int:
    return int(driver.federation.contract.call("credits", account.address))


@pytest.mark.parametrize("tree", Trees)
def test_a_right_proposal_is_shown_to_the_leaf_and_stands(
    fixture: ProposalFixture, right: Evidence, tree: Trees
) -> None:
    driver = DisputeDriver(fixture, right, tree)
    clock, money_before = driver.federation.clock, driver.federation.money()
    driver.open()
    assert driver.federation.money()[2] == money_before[2] + DEEP.challenge_bond
    if tree is Trees.ROWS:
        driver.answer()
        driver.pursue(0)
    driver.answer()
    driver.pursue(174)
    driver.answer()
    driver.pursue(3)
    receipt = driver.answer()
    assert [event.name for event in receipt.events] == ["LeafShown", "DisputeEnded"]
    course = driver.course
    assert course.leaf is not None
    assert course.end_time is not None
    c, last = right.candidate, right.updates[-1].root
    root = {Trees.MODEL: c.root, Trees.ROWS: c.rows, Trees.UPDATE: last}[tree]
    assert merkle.climb(keccak(course.leaf), course.state.index, course.above) == root
    money_after = driver.federation.money()
    bond = DEEP.challenge_bond
    assert (money_after[1], money_after[2], money_after[3]) == (
        money_before[1],
        money_before[2] + bond // 2,
        money_before[3] + bond - bond // 2,
    )
    assert money_after[0] == sum(money_after[1:])
    assert credits(driver, ANSWERER) == bond // 2
    duration = course.end_time - course.state.since
    assert driver.federation.clock.deadline == clock.deadline + duration + DEEP.answer_seconds


@pytest.mark.parametrize("tree", Trees)
def test_nobody_answers(fixture: ProposalFixture, right: Evidence, tree: Trees) -> None:
    driver = DisputeDriver(fixture, right, tree)
    federation, leader = driver.federation, driver.federation.miner_keys[0].address
    driver.open()
    money_before = federation.money()
    with reverts("disputes: not yet due"):
        driver.expire()
    federation.chain.warp(driver.state.due)
    with reverts("disputes: move too late"):
        driver.answer()
    driver.votes()
    with reverts("proposals: not the votes of this round"):
        driver.send("expire", [], [])
    receipt = driver.expire()
    assert [e.name for e in receipt.events] == ["Refuted", "Penalized", "Elected", "DisputeEnded"]
    assert receipt.events[0].args == {
        "round": 1, "leader": leader, "challenger": federation.outsider.address, "form": Form.DISPUTE,
    }  # fmt: skip
    money_after = federation.money()
    assert money_after[1:] == (
        money_before[1] - ETHER,
        money_before[2] + ETHER // 2,
        money_before[3] + ETHER // 2,
    )
    assert money_after[0] == sum(money_after[1:])
    assert credits(driver, federation.outsider) == ETHER // 2 + DEEP.challenge_bond
    assert federation.clock.phase is Phase.PROPOSE
    with reverts("disputes: none is open"):
        driver.expire()


def test_the_challenger_is_silent(fixture: ProposalFixture, right: Evidence) -> None:
    driver = DisputeDriver(fixture, right, Trees.MODEL)
    driver.open()
    driver.answer()
    driver.federation.chain.warp(driver.state.due)
    with reverts("disputes: move too late"):
        driver.pursue(0)
    (event,) = driver.expire().events
    assert (event.name, event.args["answerer"]) == ("DisputeEnded", ANSWERER.address)
    assert credits(driver, ANSWERER) == DEEP.challenge_bond // 2
    assert driver.federation.clock.phase is Phase.ATTEST


def test_what_a_dispute_is_opened_with(fixture: ProposalFixture, right: Evidence) -> None:
    driver = DisputeDriver(fixture, right, Trees.MODEL)
    check_bond_and_proposal(driver)
    with reverts("disputes: no such tree"):
        driver.open(tree=2)
    with reverts("disputes: none is open"):
        driver.send("answer_rows", OTHER, OTHER)
    driver.open()
    with reverts("disputes: one is open"):
        driver.open()
    fixture.put_proposal(right.context)
    check_deadline_and_phase(driver)


def test_a_move_out_of_turn(fixture: ProposalFixture, right: Evidence) -> None:
    driver = DisputeDriver(fixture, right, Trees.ROWS)
    driver.open()
    leaf = b"\0" + right.rows.leaf(0)
    c = right.candidate
    reason = "disputes: not what is due"
    for function, args in {
        "answer": (driver.nodes(),),
        "answer_leaf": (leaf,),
        "pursue": (0, c.rows, []),
    }.items():
        with reverts(reason):
            driver.send(function, *args)
    driver.answer()
    for function, args in {
        "answer_rows": (c.weights, c.rows),
        "answer": (driver.nodes(),),
        "answer_leaf": (leaf,),
    }.items():
        with reverts(reason):
            driver.send(function, *args)
    with reverts("disputes: not the challenger"):
        driver.send("pursue", 0, c.rows, [])
    driver.pursue(0)
    with reverts(reason):
        driver.send("answer_leaf", leaf)
    driver.answer()
    driver.pursue(2)
    driver.answer()
    driver.pursue(0)
    with reverts(reason):
        driver.send("answer", [driver.state.node])


def test_what_does_not_fit(fixture: ProposalFixture, right: Evidence) -> None:
    driver = DisputeDriver(fixture, right, Trees.ROWS)
    driver.open()
    with reverts("disputes: not the disputed node"):
        driver.send("answer_rows", right.candidate.rows, right.candidate.weights)
    driver.answer()
    driver.pursue(0)
    nodes = driver.nodes()
    assert len(nodes) == 175  # 700 leaves in groups of four
    for wrong in (nodes[:-1], [*nodes, merkle.padding(2)], []):
        with reverts("disputes: not all of its nodes"):
            driver.send("answer", wrong)
    with reverts("disputes: not the disputed node"):
        driver.send("answer", [OTHER, *nodes[1:]])
    driver.answer()
    proof = list(driver.course.proof(3))
    outsider = driver.federation.outsider
    for reason, args in (
        ("disputes: proof of another length", (3, nodes[3], proof[:-1])),
        ("disputes: no such node", (175, merkle.padding(2), list(driver.course.proof(175)))),
        ("disputes: no such node", (256 + 3, nodes[3], proof)),
        ("disputes: not a node that was shown", (3, OTHER, proof)),
        ("disputes: not a node that was shown", (2, nodes[3], proof)),
    ):
        with reverts(reason):
            driver.federation.send(outsider, "pursue", *args)
    driver.pursue(3)
    driver.answer()
    driver.pursue(1)
    with reverts("disputes: not the disputed node"):
        driver.send("answer_leaf", b"\0" + right.rows.leaf(12))
    node = b"\1" + b"".join(driver.course.nodes or (OTHER, OTHER))
    fixture.storage.put(("disputes.node", None, int.from_bytes(keccak(node), "big")))
    with reverts("challenges: not a leaf"):
        driver.send("answer_leaf", node)


def test_a_wrong_leaf_is_shown_and_challenged(fixture: ProposalFixture, right: Evidence) -> None:
    """The tree's owner answers to the end; then there is time for the challenge, however late."""
    model = case_of(right).model()
    model[16 * 650 + 5] ^= 1
    wrong = with_model(right, model)
    assert wrong is not None
    driver = DisputeDriver(fixture, wrong, Trees.MODEL)
    driver.federation.chain.warp(driver.federation.clock.deadline - 2)
    driver.open()
    honest_driver = DisputeDriver.__new__(DisputeDriver)
    honest_driver.__dict__ |= driver.__dict__
    honest_driver.tree = merkle.build(right.model.vectors[0], 16)  # type: ignore[attr-defined]
    while driver.course.end_time is None:
        honest_nodes = honest_driver.nodes()
        driver.answer()
        if driver.course.end_time is None:
            place = disputes.first_mismatch(driver.course.nodes, honest_nodes)
            assert place is not None
            driver.pursue(place)
    assert driver.state.index == 650
    assert driver.federation.clock.deadline >= driver.federation.chain.now() + DEEP.answer_seconds
    challenge = wrong.find()
    assert challenge is not None
    assert fixture.ruling(challenge) is True


def test_padding_that_is_none_cannot_be_shown(fixture: ProposalFixture, right: Evidence) -> None:
    leaves = [right.rows.leaf(i) for i in range(700)]
    driver = DisputeDriver(fixture, with_parts(right, rows=Leaves([*leaves, leaves[0]], 700)), Trees.ROWS)
    driver.open()
    driver.answer()
    driver.pursue(0)
    level = driver.source.tree.levels[2]
    digests = [level[i : i + 32] for i in range(0, len(level), 32)]
    for nodes, reason in (
        (digests[:175], "disputes: not the disputed node"),
        (digests, "disputes: not all of its nodes"),
    ):
        with reverts(reason):
            driver.send("answer", nodes)


def test_another_refutes_it_meanwhile_and_the_bond_goes_back(
    fixture: ProposalFixture, right: Evidence
) -> None:
    model = case_of(right).model()
    model[0] ^= 1
    wrong = with_model(right, model)
    assert wrong is not None
    driver = DisputeDriver(fixture, wrong, Trees.MODEL)
    driver.open()
    money_before = credits(driver, driver.federation.outsider)
    challenge = wrong.find()
    assert challenge is not None
    fixture.send(challenge)
    with reverts("disputes: none is open"):
        driver.send("answer", [OTHER] * 175)
    check_bond_goes_back(driver)
    prize = ETHER // 2 + DEEP.challenge_bond
    assert credits(driver, driver.federation.outsider) == money_before + prize + DEEP.challenge_bond


def test_a_dispute_that_was_forgotten_is_paid_back_when_the_next_one_opens(
    fixture: ProposalFixture, right: Evidence
) -> None:
    driver = DisputeDriver(fixture, right, Trees.MODEL)
    driver.open()
    fixture.storage.put(
        ("disputes.proposal", None, 1), ("election.lead", None, fixture.storage.get("election.lead") % 2**255)
    )
    driver.open()
    assert credits(driver, driver.federation.outsider) == DEEP.challenge_bond
    balance, *parts = driver.federation.money()
    assert balance == sum(parts)


@pytest.mark.parametrize("tree", Trees)
def test_the_twin_refuses_the_same(fixture: ProposalFixture, right: Evidence, tree: Trees) -> None:
    """Random disputes, in which half of the moves are wrong: the twin and the contract agree on each."""
    rng = Random(int(tree))
    for _ in range(4):
        driver = DisputeDriver(fixture, right, tree)
        driver.open()
        for _ in range(12):
            if driver.course.end_time is not None:
                break
            function, args, account = random_move(rng, driver)
            ruling = by_the_twin(driver, function, args, account.address)
            if ruling is None:
                driver.federation.send(account, function, *args)
            else:
                with reverts(ruling):
                    driver.federation.send(account, function, *args)


def random_move(rng: Random, driver: DisputeDriver) -> tuple[str, tuple[Any, ...], Any]:
    state, evidence, outsider = driver.state, driver.evidence, driver.federation.outsider
    is_changed = rng.random() < 0.4
    if not state.answerable and rng.random() < 0.8:
        course = driver.course
        child = rng.randrange(len(course.nodes))
        proof = list(course.proof(child))
        if is_changed:
            child, proof = rng.choice([(child + 1, proof), (child ^ 1 << 9, proof), (child, proof[1:])])
        return "pursue", (child, course.nodes[child % len(course.nodes)], proof), outsider
    moves: list[tuple[str, tuple[Any, ...]]] = [
        ("answer_rows", (evidence.candidate.weights, evidence.candidate.rows)),
        ("answer", (driver.nodes(),)),
        ("answer_leaf", (b"\0" + driver.source.leaf(state.index),)),
    ]
    place = 0 if state.shown == disputes.UNOPENED else 1 if state.height else 2
    return (*moves[rng.randrange(3) if is_changed else place], ANSWERER)


def by_the_twin(driver: DisputeDriver, function: str, args: tuple[Any, ...], account: str) -> str | None:
    """Why the twin refuses a move, None if it takes it."""
    now = driver.federation.chain.now()
    terms = () if function == "answer_leaf" else (driver.terms,)
    try:
        getattr(driver.state, function)(*terms, account, now, *args)
    except ChallengeError as error:
        return str(error)
    return None


def test_the_largest_leaf_that_the_terms_allow() -> None:
    """Its bytes go into calldata and log: within the cap of one transaction's gas."""
    fixture = ProposalFixture(terms_of(1024, 2**40 - 1, 48, 16, Rule.MEAN), miners=64)
    context, challenge = lone_place(fixture, 1024)
    fixture.put_proposal(context)
    candidate = challenge.candidate
    rows = rows_digest(candidate.weights, candidate.rows)
    federation, bond = fixture.federation, fixture.terms.challenge_bond
    fields = (candidate.root, candidate.cid, rows, candidate.layer, Trees.MODEL)
    federation.send(federation.outsider, "dispute", *fields, value=bond)
    node = int.from_bytes(keccak(challenge.row), "big")
    fixture.storage.put(("disputes.node", None, node), ("disputes.height", None, 0))
    receipt = federation.send(ANSWERER, "answer_leaf", challenge.row)
    assert receipt.events[0].args["content"] == challenge.row
    assert receipt.gas_used < 2**24
