"""Parties claim by themselves: many rounds at once, for devices that cannot, where it is worth it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from bcfl.errors import LedgerError
from bcfl.federation.daemon import Daemon
from bcfl.protocol.accounts import Account
from bcfl.protocol.types import Phase
from bcfl.roles.background import claiming as claiming_module
from bcfl.roles.background.claiming import Claiming
from bcfl.roles.background.claims import claim_calls
from tests.local_federation import ETHER, TERMS, LocalFederation


def unclaimed(local: LocalFederation, account: str) -> int:
    return len(claim_calls(local.history, local.ledger.domain, account))


def test_default_behavior(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    device = local.device_accounts[0]
    claiming = Claiming(device, local.ledger, 3)
    assert claiming.act(local.history) is None
    texts = []
    for _ in range(4):
        local.play()
        texts.append(claiming.act(local.history))
    assert [text is not None for text in texts] == [False, False, True, False]
    assert "for 3 shares" in str(texts[2])
    assert unclaimed(local, device.address) == 1
    claiming.end(local.history)
    assert unclaimed(local, device.address) == 0
    assert local.ledger.contract.call("credits", device.address) > 0
    claiming.end(local.history)  # and nothing is left to claim


def test_claims_do_not_crowd_a_phase(tmp_path: Path) -> None:
    """Of forty accounts each claims in a round and at a moment of its own, by no clock but the given one."""
    local = LocalFederation(tmp_path)
    now = [0.0]
    accounts = [Account.derive(0, "device", number) for number in range(40)]
    claims: Counter[tuple[int, int]] = Counter()
    chores = [Claiming(a, local.ledger, 4, spread=30.0, clock=lambda: now[0]) for a in accounts]
    for chore in chores:
        chore._claim = partial(_count, claims, local, now)  # type: ignore[method-assign]
    for _ in range(9):
        local.play()
        for _ in range(30):
            now[0] += 1
            for chore in chores:
                chore.act(local.history)
    rounds = Counter(height for (height, _), count in claims.items() for _ in range(count) if height > 4)
    assert sum(rounds.values()) >= 40
    assert max(rounds.values()) <= 20  # of forty, in each of four rounds
    assert max(claims.values()) <= 8


def _count(claims: Counter[tuple[int, int]], local: LocalFederation, now: list[float], *_: object) -> None:
    claims[len(local.history.blocks) - 1, int(now[0])] += 1


def test_a_miner_does_what_is_due_before_it_claims(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    local.play()
    account, now = local.miner_accounts[0], [0.0]
    claiming = Claiming(account, local.ledger, 1, spread=30.0, clock=lambda: now[0])
    assert claiming.act(local.history) is None
    now[0] = 60.0
    assert local.ledger.clock().phase is Phase.COMMIT
    assert claiming.act(local.history) is None  # it has not committed yet
    now[0] = 121.0
    assert "for 1 shares" in str(claiming.act(local.history))  # and it does not wait for ever


def test_a_process_that_starts_claims_what_an_earlier_one_left(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    local.play(2)
    miner = local.miner_accounts[0]
    assert "for 2 shares" in str(Claiming(miner, local.ledger, 5).act(local.history))


def test_what_costs_more_than_it_brings_is_left(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path, terms=replace(TERMS, reward=1000))
    local.play()
    device = local.device_accounts[0]
    assert Claiming(device, local.ledger, 1).act(local.history) is None
    assert unclaimed(local, device.address) == 1


def lazy_federation(path: Path, lazy_rounds: int) -> tuple[LocalFederation, Account]:
    """Play rounds in which one of three miners votes and does not attest, and one in which it does."""
    terms = replace(TERMS, propose_seconds=30, challenge_seconds=60, challenge_bond=ETHER // 10)
    local = LocalFederation(path, miners=3, terms=terms)
    lead = local.miner_parties[2].lead
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lead, "propose", lambda _: None)
        patch.setattr(lead, "attest", lambda _: None)
        local.play(lazy_rounds)
    local.play()
    return local, local.miner_accounts[2]


def test_what_pays_nothing_takes_no_room_and_no_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many worthless claims as there is room for: the one that pays is claimed, and then nothing."""
    local, lazy = lazy_federation(tmp_path, lazy_rounds=2)
    monkeypatch.setattr(claiming_module, "MAX_CLAIMS", 2)
    claiming, contract = Claiming(lazy, local.ledger, 1), local.ledger.contract
    owed, pool = contract.call("owed"), contract.call("pool")
    assert "for 1 shares" in str(claiming.act(local.history))
    assert contract.call("credits", lazy.address) > 0
    back = contract.call("pool") - pool
    assert back == owed - contract.call("owed") > 0  # of the first round, in the room that was left
    assert unclaimed(local, lazy.address) == 1
    claiming.end(local.history)
    assert unclaimed(local, lazy.address) == 1


def test_nobody_pays_to_give_back_more_than_it_earns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local, lazy = lazy_federation(tmp_path, lazy_rounds=1)
    monkeypatch.setattr(local.ledger, "price", lambda _, calls: ETHER if len(calls) > 1 else 0)
    pool = local.ledger.contract.call("pool")
    assert "for 1 shares" in str(Claiming(lazy, local.ledger, 1).act(local.history))
    assert local.ledger.contract.call("pool") == pool
    assert unclaimed(local, lazy.address) == 1


def test_a_miner_claims_for_the_devices_that_do_not(tmp_path: Path) -> None:
    """Each is bound to some miner in each round, so in a few rounds all old shares are claimed."""
    local = LocalFederation(tmp_path)
    chores = [Claiming(account, local.ledger, 1, helps=True) for account in local.miner_accounts]
    for _ in range(5):
        local.play()
        for claiming in chores:
            claiming.act(local.history)
    for account in local.device_accounts:
        rounds = [number for claimant, number, _ in local.history.claimed if claimant == account.address]
        assert 1 in rounds  # two rounds and more ago
        assert 5 not in rounds  # there is time for the device to do it itself
    assert sum(unclaimed(local, a.address) for a in local.miner_accounts) <= len(chores)


def test_a_device_without_ether_leaves_it_to_its_miner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = LocalFederation(tmp_path)
    local.play()

    def unfunded(*_: object) -> int:
        raise LedgerError("the node refused: insufficient funds")

    monkeypatch.setattr(local.ledger, "send", unfunded)
    assert Claiming(local.device_accounts[0], local.ledger, 1).act(local.history) is None


def test_a_party_that_ends_claims_first(tmp_path: Path) -> None:
    local = LocalFederation(tmp_path)
    local.play()
    home = local.device_parties[0]
    chore = Claiming(home.account, local.ledger, 100)
    chore.act(local.history.__class__(local.terms.min_stake, blocks=local.history.blocks[:1]))
    daemon = Daemon(home, home.account, local.ledger, local.archive, background=[chore])
    daemon.stop()
    daemon.run()
    assert unclaimed(local, home.account.address) == 0
