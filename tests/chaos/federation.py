"""A federation of real processes that a test starts, kills and starts again."""

from __future__ import annotations

import math
import multiprocessing
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from bcfl.cli import USAGE
from bcfl.errors import BcflError
from bcfl.federation.registration import open_first_round
from bcfl.ledger.artifact import deploy, federation_at
from bcfl.ledger.deployment import networks
from bcfl.ledger.live import LiveLedger
from bcfl.protocol.payload import layout_digest
from bcfl.protocol.rounds import History
from bcfl.protocol.types import Clock, Layout, Terms
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.vault import Vault
from bcfl.storage import open_store
from tests.certificates import Authority
from tests.chaos import parties
from tests.chaos.parties import Place, account
from tests.ipfs import ipfs
from tests.local_federation import ETHER, LAYOUT, TERMS
from tests.processes import STALL_SECONDS

START_SECONDS = STALL_SECONDS
PHASE = 10  # seconds, as a rule not used up
SLOW = 16  # the same where a killed IPFS daemon takes five of them to come back, as on a quiet machine
BACK = 3.2  # phases are at least so many times as long as the daemon took to start on this one
PHASES = ("commit", "reveal", "vote", "unveil", "elect", "propose", "attest")


class Federation:
    """Chain, store, miners and devices in `folder`; `real`: on a real IPFS daemon, else a shared folder.

    `encrypted`: whether chain and miners speak TLS, each known by the pin of one certificate, and updates and
    models are sealed.
    """

    def __init__(
        self, folder: Path, devices: int, miners: int, *, real: bool = False, encrypted: bool = False
    ) -> None:
        self.folder, self.devices, self.miners = folder, devices, miners
        self.daemon = ipfs.Daemon(_made(folder / "ipfs")) if real else None
        store = f"ipfs:{self.daemon.address}" if self.daemon else str(folder / "store")
        chain, *ports = _free_ports(1 + miners)
        tls = Authority.make(folder / "ca").issue("127.0.0.1") if encrypted else None
        self.place = Place(folder, chain, store, tuple(ports), tls=tls)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([parties.__name__, "bcfl.ledger.rpc"])
        self._tasks: dict[str, tuple[Callable[..., None], tuple[Any, ...]]] = {}
        self._running: dict[str, BaseProcess] = {}
        self.terms = _terms(SLOW if real else PHASE, self.place.layout)
        self._ledger: LiveLedger | None = None

    @property
    def names(self) -> list[str]:
        """The processes, the store's excepted where it is a folder."""
        return [*self._tasks, *(["store"] if self.daemon else [])]

    @property
    def ledger(self) -> LiveLedger:
        """The observer's own view of the chain; raises LedgerError while nobody serves it."""
        if self._ledger is None:
            chain = networks.connect(self.place.network, timeout=5)
            self._ledger = LiveLedger(federation_at(chain, self.place.contract))
        return self._ledger

    def _chain_answers(self) -> bool:
        """Connect once; raises while nobody answers."""
        networks.connect(self.place.network, timeout=5).close()
        return True

    def take_snapshot(self) -> tuple[Clock, History] | None:
        """Where the federation stands; None while nobody can be asked."""
        with suppress(BcflError):
            return self.ledger.clock(), self.ledger.history()
        return None

    def open(self) -> None:
        """Start everything, in the order of `bcfl up`, up to the first round."""
        if self.daemon is not None:
            start = time.monotonic()
            self.daemon.start()
            seconds = max(SLOW, math.ceil(BACK * (time.monotonic() - start)))
            self.terms = _terms(seconds, self.place.layout)
        owner = account("owner")
        parts = [account("miner", i) for i in range(self.miners)]
        parts += [account("device", i) for i in range(self.devices)]
        self._add("chain", parties.run_chain, [part.address for part in (owner, *parts)])
        _until("the chain answers", self._chain_answers)
        self._deploy(owner)
        for number in range(self.miners):
            self._add(f"miner {number}", parties.run_miner, number)
        for number in range(self.devices):
            self._add(f"device {number}", parties.run_device, number)
        _until("all miners have joined", lambda: len(self.ledger.history().endpoints) == self.miners)
        open_first_round(self.client(), owner)

    def client(self) -> Any:
        """What `bcfl.federation.registration` needs of a federation that was reached."""
        from bcfl.federation.client import FederationClient

        ledger = self.ledger
        return FederationClient("chaos", self.place.network, ledger.contract.chain, ledger, {}, 0)  # type: ignore[arg-type]

    def kill(self, name: str) -> None:
        """End a process as `kill -9` does."""
        if name == "store":
            assert self.daemon is not None
            self.daemon.kill()
            return
        process = self._running.pop(name)
        process.kill()
        process.join()
        process.close()

    def start(self, name: str) -> None:
        """Start a process that was killed."""
        if name == "store":
            assert self.daemon is not None
            self.daemon.launch()
            return
        task, args = self._tasks[name]
        process = self._context.Process(target=task, args=(self.place, *args), name=name)
        process.start()
        self._running[name] = process

    def revive(self) -> None:
        """Start again who has ended with an error, as `bcfl up` does: it found no node when it started."""
        for name, process in list(self._running.items()):
            if not process.is_alive() and process.exitcode == USAGE:
                self.start(name)

    def store_answers(self) -> bool:
        """Whether the daemon that may have been killed is there again."""
        with suppress(OSError):
            return self.daemon is None or bool(self.daemon.post("version"))
        return False

    def dead(self) -> list[str]:
        """Who has ended for another reason than being killed, or finding nobody."""
        exit_codes = {
            name: process.exitcode for name, process in self._running.items() if not process.is_alive()
        }
        return [name for name, code in exit_codes.items() if code != USAGE]

    def close(self) -> None:
        """End the parties in peace and kill what is left."""
        for name, process in self._running.items():
            if name != "chain":
                process.terminate()
        until = time.monotonic() + 10
        for name, process in self._running.items():
            if name != "chain":
                process.join(max(0.01, until - time.monotonic()))
        for process in self._running.values():
            process.kill()
            process.join()
        if self._ledger is not None:
            self._ledger.contract.chain.close()
        if self.daemon is not None:
            self.daemon.kill()

    def archive(self) -> Archive:
        """The vectors, read anew with the keys of all miners."""
        archive = Archive(open_store(self.place.store), self.place.layout, self.terms)
        if not self.place.contract:
            return archive
        everybody = [account("miner", i) for i in range(self.miners)]
        return archive.of_party(Vault(self.ledger.domain, self.ledger.history, everybody))

    def _add(self, name: str, task: Callable[..., None], *args: Any) -> None:
        self._tasks[name] = (task, args)
        self.start(name)

    def _deploy(self, owner: Any) -> None:
        import numpy as np

        from bcfl.protocol import fixedpoint

        zeros = fixedpoint.encode(np.zeros(LAYOUT.parameters, np.float32), self.terms.scale_bits)
        genesis = self.archive().put(zeros)
        chain = networks.connect(self.place.network)
        contract, _ = deploy(chain, owner, self.terms, genesis.root, genesis.cid, 100 * ETHER)
        contract.send(owner, "register_devices", [account("device", i).address for i in range(self.devices)])
        chain.close()
        self.place = replace(self.place, contract=contract.address)


@contextmanager
def opened(
    folder: Path, devices: int, miners: int, *, real: bool = False, encrypted: bool = False
) -> Iterator[Federation]:
    """A federation that runs, and is gone afterwards."""
    federation = Federation(folder, devices, miners, real=real, encrypted=encrypted)
    try:
        federation.open()
        yield federation
    finally:
        federation.close()


def _terms(seconds: int, layout: Layout) -> Terms:
    """What the parties agree on, each phase so long."""
    terms = replace(TERMS, layout=layout_digest(layout), grace=1)
    return replace(terms, **{f"{name}_seconds": seconds for name in PHASES})  # type: ignore[arg-type]


def _until(goal: str, holds: Callable[[], bool | None]) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        with suppress(BcflError):
            if holds():
                return
        time.sleep(0.05)
    raise TimeoutError(f"not in {START_SECONDS:g} s: {goal}")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]
    finally:
        for one in sockets:
            one.close()
