"""What devices and miners claim is what the twin says they earned, to the wei, once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from bcfl.errors import RelayError, Reverted
from bcfl.ports import ContractCall, SignedCommitment
from bcfl.protocol.rewards import earned
from bcfl.protocol.types import Phase, Update, Verdict
from bcfl.roles.background.claims import amount, claim_calls, claims
from bcfl.roles.common.snapshot import RoundSnapshot
from tests.local_federation import ETHER, TERMS, LocalFederation


@pytest.mark.parametrize("dual_accounts", [0, 2])
def test_default_behavior(tmp_path: Path, dual_accounts: int) -> None:
    local = LocalFederation(tmp_path, devices=5, dual_accounts=dual_accounts)
    local.leave_in(Phase.UNVEIL, local.miner_parties[0])
    local.play(4)
    contract, history, domain = local.ledger.contract, local.history, local.ledger.domain
    debt = contract.call("owed")
    everyone = {a.address: a for a in (*local.device_accounts, *local.miner_accounts)}
    expected: Counter[str] = Counter()
    for address, account in everyone.items():
        calls = claim_calls(history, domain, address)
        expected[address] = sum(
            amount(claim, history, local.terms) for claim in claims(history, domain, address)
        )
        local.ledger.send(account, calls)
        assert contract.call("credits", address) == expected[address] > 0
    reserve = 0
    for round_ in history.rounds.values():
        if round_.block is not None:
            reserve += earned(local.terms, round_.block.reward, round_.tally(domain))
    assert sum(expected.values()) == reserve == debt
    assert dict(local.history.credited) == dict(expected)


def test_who_never_attests_stops_nothing_and_earns_nothing(tmp_path: Path) -> None:
    """One of three equal miners votes, and neither proposes nor attests."""
    terms = replace(TERMS, propose_seconds=30, challenge_seconds=60, challenge_bond=ETHER // 10)
    local = LocalFederation(tmp_path, miners=3, terms=terms)
    lazy = local.miner_parties[2]
    lazy.lead.propose = lazy.lead.attest = lambda _: None  # type: ignore[method-assign,assignment]
    rounds = [local.play() for _ in range(4)]
    assert [(round_.status, len(round_.votes)) for round_ in rounds] == [("finalized", 3)] * 4
    assert all(round_.tally(local.ledger.domain).matches[-1] for round_ in rounds)
    pool = local.ledger.contract.call("pool")
    for account in local.miner_accounts:
        local.ledger.send(account, claim_calls(local.history, local.ledger.domain, account.address))
    credits_ = [local.ledger.contract.call("credits", account.address) for account in local.miner_accounts]
    assert [credit > 0 for credit in credits_] == [True, True, False]
    assert local.ledger.contract.call("pool") > pool  # where its pay for verdicts went


def test_many_rounds_are_one_transaction_and_nothing_is_claimed_twice(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    local.play(3)
    device = local.device_accounts[1]
    calls = claim_calls(local.history, local.ledger.domain, device.address)
    assert len(calls) == 3
    height = local.chain.request("eth_blockNumber")  # type: ignore[union-attr]
    local.ledger.send(local.owner, calls)  # anybody may hand it in
    assert int(local.chain.request("eth_blockNumber"), 16) == int(height, 16) + 1  # type: ignore[union-attr]
    assert claim_calls(local.history, local.ledger.domain, device.address) == []
    credit = local.ledger.contract.call("credits", device.address)
    local.ledger.send(device, calls[:1])
    assert local.ledger.contract.call("credits", device.address) == credit
    local.play()
    assert len(claim_calls(local.history, local.ledger.domain, device.address)) == 1


def test_rounds_can_be_named(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    local.play(3)
    address = local.miner_accounts[0].address
    due = list(claims(local.history, local.ledger.domain, address, rounds=(2, 7)))
    assert [(claim.round, claim.as_miner) for claim in due] == [(2, True)]


def test_an_outsider_has_nothing_to_claim(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    local.play()
    assert claim_calls(local.history, local.ledger.domain, local.owner.address) == []


def test_an_empty_pool_pays_nothing_and_stops_nothing(tmp_path: Path) -> None:
    terms = replace(TERMS, reward=60 * ETHER, min_stake=60 * ETHER, vote_penalty=6 * ETHER)
    local = LocalFederation(tmp_path, terms=terms)
    blocks = [local.play().block for _ in range(3)]
    assert [block.reward // ETHER for block in blocks if block] == [60, 40, 0]
    for account in local.device_accounts:
        local.ledger.send(account, claim_calls(local.history, local.ledger.domain, account.address))
    assert sum(local.history.credited.values()) <= local.ledger.contract.call("owed")


def test_a_copied_cid_earns_nothing(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    local.play()
    stolen = next(i.update for i in local.history.rounds[1].submissions if i.update.device == 0)
    copy_from(local, 1, stolen)
    round_ = local.play()
    copy = next(i for i in round_.submissions if i.update.device == 1)
    assert (copy.update.root, copy.update.cid) == (stolen.root, stolen.cid)
    assert round_.verdict(copy.position) is Verdict.DUPLICATE
    address = local.device_accounts[1].address
    assert [c.round for c in claims(local.history, local.ledger.domain, address)] == [1]
    honest = local.device_accounts[0].address
    assert [c.round for c in claims(local.history, local.ledger.domain, honest)] == [1, 2]
    call = next(iter(claims(local.history, local.ledger.domain, honest, (2,)))).call
    forgery = ContractCall("claim_device", (*call.args[:2], copy.position, *call.args[3:]))
    with pytest.raises(Reverted, match="not accepted"):
        local.ledger.send(local.device_accounts[1], [forgery])


def copy_from(local: LocalFederation, device: int, stolen: Update) -> None:
    """Let a device hand in what another has made, under its own name."""
    trainer = local.device_parties[device].trainer
    train = trainer._train

    def stealing(snapshot: RoundSnapshot, index: int) -> Update:
        update = replace(train(snapshot, index), root=stolen.root, cid=stolen.cid)
        record = trainer.journal.read_json("update.json") or {}
        record |= {"root": update.root.hex(), "cid": update.cid.hex()}
        trainer.journal.write_json("update.json", record)
        return update

    trainer._train = stealing  # type: ignore[method-assign]


def test_a_copied_commitment_cannot_be_handed_in(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    first = local.schedule.parties["devices"][0]
    first.act()
    inbox = local.miner_of(0)
    commitment = inbox.inbox.commitments[0]
    for device in (1, 2, 3):
        with pytest.raises(RelayError):
            local.miner_of(device).take_commitment(
                SignedCommitment(1, device, commitment.commitment, commitment.signature)
            )
