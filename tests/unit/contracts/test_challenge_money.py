"""Who gets the money of a challenge and of a dispute where calldata is public: how each attack fails."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bcfl.protocol.challenges import Challenge, Trees
from bcfl.protocol.disputes import State
from bcfl.protocol.docket import (
    answers_due,
    dispute_price,
    longest_dispute_seconds,
    longest_wait_seconds,
    surcharge_after_loss,
    surcharge_at,
    window_end,
)
from bcfl.protocol.evidence import Evidence
from bcfl.protocol.types import Terms
from testkit.dispute_driver import DisputeDriver
from testkit.forged_proposals import case_of, with_model
from testkit.harness import CHALLENGED, Account, account, reverts
from testkit.proposal_fixture import SALT, ProposalFixture
from tests.unit.contracts.dispute_checks import check_balance, check_bond_goes_back

DEEP = PROPOSAL_TERMS = replace(CHALLENGED, parameters=16 * 700, leaf_lanes=16, max_updates=64)
BOND = DEEP.challenge_bond
COPIER = account("late", 1)  # reads every transaction that waits, and is mined first
ALL = 0b111


@pytest.fixture
def right(fixture: ProposalFixture) -> Evidence:
    return fixture.evidence(5, [True] * 3)


@pytest.fixture
def wrong(right: Evidence) -> Evidence:
    return wrong_proposal(right)


def wrong_proposal(right: Evidence) -> Evidence:
    model = case_of(right).model()
    model[7] += 1
    proposal = with_model(right, model)
    assert proposal is not None
    return proposal


def challenge_of(evidence: Evidence) -> Challenge:
    challenge = evidence.find()
    assert challenge is not None
    return challenge


def credit(fixture: ProposalFixture, who: Account) -> int:
    return int(fixture.federation.contract.call("credits", who.address))


def proposal_of(fixture: ProposalFixture, evidence: Evidence) -> tuple[bytes, ...]:
    return DisputeDriver(fixture, evidence, Trees.MODEL, stands=True).proposal


def test_a_copied_challenge_wins_nothing(fixture: ProposalFixture, wrong: Evidence) -> None:
    """Neither the announcement nor the opening is worth anything in another's hand."""
    fixture.put_proposal(wrong.context)
    federation, challenge, stake = fixture.federation, challenge_of(wrong), fixture.stake(0)
    sealed = fixture.announce(challenge)
    federation.send(COPIER, "announce_challenge", sealed, value=BOND)  # the same hash, under its own name
    federation.wait(fixture.part)
    function, args = challenge.call(SALT)  # the opening waits to be mined; the copier reads it
    with reverts("docket: not announced"):
        federation.send(COPIER, function, *args)
    own = fixture.announce(challenge, COPIER)
    with reverts("docket: too early to open"):
        federation.send(COPIER, function, *args)
    federation.send(federation.outsider, function, *args)
    assert credit(fixture, federation.outsider) == BOND + stake // 4
    for announced in (sealed, own):
        federation.send(COPIER, "settle", COPIER.address, announced)
    assert credit(fixture, COPIER) == 2 * BOND  # its bonds, and nothing else
    balance, *parts = federation.money()
    assert balance == sum(parts)


