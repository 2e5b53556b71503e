"""What goes wrong in the middle of a run: a full disk, a deadline that has passed, no ether."""

from __future__ import annotations

import errno
import logging
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bcfl.errors import LedgerError
from bcfl.federation.daemon import Daemon
from bcfl.ledger.contract import transact
from bcfl.ledger.deployment.keystore import derive
from bcfl.ledger.devnet.embedded import EmbeddedChain
from bcfl.ledger.rpc import RpcChain
from bcfl.protocol.accounts import Account
from bcfl.protocol.types import Clock, Phase
from bcfl.storage import DirectoryStore
from tests.daemons import daemons, until_closed
from tests.local_federation import TERMS, LocalFederation
from tests.processes import STALL_SECONDS

ROOT = Path(__file__).parents[3]
MNEMONIC = "test test test test test test test test test test test junk"


class FullDisk:
    """A disk that is full until it is freed: a method that writes then fails as the system does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        self.is_full, self.refusals = False, 0
        method = getattr(owner, name)

        def write(*args: Any) -> Any:
            if not self.is_full:
                return method(*args)
            self.refusals += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(owner, name, write)


def turns(running: list[Daemon], count: int) -> list[float]:
    return [daemon.turn() for _ in range(count) for daemon in running]


def test_a_full_disk_under_the_store_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    local = LocalFederation(tmp_path)
    local.until(Phase.REVEAL)  # what is committed to goes on the store
    running, disk = daemons(local), FullDisk(monkeypatch, DirectoryStore, "_write")
    disk.is_full = True
    with caplog.at_level(logging.WARNING, "bcfl"):
        assert all(turns(running[: len(local.device_parties)], 2))
    assert disk.refusals >= len(local.device_parties)
    assert "free some space and try again" in caplog.text
    assert "Traceback" not in caplog.text
    disk.is_full = False
    until_closed(local, running, 1)
    assert local.history.rounds[1].status == "finalized"
    assert len(local.history.rounds[1].submissions) == len(local.device_parties)


def test_a_full_disk_under_the_journal_is_told_and_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What is not written down is not sent, so that nothing is sent twice."""
    local = LocalFederation(tmp_path)
    running, disk = daemons(local), FullDisk(monkeypatch, os, "fsync")
    disk.is_full = True
    for daemon in running[: len(local.device_parties)]:
        assert daemon.turn() > 0
        assert re.search(r"cannot (read|write) the journal .*No space left on device", caplog.text)
        caplog.clear()
    assert not local.history.rounds[1].commits
    disk.is_full = False
    until_closed(local, running, 1)
    round_ = local.history.rounds[1]
    assert round_.status == "finalized"
    assert sorted(item.update.device for item in round_.submissions) == list(range(len(local.device_parties)))


def test_a_full_disk_under_the_chain_refuses_and_loses_nothing(tmp_path: Path) -> None:
    """In a process of its own, whose files may not grow: each transaction is there as a whole, or refused."""
    device = derive(MNEMONIC, 0, 1)[0]
    process, url = start_chain(
        tmp_path, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
    )
    transactions: list[str] = []
    chain = RpcChain(url, poll=0.01)

    def fill() -> None:
        for _ in range(500):
            transactions.append(transact(chain, device, device.address, b"", 1, 21_000)["transactionHash"])

    with pytest.raises(LedgerError) as refusal:
        fill()
    chain.close()
    log = end(process)
    assert "\n" not in str(refusal.value)
    assert "Traceback" not in log
    assert transactions
    process, url = start_chain(tmp_path, None)
    chain = RpcChain(url, poll=0.01)
    receipts = [chain.request("eth_getTransactionReceipt", transaction) for transaction in transactions]
    transact(chain, device, device.address, b"", 1, 21_000)
    chain.close()
    end(process)
    assert all(receipt is not None and receipt["status"] == "0x1" for receipt in receipts)


def start_chain(folder: Path, limit: Callable[[], None] | None) -> tuple[subprocess.Popen[str], str]:
    """Run `bcfl chain up` in a process with a limit; returns it and its URL."""
    command = [sys.executable, "-m", "bcfl", "chain", "up", "--port", "0", "--dir", str(folder / "chain")]
    process = subprocess.Popen(
        [*command, "--accounts", "1"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=limit, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("rpc"), process.communicate()
    return process, line.split()[1]


def end(process: subprocess.Popen[str]) -> str:
    """Return all that a process prints to stderr until it has been asked to end."""
    process.terminate()
    return process.communicate(timeout=STALL_SECONDS)[1]


def test_a_deadline_that_has_passed_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A party whose snapshot is old comes too late: the contract refuses, and the party goes on."""
    local = LocalFederation(tmp_path)
    assert local.chain is not None
    miner = local.miner_parties[0]
    daemon = Daemon(miner, miner.account, local.ledger, local.archive)
    old_clock: Clock = local.ledger.clock()
    now = local.chain.now() + local.terms.commit_seconds
    local.chain.warp(now)
    clock = local.ledger.clock
    local.ledger.clock = lambda: replace(old_clock, deadline=now + 1)  # type: ignore[method-assign]
    with caplog.at_level(logging.INFO, "bcfl"):
        assert daemon.turn() > 0
    assert "not due any more: " in caplog.text
    local.ledger.clock = clock  # type: ignore[method-assign]
    assert local.ledger.clock().phase is not Phase.COMMIT
    until_closed(local, daemons(local), 1)


def test_a_device_without_ether_that_is_left_alone_goes_on_trying(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    poor = Account.derive(0, "device", 0)
    devices = [Account.derive(0, "device", i) for i in range(1, 4)]
    miners = [Account.derive(0, "miner", i) for i in range(4)]
    addresses = [Account.derive(0, "owner").address, *(a.address for a in (*devices, *miners))]
    local = LocalFederation(tmp_path, chain=EmbeddedChain(None, accounts=sorted(addresses)))
    device = local.device_parties[0]
    assert device.account.address == poor.address
    local.remove(local.miner_of(0))
    assert local.chain is not None
    local.chain.warp(local.chain.now() + int(0.8 * TERMS.commit_seconds))
    daemon = Daemon(device, device.account, local.ledger, local.archive, poll=0.5)
    with caplog.at_level(logging.WARNING, "bcfl"):
        assert [daemon.turn() for _ in range(2)] == [1, 2]
    assert "cannot afford" in caplog.text
