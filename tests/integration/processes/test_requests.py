"""How often a party asks its node: once a turn, and once more for what a new block or second may change."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bcfl.federation.node import MinerOptions, Node, NodeOptions
from bcfl.protocol.accounts import Account
from tests.daemons import Fork, client_of
from tests.local_federation import LAYOUT, LocalFederation

TURNS = 20


def counted(fork: Fork, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count the requests to a chain from now on, by method and block."""
    counts: Counter[str] = Counter()
    request = fork.request

    def counting(method: str, *params: Any) -> Any:
        counts[method] += 1
        return request(method, *params)

    monkeypatch.setattr(fork, "request", counting)
    return counts


def test_a_miner_that_waits_asks_once_a_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    local = LocalFederation(tmp_path)
    client, fork = client_of(local)
    account = local.miner_accounts[0]
    node = Node(client, account, LAYOUT, local.store, NodeOptions(None))
    with node.miner(local.learners[0], MinerOptions()) as daemon:
        for _ in range(3):
            daemon.turn()
        counts = counted(fork, monkeypatch)
        for _ in range(TURNS):
            daemon.turn()
        print(dict(counts))
        assert counts["eth_getBlockByNumber"] <= TURNS
        assert counts.total() <= TURNS + 2
        counts.clear()
        assert local.chain is not None
        local.chain.warp(local.chain.now() + 1)  # the clock may say something else now
        for _ in range(TURNS):
            daemon.turn()
        assert counts["eth_call"] <= 2
        assert counts.total() <= TURNS + 4


def test_no_history_is_older_than_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block comes between the head that a turn has read and the call: the history has that block, too."""
    local = LocalFederation(tmp_path)
    client, fork = client_of(local)
    request, contract = fork.request, local.ledger.contract

    def late(method: str, *params: Any) -> Any:
        if method == "eth_call" and not came:
            came.append(1)
            contract.send(local.owner, "register_devices", [Account.derive(0, "outsider").address])
        return request(method, *params)

    came: list[int] = []
    with client.ledger.turn():
        before = len(client.ledger.history().devices)
        monkeypatch.setattr(fork, "request", late)
        client.ledger.clock()
        assert came
        assert len(client.ledger.history().devices) == before + 1
