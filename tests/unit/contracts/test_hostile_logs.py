"""What anybody can put on the chain for ever harms nobody who reads it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from eth_utils.crypto import keccak

from bcfl.errors import ChallengeError
from bcfl.ledger.contract import transact
from bcfl.ledger.transcript import gather
from bcfl.protocol.challenges import Trees
from bcfl.protocol.disputes import State
from bcfl.protocol.types import Phase
from testkit.dispute_driver import ANSWERER, HEIGHT, NODE, STATE, DisputeDriver
from testkit.harness import CHALLENGED, Account, Federation, digest, reverts
from testkit.proposal_fixture import ProposalFixture

SMALL = replace(CHALLENGED, parameters=16 * 4, leaf_lanes=16, max_updates=64)


def send_raw(federation: Federation, key: Account, data: bytes) -> None:
    transact(federation.chain, key, federation.contract.address, data, 0, None)


@pytest.mark.evm("calldata that nobody but the contract can read")
def test_an_endpoint_that_is_no_text_is_read_all_the_same() -> None:
    federation = Federation().open()
    data = federation.contract.encode("announce", "aaaa").replace(b"aaaa", b"\xff\xfe\xfd\xfc")
    send_raw(federation, federation.miner_keys[0], data)
    (event,) = federation.contract.events(name="Announced")
    assert event.args["endpoint"] == "\ufffd" * 4
    assert federation.history().endpoints == {federation.miner_keys[0].address: "\ufffd" * 4}


@pytest.mark.evm("calldata that nobody but the contract can read")
def test_a_leaf_without_a_byte_cannot_be_shown() -> None:
    """Contract and twin agree: what is not shown in time is refuted by silence."""
    fixture = ProposalFixture(SMALL)
    driver = DisputeDriver(fixture, fixture.evidence(7, [True] * 3), Trees.MODEL)
    driver.open()
    fields = {STATE: State.ANSWER, HEIGHT: 0, NODE: int.from_bytes(keccak(b""), "big")}
    for place, value in fields.items():
        fixture.storage.put_field("disputes.disputes", driver.number, place, value)
    data = fixture.federation.contract.encode("answer_leaf", driver.number, b"")
    for tail in (b"", bytes(32)):
        with reverts("challenges: not a leaf"):
            send_raw(fixture.federation, ANSWERER, data + tail)
    leaf = replace(driver.state, state=State.ANSWER, height=0, node=keccak(b""))
    with pytest.raises(ChallengeError, match="not a leaf"):
        leaf.answer_leaf(SMALL, fixture.federation.chain.now(), b"")


def test_a_correction_of_the_cid_gives_nobody_more_time() -> None:
    """Whose turn it is follows the last event; this one can be sent in every block."""
    federation = Federation(miners=5).open().until(Phase.PROPOSE)
    federation.propose()
    key = next(key for key in federation.miner_keys if key != federation.leader())
    federation.send(key, "attest", federation.proposal_digest())
    before = federation.history().rounds[1].latest_time
    federation.wait(100)
    federation.send(key, "correct_cid", digest("cid"))
    assert federation.history().rounds[1].latest_time == before


def test_a_commitment_opens_in_its_own_round_alone() -> None:
    federation = Federation().open()
    device, update = federation.device_keys[0], federation.update(0, 2)
    federation.commit(device, [update])
    federation.finish()
    federation.until(Phase.REVEAL)
    with reverts("submissions: not the committed batch"):
        federation.reveal(device, [update])


@pytest.mark.evm("calldata that nobody but the contract can read")
def test_calldata_that_only_the_contract_reads_is_no_hindrance() -> None:
    """Where the last word is missing, the machine reads zeros, and others' decoders read nothing."""
    federation = Federation().open().until(Phase.REVEAL)
    key = federation.miner_keys[0]
    data = federation.contract.encode("reveal", key.address, *federation.reveal_args(federation.share(0)))
    assert data[-32:] == bytes(32)
    send_raw(federation, key, data[:-32])
    (event,) = federation.contract.events(name="Revealed")
    assert event.transaction not in gather(federation.contract).calls