@pytest.mark.parametrize("attested", [0b00001, 0b00011, 0b00111, 0b11111])
def test_who_refutes_itself_gets_back_a_quarter_of_one_stake(attested: int) -> None:
    """A coalition whose accomplice announces first loses all else, and the pool gets none of it."""
    fixture = ProposalFixture(DEEP, miners=5)
    wrong = wrong_proposal(fixture.evidence(5, [True] * 3))
    fixture.put_proposal(wrong.context, attested)
    stake, before = fixture.stake(0), fixture.federation.money()
    fixture.announce(challenge_of(wrong), COPIER)
    fixture.federation.wait(fixture.part)
    fixture.open(challenge_of(wrong), COPIER)
    attesters = attested.bit_count() - 1
    lost = stake + attesters * (stake * DEEP.attest_slash // 10_000)
    assert credit(fixture, COPIER) == BOND + stake // 4
    balance, stakes, owed, pool = fixture.federation.money()
    assert (before[1] - stakes, owed - before[2], pool - before[3]) == (lost, BOND + stake // 4, 0)
    assert balance == stakes + owed + pool


@pytest.mark.parametrize("answer_seconds", [300, 600, 1200])
def test_who_lets_its_own_dispute_run_out_overtakes_no_challenge(answer_seconds: int) -> None:
    """Three collude, one of them disputes at once and nobody answers: silence would cost half as much."""
    terms = replace(DEEP, answer_seconds=answer_seconds, propose_seconds=300)
    fixture = ProposalFixture(terms, miners=5)
    wrong = wrong_proposal(fixture.evidence(5, [True] * 3))
    fixture.put_proposal(wrong.context, ALL)
    federation, challenge, stake = fixture.federation, challenge_of(wrong), fixture.stake(0)
    driver = DisputeDriver(fixture, wrong, Trees.MODEL, COPIER, stands=True)
    driver.open()
    federation.chain.warp(driver.window_end - 10)
    if answer_seconds < terms.challenge_seconds:
        with reverts("disputes: window open"):
            driver.expire()
    fixture.announce(challenge)  # in the last seconds of the window
    driver.wait_out()
    with reverts("disputes: an announcement waits"):
        driver.expire()
    federation.wait(fixture.part)
    fixture.open(challenge)
    assert credit(fixture, federation.outsider) == BOND + stake // 4
    left = stake - stake * DEEP.attest_slash // 10_000
    assert [fixture.stake(seat) for seat in range(5)] == [0, left, left, stake, stake]
    check_bond_goes_back(driver)
    assert credit(fixture, COPIER) == BOND


def test_announcements_hold_a_right_dispute_no_longer_than_the_bound(
    fixture: ProposalFixture, right: Evidence
) -> None:
    """It wins when the last of them had its time; their bonds come back, as after every refutation."""
    driver = DisputeDriver(fixture, right, Trees.MODEL)
    federation, start, stake = fixture.federation, fixture.federation.chain.now(), fixture.stake(0)
    driver.open()
    federation.chain.warp(driver.window_end - 1)
    sealed = bytes(range(32))
    (announcement,) = federation.send(COPIER, "announce_challenge", sealed, value=BOND).events
    end = window_end(DEEP, start, [announcement.timestamp])
    for time in (driver.window_end, end - 1):
        federation.chain.warp(max(federation.chain.now(), time))
        with reverts("disputes: an announcement waits"):
            driver.expire()
    with reverts("disputes: move too late"):
        driver.answer()
    federation.chain.warp(end)
    assert "Refuted" in [event.name for event in driver.expire().events]
    assert federation.chain.now() - start <= longest_wait_seconds(DEEP) + 5
    federation.send(COPIER, "settle", COPIER.address, sealed)
    assert credit(fixture, COPIER) == BOND
    assert credit(fixture, driver.challenger) == BOND + stake // 2 // 4
    check_balance(driver)


def test_a_right_dispute_costs_no_bond_and_nobody_takes_its_leaf(
    fixture: ProposalFixture, wrong: Evidence
) -> None:
    driver = DisputeDriver(fixture, wrong, Trees.MODEL)
    driver.open()
    driver.go_down(0)  # lane 7 is in leaf 0, which stands in the log now
    challenge, stake = challenge_of(wrong), fixture.stake(0)
    with reverts("disputes: not the challenger"):
        fixture.open(challenge, COPIER, driver.number)
    fixture.announce(challenge, COPIER)
    with reverts("docket: too early to open"):
        fixture.open(challenge, COPIER)
    driver.rule(challenge)
    assert credit(fixture, driver.challenger) == BOND + stake // 4
    assert credit(fixture, COPIER) == 0
    check_balance(driver)


def test_a_copied_answer_earns_nothing(fixture: ProposalFixture, right: Evidence) -> None:
    """Half of a lost bond is the author's, whoever has sent the answers."""
    driver = DisputeDriver(fixture, right, Trees.MODEL)
    author = fixture.federation.miner_keys[0]
    driver.open()
    driver.answer()
    driver.pursue(0)
    driver.answer()
    driver.pursue(1)
    leaf = b"\0" + driver.source.leaf(driver.state.index)
    driver.send("answer_leaf", leaf, sender=COPIER)
    with reverts("disputes: not what is due"):
        driver.send("answer_leaf", leaf, sender=author)
    fixture.federation.chain.warp(driver.state.deadline)
    driver.expire()
    assert (credit(fixture, COPIER), credit(fixture, author)) == (0, BOND // 2)
    check_balance(driver)


@pytest.mark.parametrize("count", [1, 6, 12])
def test_disputes_hold_a_proposal_no_longer_than_one(
    fixture: ProposalFixture, right: Evidence, count: int
) -> None:
    """One party disputes and answers itself, as late as it may, from the last second of the window on."""
    fixture.put_proposal(right.context, ALL)
    federation, start = fixture.federation, fixture.federation.chain.now()
    proposal = proposal_of(fixture, right)
    federation.wait(DEEP.challenge_seconds - 2 * count - 1)
    drivers = [DisputeDriver(fixture, right, Trees.ROWS, stands=True) for _ in range(count)]
    for driver in drivers:
        driver.open()
    while any(driver.course.is_open for driver in drivers):
        with reverts("proposals: not undisputed"):
            federation.send(federation.outsider, "finalize", *proposal)
        moves = [driver for driver in drivers if driver.course.is_open]
        deadline = min(driver.state.deadline for driver in moves)
        federation.chain.warp(max(federation.chain.now(), deadline - 3 * count))
        for driver in moves:
            make_the_latest_move(driver)
    federation.wait(max(0, start + DEEP.challenge_seconds - federation.chain.now()))
    federation.send(federation.outsider, "finalize", *proposal)
    held = federation.chain.now() - start
    assert longest_wait_seconds(DEEP) - 40 * count < held <= longest_wait_seconds(DEEP) + 40 * count
    with reverts("rounds: not this phase"):
        drivers[0].open(BOND)


def make_the_latest_move(driver: DisputeDriver) -> None:
    state = driver.state
    if state.is_answerable:
        driver.answer()
        if driver.state.state is State.ANSWER:  # nodes are due with what is behind `rows`
            driver.answer()
    elif state.state is State.PICK and state.height > 8:
        driver.pursue(0)  # at once but for the clock that all moves share
    elif state.state is State.PICK:
        driver.pursue(1)
    else:
        driver.federation.chain.warp(max(driver.federation.chain.now(), state.deadline))
        driver.expire()


@pytest.mark.parametrize(
    ("parameters", "answers"), [(16, 1), (32, 2), (16 * 256, 2), (16 * 257, 3), (2**40, 6)]
)
def test_the_bound_counts_answers(parameters: int, answers: int) -> None:
    terms = replace(DEEP, parameters=parameters)
    assert answers_due(terms) == answers
    assert longest_dispute_seconds(terms) == (answers + 1) * terms.answer_seconds


def test_each_dispute_beyond_the_eighth_costs_twice_as_much_and_sixteen_bonds_at_most(
    fixture: ProposalFixture, right: Evidence
) -> None:
    fixture.put_proposal(right.context)
    prices = []
    for number in range(17):
        driver = DisputeDriver(fixture, right, Trees.MODEL, stands=True)
        price = fixture.federation.contract.call("dispute_price")
        assert price == dispute_price(DEEP, number, 0, 0)
        with reverts("disputes: not the bond"):
            driver.open(price - 1)
        driver.open(price)
        prices.append(price // BOND)
    assert prices == [1] * 8 + [2, 4, 8] + [16] * 6
    fixture.stand(right.context, turn=1)
    assert fixture.federation.contract.call("dispute_price") == BOND  # of another proposal


@pytest.mark.parametrize("surcharge", [0, 3])
def test_colluders_cannot_make_a_dispute_too_dear_for_who_watches(
    fixture: ProposalFixture, wrong: Evidence, surcharge: int
) -> None:
    """They keep their trees back and dispute their own proposal twenty times; sixteen bonds refute it."""
    fixture.put_proposal(wrong.context, ALL)
    fixture.storage.put(("docket.word", None, surcharge << 52))
    prices = []
    for _ in range(20):
        prices.append(fixture.federation.contract.call("dispute_price") // BOND)
        DisputeDriver(fixture, wrong, Trees.MODEL, COPIER, stands=True).open()
    assert prices == [min(price << surcharge, 16) for price in [1] * 8 + [2, 4, 8] + [16] * 9]
    watcher, stake = DisputeDriver(fixture, wrong, Trees.MODEL, stands=True), fixture.stake(0)
    watcher.open(16 * BOND)
    watcher.go_down(0)
    watcher.rule(challenge_of(wrong))
    assert credit(fixture, watcher.challenger) == 16 * BOND + stake // 4


def test_a_lost_dispute_makes_those_of_the_next_rounds_dearer(
    fixture: ProposalFixture, right: Evidence
) -> None:
    fixture.put_proposal(right.context)
    surcharge, lost = 0, 0
    # A dispute is lost twice in round 1, then once in each of the next four; after that rounds are quiet.
    for round_, losses in ((1, 2), (2, 1), (3, 1), (4, 1), (5, 1), (6, 0), (7, 0), (8, 1), (12, 0)):
        context = replace(right.context, round=round_)
        proposal = right.candidate.digest(round_, context.accepted)
        fixture.stand(replace(context, proposal=proposal))
        price = fixture.federation.contract.call("dispute_price")
        assert price == dispute_price(DEEP, 0, surcharge_at(round_, surcharge, lost), 0)
        for _ in range(losses):
            driver = DisputeDriver(fixture, right, Trees.MODEL, stands=True)
            driver.open()
            driver.answer()
            fixture.federation.chain.warp(driver.state.deadline)
            driver.expire()
            surcharge, lost = surcharge_after_loss(round_, surcharge, lost), round_
            fixture.stand(replace(context, proposal=proposal))
    assert surcharge_at(6, 3, 5) == 3
    assert [surcharge_at(round_, 3, 5) for round_ in range(5, 11)] == [3, 3, 2, 1, 0, 0]


CHEAP = replace(
    CHALLENGED, min_stake=10**6, vote_penalty=10**5, leader_penalty=10**4, reward=10**6, challenge_bond=10**5,
    parameters=48 * 300, leaf_lanes=48, max_updates=1024, max_samples=1000,
)  # fmt: skip


@pytest.mark.parametrize("terms", [CHEAP, replace(CHEAP, parameters=16 * 40, leaf_lanes=16, max_updates=64)])
def test_a_dispute_costs_four_times_what_honest_answers_burn(terms: Terms) -> None:
    """However low the bond is: the gas of the answers to the longest dispute prices it."""
    fixture = ProposalFixture(terms)
    count = min(terms.max_updates, 200)
    right = fixture.evidence(3, [True] * count)
    driver = DisputeDriver(fixture, right, Trees.ROWS)
    header = fixture.federation.chain.request("eth_getBlockByNumber", "latest", False)
    base_fee = int(header["baseFeePerGas"], 16)
    price = fixture.federation.contract.call("dispute_price")
    floor = dispute_price(terms, 0, 0, base_fee)
    assert floor > terms.challenge_bond
    assert 7 * floor < 8 * price < 9 * floor  # the base fee of the next block
    driver.open(price + price // 8)
    driver.go_down(0)
    received = fixture.federation.receipts
    answers = sum(
        receipt.gas_used for name in ("answer_rows", "answer", "answer_leaf") for receipt in received[name]
    )
    assert 4 * answers * base_fee < price
