"""What parties claim by themselves: many rounds at once, for devices that cannot, where it is worth it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bcfl.daemon import Daemon
from bcfl.errors import LedgerError
from bcfl.roles.claims import claim_steps
from bcfl.roles.collector import Collector
from tests.village import TERMS, Village


def unclaimed(village: Village, account: str) -> int:
    return len(claim_steps(village.history, village.ledger.domain, account))


def test_default_behavior(tmp_path: Path) -> None:
    village = Village(tmp_path)
    device = village.device_accounts[0]
    collector = Collector(device, village.ledger, 3)
    assert collector.act(village.history) is None
    told = []
    for _ in range(4):
        village.play()
        told.append(collector.act(village.history))
    assert [text is not None for text in told] == [False, False, True, False]
    assert "for 3 shares" in str(told[2])
    assert unclaimed(village, device.address) == 1
    collector.end(village.history)
    assert unclaimed(village, device.address) == 0
    assert village.federation.contract.call("credits", device.address) > 0
    collector.end(village.history)  # and nothing is left to claim


def test_a_process_that_starts_claims_what_an_earlier_one_left(tmp_path: Path) -> None:
    village = Village(tmp_path)
    village.play(2)
    miner = village.miner_accounts[0]
    assert "for 2 shares" in str(Collector(miner, village.ledger, 5).act(village.history))


def test_what_costs_more_than_it_brings_is_left(tmp_path: Path) -> None:
    village = Village(tmp_path, terms=replace(TERMS, reward=1000))
    village.play()
    device = village.device_accounts[0]
    assert Collector(device, village.ledger, 1).act(village.history) is None
    assert unclaimed(village, device.address) == 1


def test_a_miner_claims_for_the_devices_that_do_not(tmp_path: Path) -> None:
    """Each is bound to some miner in each round, so in a few rounds all old shares are claimed."""
    village = Village(tmp_path)
    collectors = [Collector(account, village.ledger, 1, helps=True) for account in village.miner_accounts]
    for _ in range(5):
        village.play()
        for collector in collectors:
            collector.act(village.history)
    for account in village.device_accounts:
        claimed = [number for who, number, _ in village.history.claimed if who == account.address]
        assert 1 in claimed  # two rounds and more ago
        assert 5 not in claimed  # there is time for the device to do it itself
    assert sum(unclaimed(village, a.address) for a in village.miner_accounts) <= len(collectors)


def test_a_device_without_ether_leaves_it_to_its_miner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    village = Village(tmp_path)
    village.play()

    def unfunded(*_: object) -> int:
        raise LedgerError("the node refused: insufficient funds")

    monkeypatch.setattr(village.ledger, "send", unfunded)
    assert Collector(village.device_accounts[0], village.ledger, 1).act(village.history) is None


def test_a_party_that_ends_claims_first(tmp_path: Path) -> None:
    village = Village(tmp_path)
    village.play()
    home = village.homes[0]
    chore = Collector(home.account, village.ledger, 100)
    chore.act(village.history.__class__(village.terms.min_stake, blocks=village.history.blocks[:1]))
    daemon = Daemon(home, home.account, village.ledger, village.archive, chores=[chore])
    daemon.stop()
    daemon.run()
    assert unclaimed(village, home.account.address) == 0
