"""A second process with a party's key and a journal of its own, as on another machine, is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from bcfl.federation.node import MinerOptions, Node, NodeOptions
from bcfl.federation.twins import Twins
from bcfl.protocol.types import Phase
from bcfl.roles.common.journal import Journal
from bcfl.roles.device.device import Device
from bcfl.roles.miner.miner import Miner
from bcfl.roles.miner.verifier import Verifier
from tests.daemons import client_of
from tests.local_federation import LAYOUT, LocalFederation

PHASES = (Phase.COMMIT, Phase.REVEAL, Phase.VOTE, Phase.UNVEIL, Phase.PROPOSE, Phase.ATTEST)


def twins_of(local: LocalFederation) -> list[Twins]:
    """Return what looks for other processes, one for each party."""
    parties: list[Device | Miner] = [*local.device_parties, *local.miner_parties]
    return [Twins(party.account, local.ledger, party) for party in parties]


def test_two_processes_of_a_miner_notice_each_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    local = LocalFederation(tmp_path / "local")
    account = local.miner_accounts[0]
    first, second = (
        Node(client_of(local)[0], account, LAYOUT, local.store, NodeOptions(tmp_path / name, poll=0.01))
        for name in ("a", "b")
    )
    with first.miner(local.learners[0], MinerOptions()) as daemon:
        daemon.turn()
        own = first.client.ledger.history().endpoints[account.address]
        with second.miner(local.learners[0], MinerOptions()):
            other = second.client.ledger.history().endpoints[account.address]
            assert own != other
            while not daemon.turn():
                pass
            assert second.client.ledger.history().endpoints[account.address] == own
            assert f"the chain names '{other}'" in caplog.text
            assert "another process seems to use this key, and one of the two has to end" in caplog.text
            health = requests.get(f"{own}/healthz", timeout=60).json()
            assert other in health["other_process"]


def test_acts_of_another_process_are_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    local = LocalFederation(tmp_path)
    miner, device = local.miner_parties[0], local.device_parties[0]
    verifier = Verifier(local.learners[1], local.ledger, local.archive, miner.voting.verifier.checks)
    journals = [Journal(tmp_path / name) for name in ("miner", "device")]
    other_miner = Miner(miner.account, local.ledger, local.relay, local.archive, verifier, journals[0])
    other_device = Device(
        device.account, local.learners[1], local.ledger, local.relay, local.archive, journals[1]
    )
    bound = local.history.binding(0)
    local.relay.close(str(bound))  # the device commits alone
    local.schedule.parties["devices"] = [*local.device_parties[1:], other_device]
    local.schedule.parties["miners"] = [*local.miner_parties[1:], other_miner]
    watching = [Twins(party.account, local.ledger, party) for party in (miner, device)]
    for phase in PHASES[:-1]:
        local.until(phase)
        for twins in watching:
            for _ in range(2):  # said once
                twins.act(local.history)
    lines = [record.getMessage() for record in caplog.records if "another process" in record.getMessage()]
    for account, act in (
        (miner.account, "a batch"), (miner.account, "a vote"),
        (device.account, "a commitment"), (device.account, "an update"),
    ):  # fmt: skip
        text = f"the chain shows {act} of {account.address} in round 1, and its journal does not"
        assert [text in line for line in lines].count(True) >= 1
    assert all(twins.notices()["other_process"] for twins in watching)


@pytest.mark.parametrize("dual_accounts", [0, 2])
def test_a_party_that_was_started_again_knows_its_own_acts(
    tmp_path: Path, dual_accounts: int, caplog: pytest.LogCaptureFixture
) -> None:
    local = LocalFederation(tmp_path, dual_accounts=dual_accounts)
    for _ in range(2):
        for phase in PHASES:
            local.until(phase)
            local = local.restart()
            for twins in twins_of(local):
                twins.act(local.history)
                assert twins.notices() == {"other_process": None}
        local.play()
    assert "another process" not in caplog.text
