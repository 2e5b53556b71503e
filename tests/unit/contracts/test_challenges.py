"""Each form of challenge on the contract: refuted, failed, and every reason why it does not open."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from bcfl.errors import Reverted
from bcfl.protocol import merkle
from bcfl.protocol.challenges import (
    Challenge,
    Form,
    LeafChallenge,
    PaddingChallenge,
    Trees,
    WeightsChallenge,
    weights_digest,
)
from bcfl.protocol.evidence import Evidence, Leaves
from bcfl.protocol.hashing import keccak
from bcfl.protocol.types import Phase, Rule, VoidReason
from testkit import gas
from testkit.challenges import cost
from testkit.forged_proposals import (
    case_of,
    padding_proof,
    ruling,
    with_model,
    with_parts,
)
from testkit.harness import CHALLENGED, reverts
from testkit.largest_calls import largest_challenge
from testkit.proposal_fixture import SALT, TURN, ProposalFixture

SMALL = PROPOSAL_TERMS = replace(
    CHALLENGED, parameters=70, leaf_lanes=16, max_updates=64, rule=Rule.MEDIAN
)  # 5 leaves, depth 3
OTHER = bytes(range(32))
ZERO = "0x" + "00" * 20
LARGEST = json.loads(gas.SNAPSHOT.read_text())["largest challenge"]
FAILED = 128  # shift in the lead


@pytest.fixture
def right(fixture: ProposalFixture) -> Evidence:
    """A right proposal over 34 updates, all but one accepted, that waits for attestations."""
    evidence = fixture.evidence(7, [place != 2 for place in range(34)])
    fixture.put_proposal(evidence.context)
    return evidence


def weights_of(e: Evidence) -> WeightsChallenge:
    return WeightsChallenge(e.candidate, e.tally, tuple(e.words), e.samples)


def leaf_of(e: Evidence) -> LeafChallenge:
    return LeafChallenge(e.candidate, e.tally, Trees.ROWS, 3, e.rows.proof(3), b"\0" + e.rows.leaf(3))


def padding_of(e: Evidence) -> PaddingChallenge:
    proof = padding_proof(e, Trees.MODEL, 6)[1:]  # leaves 6 and 7 are padding, and so is their parent
    return PaddingChallenge(e.candidate, e.tally, Trees.MODEL, 1, 3, merkle.padding(1), proof)


CHALLENGES: dict[str, Callable[[Evidence], Challenge]] = {
    "sum": lambda e: e.sum_challenge(3, 5),
    "row": lambda e: e.row_challenge(3, 32, 0),
    "weights": weights_of,
    "leaf": leaf_of,
    "padding": padding_of,
}


def lane_wrong(e: Evidence) -> Evidence | None:
    model = case_of(e).model()
    model[41] ^= 1
    return with_model(e, model)


def beyond_the_parameters(e: Evidence) -> Evidence:
    leaves = [e.model.leaf(index) for index in range(5)]
    return with_parts(e, model=Leaves([*leaves[:4], leaves[4][:-4] + b"\0\0\0\1"], 5))


def row_wrong(e: Evidence) -> Evidence:
    leaves = [e.rows.leaf(index) for index in range(5)]
    leaves[2] = leaves[2][:-1] + bytes([leaves[2][-1] ^ 1])
    return with_parts(e, rows=Leaves(leaves, 5))


def row_too_short(e: Evidence) -> Evidence:
    return with_parts(e, rows=Leaves([e.rows.leaf(index)[:-32] for index in range(5)], 5))


def leaf_too_long(e: Evidence) -> Evidence:
    return with_parts(e, model=Leaves([e.model.leaf(index) + bytes(32) for index in range(5)], 5))


def leaf_too_many(e: Evidence) -> Evidence:
    return with_parts(e, rows=Leaves([e.rows.leaf(index % 5) for index in range(7)], 5))


FORGERIES = [
    (lane_wrong, Form.SUM),
    (beyond_the_parameters, Form.SUM),
    (row_wrong, Form.ROW),
    (lambda e: with_parts(e, weights=weights_digest([*e.samples[:-1], 1])), Form.WEIGHTS),
    (row_too_short, Form.LEAF),
    (leaf_too_long, Form.LEAF),
    (leaf_too_many, Form.PADDING),
]


@pytest.mark.parametrize(("forge", "form"), FORGERIES)
def test_a_wrong_proposal_is_refuted(
    fixture: ProposalFixture, right: Evidence, forge: Callable[[Evidence], Evidence], form: Form
) -> None:
    wrong = forge(right)
    fixture.put_proposal(wrong.context)
    challenge = wrong.find()
    assert challenge is not None
    assert challenge.form is form
    federation, leader = fixture.federation, fixture.federation.miner_keys[0].address
    zero_before, before, stake = federation.balance(ZERO), federation.money(), fixture.stake(0)
    receipt = fixture.send(challenge)
    names = [event.name for event in receipt.events]
    assert names == ["AnnouncementEnded", "Refuted", "Penalized", "Elected"]
    assert receipt.events[0].args["returned"]
    assert receipt.events[1].args == {
        "round": 1, "leader": leader, "challenger": federation.outsider.address, "form": form,
    }  # fmt: skip
    balance, stakes, owed, pool = federation.money()
    assert stakes == before[1] - stake  # the whole stake of the author
    assert owed == before[2] + stake // 4 + SMALL.challenge_bond
    assert pool == before[3]
    assert federation.balance(ZERO) == zero_before + stake - stake // 4  # the rest is burned
    assert balance == stakes + owed + pool
    assert federation.contract.call("credits", federation.outsider.address) == owed - before[2]
    assert federation.clock.phase is Phase.PROPOSE
    assert federation.contract.call("lead_now")[0] != leader
    with reverts("rounds: not this phase"):
        fixture.open(challenge)


@pytest.mark.parametrize("name", CHALLENGES)
def test_a_right_proposal_stands_and_the_bond_goes_to_the_pool(
    fixture: ProposalFixture, right: Evidence, name: str
) -> None:
    challenge = CHALLENGES[name](right)
    assert ruling(challenge, right.context) is False
    money_before = fixture.federation.money()
    event, end = fixture.send(challenge).events
    assert (event.name, end.name, end.args["returned"]) == ("ChallengeFailed", "AnnouncementEnded", False)
    assert event.args == {
        "round": 1, "challenger": fixture.federation.outsider.address, "form": challenge.form,
    }  # fmt: skip
    money_after = fixture.federation.money()
    assert money_after[3] == money_before[3] + SMALL.challenge_bond
    assert money_after[1:3] == money_before[1:3]
    assert fixture.federation.clock.phase is Phase.ATTEST


@pytest.mark.parametrize("name", CHALLENGES)
def test_what_every_form_insists_on(fixture: ProposalFixture, right: Evidence, name: str) -> None:
    challenge = CHALLENGES[name](right)
    for part in ("root", "weights", "rows"):
        with reverts("proposals: not what was proposed"):
            fixture.open(replace(challenge, candidate=replace(right.candidate, **{part: OTHER})))
    with reverts("challenges: not the round's tally"):
        fixture.open(replace(challenge, tally=replace(right.tally, samples=1)))
    with reverts("docket: not announced"):
        fixture.open(challenge)
    with reverts("disputes: none is open"):
        fixture.open(challenge, right=1)
    function, args = challenge.call(SALT)
    with pytest.raises(Reverted):
        fixture.federation.send(fixture.federation.outsider, function, *args, value=1)
    fixture.storage.put(("rounds.clock", None, fixture.storage.get("rounds.clock") - 1))
    with reverts("rounds: not this phase"):
        fixture.open(challenge)


REFUSALS: list[tuple[str, str, dict[str, Any]]] = [
    *[
        ("challenges: no such place", name, change)
        for name, change in [
            ("sum", {"leaf": 5}),
            ("sum", {"lane": 16}),
            ("row", {"leaf": 5}),
            ("row", {"word": 1}),
            ("row", {"position": 2}),
            ("row", {"position": 256}),
            ("leaf", {"leaf": 5}),
            ("padding", {"index": 2}),
            ("padding", {"index": 4}),
        ]
    ],
    *[("challenges: not in the tree", name, {"leaf": 2}) for name in ("sum", "row", "leaf")],
    ("challenges: not in the tree", "padding", {"digest": OTHER}),
    ("challenges: not the bounds", "sum", {"low": -(2**15) - 1}),
    ("challenges: not the bounds", "sum", {"low": 2**15}),
    ("challenges: not the bounds", "sum", {"high": -(2**15) - 1}),
    ("challenges: not the bounds", "sum", {"high": 2**15}),
    ("challenges: not the proposed weights", "sum", {"samples": (1,) * 33}),
    ("challenges: not the round's updates", "row", {"group": (1, 2)}),
    ("challenges: not the round's updates", "weights", {"updates": (1,) * 34}),
    ("challenges: not the weights of the accepted updates", "weights", {"samples": (1,) * 33}),
    ("challenges: not the weights of the accepted updates", "weights", {"samples": ()}),
]


@pytest.mark.parametrize(("reason", "name", "change"), REFUSALS, ids=str)
def test_what_does_not_open(
    fixture: ProposalFixture, right: Evidence, reason: str, name: str, change: dict[str, Any]
) -> None:
    challenge = replace(CHALLENGES[name](right), **change)
    assert ruling(challenge, right.context) == reason
    with reverts(reason):
        fixture.send(challenge)


@pytest.mark.parametrize("name", ["sum", "row", "leaf", "padding"])
def test_a_proof_of_another_length(fixture: ProposalFixture, right: Evidence, name: str) -> None:
    challenge: Any = CHALLENGES[name](right)
    for change in (lambda proof: proof[:-1], lambda proof: (*proof, OTHER)):
        if hasattr(challenge, "proof"):
            variant = replace(challenge, proof=change(challenge.proof))
        else:
            variant = replace(challenge, proofs=(*challenge.proofs[:-1], change(challenge.proofs[-1])))
        reason = ruling(variant, right.context)
        assert reason in ("challenges: proof of another length", "challenges: no such place")
        fixture.put_proposal(right.context)
        with reverts(str(reason)):
            fixture.send(variant)


def test_what_is_no_leaf_and_no_tree(fixture: ProposalFixture, right: Evidence) -> None:
    """A node opens as its two children behind another byte: that is no leaf."""
    challenge = leaf_of(right)
    wrong = Leaves([right.rows.leaf(index) for index in range(5)], 5)
    digest = wrong.tree.levels[0][3 * 32 : 4 * 32]
    node = b"\x01" + digest + wrong.tree.levels[0][2 * 32 : 3 * 32]
    candidate = replace(right.candidate, rows=merkle.climb(keccak(node), 3, challenge.proof))
    context = replace(right.context, proposal=candidate.digest(1, right.context.accepted))
    fixture.put_proposal(context)
    variant = replace(challenge, candidate=candidate, content=node)
    assert ruling(variant, context) == "challenges: not a leaf"
    with reverts("challenges: not a leaf"):
        fixture.send(variant)
    for no_tree in (leaf_of(right), padding_of(right)):
        fixture.put_proposal(right.context)
        with reverts("challenges: no such tree"):
            fixture.send(replace(no_tree, tree=2))  # type: ignore[arg-type]


def test_leaves_of_another_length_are_a_form_of_their_own(fixture: ProposalFixture, right: Evidence) -> None:
    """Neither sum nor row rules on a leaf that has another length."""
    short_rows = row_too_short(right)
    fixture.put_proposal(short_rows.context)
    for challenge in (short_rows.sum_challenge(3, 5), short_rows.row_challenge(3, 31, 0)):
        with reverts("challenges: leaf of another length"):
            fixture.send(challenge)


def test_the_opening_of_another_update(fixture: ProposalFixture, right: Evidence) -> None:
    """The root of an update that was not committed to proves nothing about a row."""
    challenge: Any = CHALLENGES["row"](right)
    other_update = replace(challenge.update, salt=challenge.update.salt ^ 1)
    with reverts("challenges: not the update's opening"):
        fixture.send(replace(challenge, update=other_update))


@pytest.mark.parametrize("rule", Rule)
@pytest.mark.parametrize("lane_bits", [32, 16, 8])
def test_a_challenge_of_a_million_parameters_is_cheap(rule: Rule, lane_bits: int) -> None:
    """Even where all five voters have attested, and are slashed."""
    assert cost(20, 1_000_000, 256 // lane_bits, lane_bits, rule, attesters=5).gas < 260_000


@pytest.mark.parametrize(("attested", "failed"), [(0b111, 0), (1, 0b110), (0b011, 0)])
def test_nobody_is_left_and_anybody_opens_the_next_round(
    fixture: ProposalFixture, right: Evidence, attested: int, failed: int
) -> None:
    """Too little weight is left to judge, or nobody to lead: the round is void and waits for `advance`."""
    wrong = lane_wrong(right)
    assert wrong is not None
    challenge = wrong.find()
    assert challenge is not None
    fixture.put_proposal(wrong.context, attested)
    lead = fixture.storage.get("election.lead") | failed << FAILED | 1 << TURN
    fixture.storage.put(("election.lead", None, lead))
    receipt = fixture.send(challenge)
    slashes = attested.bit_count()
    assert [event.name for event in receipt.events] == ["AnnouncementEnded", "Refuted"] + slashes * [
        "Penalized"
    ]
    federation = fixture.federation
    clock = federation.clock
    assert (clock.phase, clock.updates, clock.round) == (Phase.VOID, VoidReason.NO_LEADER, 1)
    for function, args in (("skip", [[], []]), ("finalize", [bytes(32)] * 3), ("attest", [bytes(32)])):
        with reverts("rounds: not this phase"):
            federation.send(federation.outsider, function, *args)
    receipt = federation.send(federation.outsider, "advance")
    assert receipt.events[0].args == {"round": 1, "reason": VoidReason.NO_LEADER}
    assert receipt.events[-1].name == "RoundOpened"
    assert (federation.clock.phase, federation.clock.round) == (Phase.COMMIT, 2)


@pytest.mark.parametrize("share", [1000, 2500, 10_000])
def test_who_attested_is_slashed_too_and_may_not_attest_again(share: int) -> None:
    terms = replace(SMALL, attest_slash=share)
    fixture = ProposalFixture(terms, miners=5)
    wrong = lane_wrong(fixture.evidence(7, [True] * 3))
    assert wrong is not None
    challenge = wrong.find()
    assert challenge is not None
    fixture.put_proposal(wrong.context, 0b00011)
    federation, before, stake = fixture.federation, fixture.federation.money(), fixture.stake(0)
    zero_before = federation.balance(ZERO)
    receipt = fixture.send(challenge)
    slashes = [e.args["amount"] for e in receipt.events if e.name == "Penalized"]
    assert slashes == [stake, stake * share // 10_000]
    balance, stakes, owed, pool = federation.money()
    assert (stakes, pool) == (before[1] - sum(slashes), before[3])
    assert owed == before[2] + stake // 4 + terms.challenge_bond
    assert federation.balance(ZERO) == zero_before + sum(slashes) - stake // 4
    assert balance == stakes + owed + pool
    assert federation.clock.expected == 0b11100
    fixture.stand(wrong.context, 0b00100, turn=1, seats=federation.clock.expected)
    digest = wrong.context.proposal
    for key in federation.miner_keys[:2]:
        with reverts("proposals: not a voter of this round"):
            federation.send(key, "attest", digest)
    federation.send(federation.miner_keys[3], "attest", digest)


@pytest.mark.evm("gas of a transaction")
@pytest.mark.parametrize("rule", Rule)
def test_the_largest_challenge_that_the_terms_allow(rule: Rule) -> None:
    """1,024 updates of three words a leaf: within the caps of gas and size, all 64 slashed."""
    measure = largest_challenge(rule)
    assert measure.fits
    assert measure.gas == LARGEST[rule.name.lower()], gas.HINT
