"""What devices and miners claim is what the twin says they earned, to the wei, once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bcfl.errors import RelayError, Reverted
from bcfl.ports import SignedCommitment, Step
from bcfl.protocol import submissions, verification
from bcfl.protocol.rewards import earned
from bcfl.protocol.types import Phase, Update, Verdict
from bcfl.roles.claims import amount, claim_steps, claims
from bcfl.roles.moment import Moment
from tests.village import TERMS, Village


@pytest.mark.parametrize("shared", [0, 2])
def test_default_behavior(tmp_path: Path, shared: int) -> None:
    village = Village(tmp_path, devices=5, shared=shared)
    village.gone_in(Phase.UNVEIL, village.offices[0])
    village.play(4)
    contract, history, domain = village.federation.contract, village.history, village.ledger.domain
    owed = contract.call("owed")
    everyone = {a.address: a for a in (*village.device_accounts, *village.miner_accounts)}
    wanted: Counter[str] = Counter()
    for address, account in everyone.items():
        steps = claim_steps(history, domain, address)
        wanted[address] = sum(
            amount(claim, history, domain, village.terms) for claim in claims(history, domain, address)
        )
        village.ledger.send(account, steps)
        assert contract.call("credits", address) == wanted[address] > 0
    reserved = 0
    for found in history.rounds.values():
        if found.block is not None:
            words = [submissions.update_word(domain, item.update) for item in found.submissions]
            reserved += earned(village.terms, found.block.reward, verification.tally(words, found.votes))
    assert sum(wanted.values()) == reserved == owed
    assert dict(village.history.credited) == dict(wanted)


def test_many_rounds_are_one_transaction_and_nothing_is_claimed_twice(tmp_path: Path) -> None:
    village = Village(tmp_path)
    village.play(3)
    device = village.device_accounts[1]
    steps = claim_steps(village.history, village.ledger.domain, device.address)
    assert len(steps) == 3
    before = village.chain.request("eth_blockNumber")  # type: ignore[union-attr]
    village.ledger.send(village.owner, steps)  # anybody may hand it in
    assert int(village.chain.request("eth_blockNumber"), 16) == int(before, 16) + 1  # type: ignore[union-attr]
    assert claim_steps(village.history, village.ledger.domain, device.address) == []
    with pytest.raises(Reverted, match="already claimed"):
        village.ledger.send(device, steps[:1])
    village.play()
    assert len(claim_steps(village.history, village.ledger.domain, device.address)) == 1


def test_rounds_can_be_named(tmp_path: Path) -> None:
    village = Village(tmp_path)
    village.play(3)
    address = village.miner_accounts[0].address
    found = list(claims(village.history, village.ledger.domain, address, rounds=(2, 7)))
    assert [(claim.round, claim.as_miner) for claim in found] == [(2, True)]


def test_an_outsider_has_nothing_to_claim(tmp_path: Path) -> None:
    village = Village(tmp_path)
    village.play()
    assert claim_steps(village.history, village.ledger.domain, village.owner.address) == []


def test_an_empty_pool_pays_nothing_and_stops_nothing(tmp_path: Path) -> None:
    village = Village(tmp_path, terms=replace(TERMS, reward=60 * 10**18))
    blocks = [village.play().block for _ in range(3)]
    assert [block.reward // 10**18 for block in blocks if block] == [60, 40, 0]
    for account in village.device_accounts:
        village.ledger.send(account, claim_steps(village.history, village.ledger.domain, account.address))
    assert sum(village.history.credited.values()) <= village.federation.contract.call("owed")


def test_a_copied_cid_earns_nothing(tmp_path: Path) -> None:
    village = Village(tmp_path)
    village.play()
    stolen = next(i.update for i in village.history.rounds[1].submissions if i.update.device == 0)
    copy_from(village, 1, stolen)
    played = village.play()
    copied = next(i for i in played.submissions if i.update.device == 1)
    assert (copied.update.root, copied.update.cid) == (stolen.root, stolen.cid)
    assert played.verdict(copied.position) is Verdict.DUPLICATE
    address = village.device_accounts[1].address
    assert [c.round for c in claims(village.history, village.ledger.domain, address)] == [1]
    honest = village.device_accounts[0].address
    assert [c.round for c in claims(village.history, village.ledger.domain, honest)] == [1, 2]
    forged = next(iter(claims(village.history, village.ledger.domain, honest, (2,)))).step
    forged_step = Step("claim_device", (*forged.args[:2], copied.position, *forged.args[3:]))
    with pytest.raises(Reverted, match="not accepted"):
        village.ledger.send(village.device_accounts[1], [forged_step])


def copy_from(village: Village, device: int, stolen: Update) -> None:
    """Let a device hand in what another has made, under its own name."""
    trainer = village.homes[device].trainer
    train = trainer._train

    def stealing(moment: Moment, index: int) -> Update:
        made = replace(train(moment, index), root=stolen.root, cid=stolen.cid)
        record = trainer.journal.read_json("update.json") or {}
        record |= {"root": made.root.hex(), "cid": made.cid.hex()}
        trainer.journal.write_json("update.json", record)
        return made

    trainer._train = stealing  # type: ignore[method-assign]


def test_a_copied_commitment_cannot_be_handed_in(tmp_path: Path) -> None:
    village = Village(tmp_path)
    first = village.federation.parties["devices"][0]
    first.act()
    desk = village.bound(0)
    known = desk.inbox.commitments[0]
    for device in (1, 2, 3):
        with pytest.raises(RelayError):
            village.bound(device).take_commitment(
                SignedCommitment(1, device, known.commitment, known.signature)
            )
