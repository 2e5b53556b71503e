"""The CID of a model is no part of what a leader proposes: a wrong one stops nothing and changes no turn."""

from __future__ import annotations

import pytest

from bcfl.protocol.turns import UNIT
from bcfl.protocol.types import Phase
from testkit.harness import CHALLENGED, Federation, digest, reverts

JUNK = digest("no such CID")


def propose(federation: Federation, cid: bytes) -> None:
    root, _, rows = federation.proposal()
    federation.send(federation.leader(), "propose", federation.accepted(), root, cid, rows)


def pass_on(federation: Federation) -> None:
    federation.expire()
    federation.send(federation.outsider, "skip", *federation.skip_args())


def credits_of(federation: Federation) -> int:
    """Return the sum of all credits, in leads."""
    credits: list[int] = federation.contract.call("turn_credits")[: federation.miners]
    return sum(credits) // UNIT


def test_a_model_under_a_wrong_cid_becomes_final_without_delay() -> None:
    federation = Federation(terms=CHALLENGED).open().until(Phase.PROPOSE)
    leader = federation.leader().address
    propose(federation, JUNK)
    federation.attest_enough()
    federation.wait(federation.terms.challenge_seconds)
    root, cid, rows = federation.proposal()
    with reverts("proposals: another CID"):
        federation.send(federation.outsider, "finalize", root, cid, rows)
    federation.send(federation.outsider, "finalize", root, JUNK, rows)
    assert federation.contract.call("model") == (root, JUNK)
    assert federation.block(1).leader == leader


def test_only_who_attested_says_where_the_model_lies() -> None:
    federation = Federation(miners=5).open().until(Phase.PROPOSE)
    key = next(key for key in federation.miner_keys if key != federation.leader())
    with reverts("rounds: not this phase"):
        federation.send(key, "correct_cid", digest("cid"))
    propose(federation, JUNK)
    for sender in (key, federation.outsider, federation.owner):
        with reverts("proposals: has not attested"):
            federation.send(sender, "correct_cid", digest("cid"))
    federation.send(key, "attest", federation.proposal_digest())
    (event,) = federation.send(key, "correct_cid", digest("cid")).events
    assert (event.name, event.args["miner"], event.args["cid"]) == (
        "CidCorrected",
        key.address,
        digest("cid"),
    )
    assert federation.history().current.corrected_cids == {key.address: digest("cid")}  # type: ignore[union-attr]


@pytest.mark.parametrize("count", [2, 3])
def test_colluders_that_name_ever_other_cids_move_no_turn(count: int) -> None:
    """Half of the miners withhold attestations and repeat the model under other CIDs: its author stays."""
    federation = Federation(miners=2 * count).open().until(Phase.PROPOSE)
    before, author = credits_of(federation), federation.leader().address
    for turn in range(count):
        propose(federation, digest("junk", turn))
        pass_on(federation)
    federation.propose()
    assert [event["author"] for event in federation.round_events("Proposed")] == [author] * (count + 1)
    assert credits_of(federation) == before
    federation.attest_enough()
    federation.finalize()
    assert federation.block(1).leader == author
    assert federation.history().credits == {
        seat: int(credit)
        for seat, credit in enumerate(federation.contract.call("turn_credits")[: federation.miners])
    }
    federation.until(Phase.PROPOSE)
    assert credits_of(federation) == before


def test_what_is_paid_again_is_what_a_challenge_refutes() -> None:
    """Other roots and rows are other content; with the CID the digest had said more than the model."""
    federation = Federation(miners=4).open().until(Phase.PROPOSE)
    propose(federation, JUNK)
    pass_on(federation)
    _, cid, rows = federation.proposal()
    before = credits_of(federation)
    federation.send(federation.leader(), "propose", federation.accepted(), digest("wrong"), cid, rows)
    assert credits_of(federation) == before - 1
