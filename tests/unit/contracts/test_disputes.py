"""disputes.vy: each move, what it costs whom, and every reason why it is refused."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from bcfl.errors import ChallengeError
from bcfl.protocol import merkle
from bcfl.protocol.challenges import Form, Trees
from bcfl.protocol.disputes import State
from bcfl.protocol.docket import answers_due
from bcfl.protocol.evidence import Evidence, Leaves
from bcfl.protocol.hashing import keccak
from bcfl.protocol.limits import TRANSACTION_GAS
from bcfl.protocol.types import Phase
from testkit.dispute_driver import ANSWERER, NODE, DisputeDriver
from testkit.forged_proposals import with_parts
from testkit.harness import CHALLENGED, reverts
from testkit.largest_calls import answers
from testkit.proposal_fixture import ProposalFixture
from tests.unit.contracts.dispute_checks import (
    OTHER,
    check_balance,
    check_bond_and_proposal,
    check_bond_goes_back,
    check_window_and_phase,
)

DEEP = PROPOSAL_TERMS = replace(
    CHALLENGED, parameters=16 * 700, leaf_lanes=16, max_updates=64
)  # 700 leaves, depth 10
BOND = DEEP.challenge_bond


@pytest.fixture
def right(fixture: ProposalFixture) -> Evidence:
    return fixture.evidence(5, [True] * 3)


def credits(driver: DisputeDriver, account: Any) -> int:
    return int(driver.federation.contract.call("credits", account.address))


def author(driver: DisputeDriver) -> Any:
    return driver.federation.miner_keys[0]


@pytest.mark.parametrize("tree", Trees)
def test_a_right_proposal_is_shown_to_the_leaf_and_stands(
    fixture: ProposalFixture, right: Evidence, tree: Trees
) -> None:
    """Then the challenger is silent: half of its bond is the author's, whoever answered."""
    driver = DisputeDriver(fixture, right, tree)
    deadline, before = driver.federation.clock.deadline, driver.federation.money()
    driver.open()
    assert driver.federation.money()[2] == before[2] + BOND
    driver.go_down(4 * 174 + 3)
    course = driver.course
    assert course.leaf is not None
    assert course.state.state is State.RULE
    c, last = right.candidate, right.updates[-1].root
    root = {Trees.MODEL: c.root, Trees.ROWS: c.rows, Trees.UPDATE: last}[tree]
    assert merkle.climb(keccak(course.leaf), course.state.index, course.above) == root
    with reverts("disputes: not yet due"):
        driver.expire()
    driver.federation.chain.warp(course.state.deadline)
    with reverts("disputes: move too late"):
        driver.rule(right.sum_challenge(course.state.index, 0))
    (event,) = driver.expire().events
    assert (event.name, event.args["returned"]) == ("DisputeEnded", False)
    after = driver.federation.money()
    assert after[1:] == (before[1], before[2] + BOND // 2, before[3] + BOND - BOND // 2)
    check_balance(driver)
    assert (credits(driver, ANSWERER), credits(driver, author(driver))) == (0, BOND // 2)
    assert driver.federation.clock.deadline == deadline  # a dispute moves nothing but the end of the wait


@pytest.mark.parametrize("tree", Trees)
def test_nobody_answers(fixture: ProposalFixture, right: Evidence, tree: Trees) -> None:
    """Half of the author's stake: silence proves less than a wrong place."""
    driver = DisputeDriver(fixture, right, tree)
    fixture.stand(right.context, 0b001)
    federation, leader, stake = driver.federation, author(driver).address, fixture.stake(0)
    zero = "0x" + "00" * 20
    driver.open()
    before, burnt = federation.money(), federation.balance(zero)
    with reverts("disputes: not yet due"):
        driver.expire()
    federation.chain.warp(driver.state.due)
    with reverts("disputes: move too late"):
        driver.answer()
    with reverts("disputes: window open"):
        driver.expire()
    driver.wait_out()
    fixture.votes()
    with reverts("proposals: not the votes of this round"):
        driver.send("expire", [], [])
    receipt = driver.expire()
    assert [e.name for e in receipt.events] == ["DisputeEnded", "Refuted", "Penalized", "Elected"]
    assert receipt.events[1].args == {
        "round": 1, "leader": leader, "challenger": federation.outsider.address, "form": Form.SILENCE,
    }  # fmt: skip
    after, taken = federation.money(), stake // 2
    assert after[1:] == (before[1] - taken, before[2] + taken // 4, before[3])
    assert federation.balance(zero) == burnt + taken - taken // 4
    check_balance(driver)
    assert credits(driver, federation.outsider) == taken // 4 + BOND
    assert federation.clock.phase is Phase.PROPOSE
    with reverts("disputes: none is open"):
        driver.expire()


@pytest.mark.parametrize(("slash", "part"), [(2500, 1000), (1000, 1000), (10_000, 1000)])
def test_who_attested_pays_a_tenth_for_silence(slash: int, part: int) -> None:
    fixture = ProposalFixture(replace(DEEP, attest_slash=slash), miners=5)
    driver = DisputeDriver(fixture, fixture.evidence(5, [True] * 3), Trees.MODEL)
    fixture.stand(driver.evidence.context, 0b00011)
    stake = fixture.stake(0)
    driver.open()
    driver.wait_out()
    amounts = [e.args["amount"] for e in driver.expire().events if e.name == "Penalized"]
    assert amounts == [stake // 2, stake * part // 10_000]
    check_balance(driver)


def test_the_challenger_is_silent(fixture: ProposalFixture, right: Evidence) -> None:
    driver = DisputeDriver(fixture, right, Trees.MODEL)
    driver.open()
    driver.answer()
    driver.federation.chain.warp(driver.state.deadline)
    with reverts("disputes: move too late"):
        driver.pursue(0)
    (event,) = driver.expire().events
    assert (event.name, event.args["returned"]) == ("DisputeEnded", False)
    assert credits(driver, author(driver)) == BOND // 2
    assert driver.federation.clock.phase is Phase.ATTEST


def test_the_challenger_has_the_time_of_one_answer_for_all_its_moves(
    fixture: ProposalFixture, right: Evidence
) -> None:
    driver = DisputeDriver(fixture, right, Trees.MODEL)
    driver.open()
    driver.answer()
    driver.federation.wait(DEEP.answer_seconds - 100)
    driver.pursue(0)
    left = driver.state.left
    assert 0 < left <= 100
    driver.federation.wait(DEEP.answer_seconds - 50)  # the answer's own time, from the challenger's move on
    driver.answer()
    driver.federation.wait(left)
    with reverts("disputes: move too late"):
        driver.pursue(0)
    driver.expire()
    assert not driver.course.returned


def test_what_a_dispute_is_opened_with(fixture: ProposalFixture, right: Evidence) -> None:
    driver = DisputeDriver(fixture, right, Trees.MODEL)
    check_bond_and_proposal(driver)
    with reverts("disputes: no such tree"):
        driver.open(tree=2)
    for function, args in (("answer_rows", (OTHER, OTHER)), ("expire", ([], []))):
        with reverts("disputes: none is open"):
            driver.send(function, *args)
    with reverts("disputes: none is open"):
        driver.send("pursue", 0, OTHER, [])
    driver.open()
    check_window_and_phase(driver)


def test_a_move_out_of_turn(fixture: ProposalFixture, right: Evidence) -> None:
    driver = DisputeDriver(fixture, right, Trees.ROWS)
    driver.open()
    leaf, c, outsider = b"\0" + right.rows.leaf(0), right.candidate, driver.challenger
    reason = "disputes: not what is due"
    for function, args in {"answer": (driver.nodes(),), "answer_leaf": (leaf,)}.items():
        with reverts(reason):
            driver.send(function, *args)
    with reverts(reason):
        driver.send("pursue", 0, c.rows, [], sender=outsider)
    driver.answer()
    with reverts(reason):
        driver.send("answer_rows", c.weights, c.rows)
    driver.answer()
    with reverts(reason):
        driver.send("answer", driver.nodes())
    with reverts("disputes: not the challenger"):
        driver.send("pursue", 0, c.rows, [])
    driver.pursue(2)
    with reverts(reason):
        driver.send("answer_leaf", leaf)
    driver.answer()
    driver.pursue(0)
    with reverts(reason):
        driver.send("answer", [driver.state.node])
    driver.answer()
    with reverts(reason):
        driver.send("pursue", 0, driver.state.node, [], sender=outsider)


def test_what_does_not_fit(fixture: ProposalFixture, right: Evidence) -> None:
    driver = DisputeDriver(fixture, right, Trees.ROWS)
    driver.open()
    with reverts("disputes: not the disputed node"):
        driver.send("answer_rows", right.candidate.rows, right.candidate.weights)
    driver.answer()
    nodes = driver.nodes()
    assert len(nodes) == 175  # 700 leaves in groups of four
    for wrong in (nodes[:-1], [*nodes, merkle.padding(2)], []):
        with reverts("disputes: not all of its nodes"):
            driver.send("answer", wrong)
    with reverts("disputes: not the disputed node"):
        driver.send("answer", [OTHER, *nodes[1:]])
    driver.answer()
    proof = list(driver.course.proof(3))
    for reason, args in (
        ("disputes: proof of another length", (3, nodes[3], proof[:-1])),
        ("disputes: no such node", (175, merkle.padding(2), list(driver.course.proof(175)))),
        ("disputes: no such node", (256 + 3, nodes[3], proof)),
        ("disputes: not a node that was shown", (3, OTHER, proof)),
        ("disputes: not a node that was shown", (2, nodes[3], proof)),
    ):
        with reverts(reason):
            driver.send("pursue", *args, sender=driver.challenger)
    driver.pursue(3)
    driver.answer()
    driver.pursue(1)
    with reverts("disputes: not the disputed node"):
        driver.send("answer_leaf", b"\0" + right.rows.leaf(12))
    node = b"\1" + b"".join(driver.course.nodes or (OTHER, OTHER))
    fixture.storage.put_field("disputes.disputes", driver.number, NODE, int.from_bytes(keccak(node), "big"))
    with reverts("challenges: not a leaf"):
        driver.send("answer_leaf", node)


def test_padding_that_is_none_cannot_be_shown(fixture: ProposalFixture, right: Evidence) -> None:
    leaves = [right.rows.leaf(i) for i in range(700)]
    driver = DisputeDriver(fixture, with_parts(right, rows=Leaves([*leaves, leaves[0]], 700)), Trees.ROWS)
    driver.open()
    driver.answer()
    level = driver.source.tree.levels[2]
    digests = [level[i : i + 32] for i in range(0, len(level), 32)]
    for nodes, reason in (
        (digests[:175], "disputes: not the disputed node"),
        (digests, "disputes: not all of its nodes"),
    ):
        with reverts(reason):
            driver.send("answer", nodes)


def test_disputes_run_side_by_side(fixture: ProposalFixture, right: Evidence) -> None:
    """One that is answered, one that is not: neither waits for the other."""
    fixture.put_proposal(right.context)
    drivers = [DisputeDriver(fixture, right, tree, stands=True) for tree in Trees]
    for driver in drivers:
        driver.open()
    assert [driver.number for driver in drivers] == [1, 2, 3]
    drivers[1].answer()
    drivers[1].answer()
    drivers[0].answer()
    drivers[0].pursue(0)
    assert [driver.state.state for driver in drivers] == [State.ANSWER, State.PICK, State.ANSWER]
    drivers[2].wait_out()
    assert drivers[2].expire().events[1].name == "Refuted"
    for driver in drivers[:2]:
        check_bond_goes_back(driver)


def test_too_many_disputes() -> None:
    """Whoever could pay the price of 4,000 that are open at once."""
    tiny = replace(DEEP, min_stake=10**6, vote_penalty=10**5, leader_penalty=10**4, reward=10**6)
    fixture = ProposalFixture(replace(tiny, challenge_bond=10**5))
    driver = DisputeDriver(fixture, fixture.evidence(5, [True] * 3), Trees.MODEL)
    driver.open()
    word = fixture.storage.get("docket.word")
    fixture.storage.put(("docket.word", None, word & ~0xFFF | 3_999))
    driver.open()
    with reverts("disputes: too many"):
        driver.open()


def test_longest_dispute_has_as_many_answers_as_counted(fixture: ProposalFixture, right: Evidence) -> None:
    driver = DisputeDriver(fixture, right, Trees.ROWS)
    driver.open()
    driver.go_down(0)
    events = [e.name for e in driver.federation.contract.events(driver.opening_block)]
    assert events.count("NodesShown") + events.count("LeafShown") == answers_due(DEEP)


@pytest.mark.parametrize("tree", Trees)
def test_the_twin_refuses_the_same(fixture: ProposalFixture, right: Evidence, tree: Trees) -> None:
    """Random disputes, in which many of the moves are wrong: the twin and the contract agree on each."""
    rng = Random(int(tree))
    for _ in range(4):
        driver = DisputeDriver(fixture, right, tree)
        driver.open()
        for _ in range(12):
            if driver.state.state is State.RULE:
                break
            function, args, sender = random_move(rng, driver)
            ruling = by_the_twin(driver, function, args, sender.address)
            if ruling is None:
                driver.send(function, *args, sender=sender)
            else:
                with reverts(ruling):
                    driver.send(function, *args, sender=sender)


def random_move(rng: Random, driver: DisputeDriver) -> tuple[str, tuple[Any, ...], Any]:
    state, evidence = driver.state, driver.evidence
    is_changed = rng.random() < 0.4
    if not state.is_answerable and rng.random() < 0.8:
        course = driver.course
        child = rng.randrange(len(course.nodes))
        proof = list(course.proof(child))
        if is_changed:
            child, proof = rng.choice([(child + 1, proof), (child ^ 1 << 9, proof), (child, proof[1:])])
        sender = driver.challenger if rng.random() < 0.9 else ANSWERER
        return "pursue", (child, course.nodes[child % len(course.nodes)], proof), sender
    moves: list[tuple[str, tuple[Any, ...]]] = [
        ("answer_rows", (evidence.candidate.weights, evidence.candidate.rows)),
        ("answer", (driver.nodes(),)),
        ("answer_leaf", (b"\0" + driver.source.leaf(state.index),)),
    ]
    place = 0 if state.state is State.ROWS else 1 if state.height else 2
    return (*moves[rng.randrange(3) if is_changed else place], ANSWERER)


def by_the_twin(driver: DisputeDriver, function: str, args: tuple[Any, ...], account: str) -> str | None:
    """Return why the twin refuses a move, None if it takes it."""
    now = driver.federation.chain.now()
    who = (account,) if function == "pursue" else ()
    try:
        getattr(driver.state, function)(driver.terms, *who, now, *args)
    except ChallengeError as error:
        return str(error)
    return None


@pytest.mark.evm("gas of a transaction")
def test_the_largest_answers_fit_a_transaction() -> None:
    """Their bytes go into calldata and log: 256 nodes, and a leaf longer than any that the terms allow."""
    assert max(answers().values()) < TRANSACTION_GAS
