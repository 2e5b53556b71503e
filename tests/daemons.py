"""Run the parties of a local federation as daemons, and connect to it as a process does."""

from __future__ import annotations

from typing import Any

from bcfl.errors import Unreachable
from bcfl.federation.client import FederationClient
from bcfl.federation.daemon import Daemon
from bcfl.ledger.artifact import federation_at
from bcfl.ledger.deployment.networks import Network
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.ledger.live import LiveLedger
from bcfl.roles.common.snapshot import next_change, take_snapshot
from bcfl.roles.device.device import Device
from bcfl.roles.miner.miner import Miner
from tests.local_federation import LocalFederation


class Fork:
    """An embedded chain that can be exchanged for another, with the blocks that a node gives."""

    url = "http://127.0.0.1:1"

    def __init__(self, chain: EmbeddedChain) -> None:
        self.chain, self.away = chain, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.chain, name)

    def request(self, method: str, *params: Any) -> Any:
        if self.away:
            raise Unreachable("http://127.0.0.1:1: ConnectionError; is the node running and the URL right?")
        return self.chain.request(method, *params)


def client_of(local: LocalFederation) -> tuple[FederationClient, Fork]:
    """Return a client of a local federation, and the chain below it."""
    assert local.chain is not None
    fork = Fork(local.chain)
    ledger = LiveLedger(federation_at(fork, str(local.contract)))
    return FederationClient("demo", Network("local", fork.url), fork, ledger, {}, 0), fork  # type: ignore[arg-type]


def daemons(local: LocalFederation, *, devices: bool = True) -> list[Daemon]:
    """Return a daemon around every party; all share the ledger of the federation."""
    parties: list[Device | Miner] = [*(local.device_parties if devices else []), *local.miner_parties]
    miners = {id(miner) for miner in local.miner_parties}
    return [
        Daemon(p, p.account, local.ledger, local.archive, advances=id(p) in miners, poll=0.01)
        for p in parties
    ]


def until_closed(local: LocalFederation, running: list[Daemon], number: int, turns: int = 400) -> None:
    """Take turns until a round has ended; time passes where nobody has anything to do."""
    for _ in range(turns):
        if local.history.rounds[number].closed is not None:
            return
        pauses = [daemon.turn() for daemon in running]
        if all(pauses):
            snapshot = take_snapshot(local.ledger)
            assert local.chain is not None
            local.chain.warp(local.chain.now() + 1 if snapshot is None else next_change(snapshot))
    raise AssertionError("the round stands still")
