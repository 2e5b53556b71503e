"""Calls about contests with numbers at the ends of a word, and lists as long as they may be and longer.

What overflows and what does not fit reverts on the bytecode and on its specification alike.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bcfl.errors import Reverted
from bcfl.protocol.challenges import (
    Challenge,
    Form,
    LeafChallenge,
    PaddingChallenge,
    Trees,
    WeightsChallenge,
)
from bcfl.protocol.disputes import update_args
from bcfl.protocol.docket import sealed_challenge
from bcfl.protocol.evidence import Evidence
from bcfl.protocol.verification import tally_bytes
from testkit.dispute_driver import DisputeDriver
from testkit.forged_proposals import padding_proof
from testkit.harness import CHALLENGED
from testkit.ledgers import BOTH
from testkit.proposal_fixture import SALT, ProposalFixture

TERMS = replace(CHALLENGED, parameters=70, leaf_lanes=16, max_updates=64)  # 5 leaves, depth 3
WORD = 2**256
NUMBERS = (2**64, 2**240, 2**255, WORD - 1)
OTHER = bytes(range(32))


@pytest.fixture(scope="module")
def fixture() -> ProposalFixture:
    return ProposalFixture(TERMS, kind=BOTH)


@pytest.fixture
def right(fixture: ProposalFixture) -> Evidence:
    evidence = fixture.evidence(7, [True, False, True])
    fixture.put_proposal(evidence.context)
    return evidence


def challenges(e: Evidence) -> list[Challenge]:
    return [
        e.sum_challenge(3, 5),
        e.row_challenge(3, 1, 0),
        LeafChallenge(e.candidate, e.tally, Trees.ROWS, 3, e.rows.proof(3), b"\0" + e.rows.leaf(3)),
        PaddingChallenge(
            e.candidate, e.tally, Trees.MODEL, 0, 6, bytes(32), padding_proof(e, Trees.MODEL, 6)
        ),
    ]


def place_of(challenge: Any) -> tuple[int, int]:
    """Return leaf and place as the contract names them: what a shift moves out of the word is gone."""
    if challenge.form is Form.ROW:
        return challenge.leaf, challenge.position << 16 & WORD - 1 | challenge.word
    if challenge.form is Form.PADDING:
        return challenge.index, challenge.tree << 8 & WORD - 1 | challenge.height
    leaf, place = challenge.place
    return leaf, place


def show(fixture: ProposalFixture, challenge: Challenge, args: tuple[Any, ...] = ()) -> str:
    """Announce a challenge, open it with these arguments, and return what comes of it."""
    federation, sender = fixture.federation, fixture.federation.outsider
    fixture.put_proposal(fixture.context)
    digest, place = fixture.context.proposal, place_of(challenge)
    sealed = sealed_challenge(sender.address, digest, challenge.form, *place, SALT)
    federation.send(sender, "announce_challenge", sealed, value=TERMS.challenge_bond)
    federation.wait(fixture.part)
    function, fields = challenge.call(SALT)
    try:
        return federation.send(sender, function, *(args or fields)).events[0].name
    except Reverted as error:
        return str(error)


@pytest.mark.parametrize(
    ("index", "name"),
    [
        *[(0, name) for name in ("leaf", "lane", "low", "high")],
        *[(1, name) for name in ("leaf", "word", "position")],
        *[(2, name) for name in ("leaf", "tree")],
        *[(3, name) for name in ("tree", "height", "index")],
    ],
)
def test_numbers_at_the_ends_of_a_word(
    fixture: ProposalFixture, right: Evidence, index: int, name: str
) -> None:
    numbers = (-(2**255), 2**255 - 1) if name in ("low", "high") else NUMBERS
    changes: list[dict[str, Any]] = [{name: number} for number in numbers]
    results = {show(fixture, replace(challenges(right)[index], **change)) for change in changes}
    assert ("ChallengeFailed" in results) == (name in ("low", "high"))  # a mean has no bounds


@pytest.mark.parametrize("height", [1, 218, 219, 250, 254, 255, 256])
def test_a_node_of_padding_at_any_height(fixture: ProposalFixture, right: Evidence, height: int) -> None:
    for index in (0, 1, 2, 4, 6):
        challenge: Any = challenges(right)[3]
        show(fixture, replace(challenge, height=height, index=index))


@pytest.mark.parametrize("rest", [b"", b"\0", bytes(3), bytes(4)])
def test_weights_that_are_no_list_of_words(fixture: ProposalFixture, right: Evidence, rest: bytes) -> None:
    weights = WeightsChallenge(right.candidate, right.tally, tuple(right.words), right.samples)
    for challenge, place in ((challenges(right)[0], 10), (weights, 4)):
        args = list(challenge.call(SALT)[1])
        for samples in (args[place] + rest, args[place][: -1 - len(rest)], rest):
            args[place] = samples
            show(fixture, challenge, tuple(args))


# The functions, and the longest that each argument of no fixed length may be, by its place.
LONGEST: list[tuple[str, dict[int, int]]] = [
    ("challenge_sum", {2: 6_016, 3: 37, 4: 37, 5: 37, 10: 4_096, 11: 4_097, 12: 4_097, 13: 120_833}),
    ("challenge_row", {2: 6_016, 4: 32, 6: 37, 7: 37, 10: 4_097, 11: 120_833}),
    ("challenge_leaf", {2: 6_016, 3: 37, 6: 120_833}),
    ("challenge_padding", {2: 6_016, 3: 37}),
]


def stretched(value: Any, length: int) -> Any:
    """Return a list or bytes of this length that begin with the given ones."""
    if isinstance(value, bytes):
        return value[:length].ljust(length, b"\0")
    filler = value[-1] if value else OTHER
    return [*value, *[filler] * length][:length]


@pytest.mark.parametrize("index", range(4))
def test_lists_as_long_as_they_may_be_and_longer(
    fixture: ProposalFixture, right: Evidence, index: int
) -> None:
    challenge = challenges(right)[index]
    function, limits = LONGEST[index]
    name, fields = challenge.call(SALT)
    assert name == function
    for place, limit in limits.items():
        for length in (limit, limit + 1):
            args = list(fields)
            args[place] = stretched(args[place], length)
            reason = show(fixture, challenge, tuple(args))
            assert (reason == "reverted without a reason") == (length > limit)


def test_long_moves_of_disputes(fixture: ProposalFixture, right: Evidence) -> None:
    driver = DisputeDriver(fixture, right, Trees.MODEL)
    driver.open()
    number, sender, federation = driver.number, driver.challenger, fixture.federation
    opening = update_args(right.tally, right.words, 0, right.updates[0])
    root, _, rows = driver.proposal
    calls: list[tuple[str, int, tuple[Any, ...]]] = [
        ("answer", 256, (number, [OTHER])), ("answer_leaf", 120_833, (number, b"\0")),
        ("pursue", 8, (number, 0, OTHER, [OTHER])), ("challenge_weights", 1_024, ()),
    ]  # fmt: skip
    for function, limit, args in calls:
        for length in (limit, limit + 1):
            *fields, last = args or (right.candidate.fields, SALT, tally_bytes(right.tally), b"", [1])
            last = stretched(last, length)
            given = [*fields[:3], last, fields[3]] if function == "challenge_weights" else [*fields, last]
            with pytest.raises(Reverted) as caught:
                federation.send(sender, function, *given)
            assert (str(caught.value) == "reverted without a reason") == (length > limit)
    accepted = right.context.accepted
    for voters, bodies in (([1] * 65, [OTHER] * 65), ([1] * 64, [OTHER] * 64)):
        with pytest.raises(Reverted):
            federation.send(sender, "expire", number, voters, bodies)
    for length in (32, 33):
        group = stretched(list(opening[3]), length)
        update = (accepted, root, rows, *opening[:3], group)
        with pytest.raises(Reverted):
            federation.send(sender, "dispute_update", *update, value=TERMS.challenge_bond)


def test_a_child_beyond_all_nodes() -> None:
    """Where the place of the node does not fit a word, the bytecode gives no reason."""
    fixture = ProposalFixture(replace(TERMS, parameters=16 * 257), kind=BOTH)
    driver = DisputeDriver(fixture, fixture.evidence(7, [True]), Trees.MODEL)
    driver.open()
    driver.answer()
    driver.pursue(1)
    driver.answer()
    course = driver.course
    assert course.state.index == 1
    nodes, proof = course.nodes, list(course.proof(0))
    reasons = set()
    for child in (1 << course.state.levels, WORD - 2**16, WORD - 2, WORD - 1):
        with pytest.raises(Reverted) as caught:
            driver.send("pursue", child, nodes[0], proof, sender=driver.challenger)
        reasons.add(str(caught.value))
    assert reasons == {"disputes: no such node", "reverted without a reason"}


def test_several_moves_in_one_transaction(fixture: ProposalFixture, right: Evidence) -> None:
    """Some of which may fail, so that nothing is left of them; and two openings of announcements."""
    federation, contract = fixture.federation, fixture.federation.contract
    weights = WeightsChallenge(right.candidate, right.tally, tuple(right.words), right.samples)
    first, second = challenges(right)[0], weights
    for challenge in (first, second):
        fixture.announce(challenge)
    driver = DisputeDriver(fixture, right, Trees.ROWS, stands=True)
    driver.open()
    federation.wait(fixture.part)
    calls = [contract.encode(*named) for named in (flat(first.call(SALT)), flat(second.call(SALT)))]
    rows = contract.encode("answer_rows", driver.number, right.candidate.weights, right.candidate.rows)
    nodes = contract.encode("answer", driver.number, driver.nodes())
    pursue = contract.encode("pursue", driver.number, 0, OTHER, [])
    batch = [pursue, rows, calls[0], rows, nodes, calls[1], calls[0]]
    data, lengths = b"".join(batch), [len(item) for item in batch]
    sender, before = federation.outsider, federation.money()
    for optional in (0, 0b0000001):
        with pytest.raises(Reverted):
            federation.send(sender, "multicall", data, lengths, optional)
        assert federation.money() == before
    names = [e.name for e in federation.send(sender, "multicall", data, lengths, 0b1001001).events]
    challenged = ["ChallengeFailed", "AnnouncementEnded"]
    assert names == ["RowsShown", *challenged, "NodesShown", *challenged]


def flat(call: tuple[str, tuple[Any, ...]]) -> tuple[Any, ...]:
    return call[0], *call[1]
