"""What runs in each process of a chaos run: the chain, or one party around a learner that costs nothing.

The processes are forked from a server that has imported everything, so that one which was killed is back at
once; each has its own memory, sockets, files and death.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bcfl.cli import USAGE
from bcfl.errors import BcflError
from bcfl.federation.client import FederationClient, connect
from bcfl.federation.node import MinerOptions, Node, NodeOptions
from bcfl.federation.supervisor import die_with
from bcfl.ledger.deployment import networks
from bcfl.ledger.devnet.server import serve
from bcfl.protocol.accounts import Account
from bcfl.protocol.types import Layout
from bcfl.storage import open_store
from bcfl.transport.tls import TlsFiles
from tests.local_federation import LAYOUT, MEMBERS, Quadratic

POLL = 0.1
KEEP = 3  # rounds that a party keeps what it has touched


@dataclass(frozen=True)
class Place:
    """Where a federation is: its folder, node and store, the ports of its miners, and their certificate."""

    folder: Path
    chain_port: int
    store: str
    ports: tuple[int, ...]
    contract: str = ""
    tls: TlsFiles | None = None

    @property
    def layout(self) -> Layout:
        """What the parties learn; those that speak TLS seal it for the members."""
        return LAYOUT if self.tls is None else MEMBERS

    @property
    def network(self) -> networks.Network:
        if self.tls is None:
            return networks.Network("chaos", f"http://127.0.0.1:{self.chain_port}")
        pin = self.tls.load().fragment
        return networks.Network("chaos", f"https://127.0.0.1:{self.chain_port}{pin}")


def account(role: str, number: int = 0) -> Account:
    return Account.derive(0, role, number)


def optimum(number: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    """Where a party's data would have the model: near to everybody else's."""
    truth = np.random.default_rng(7).normal(0, 0.3, LAYOUT.parameters)
    return (truth + np.random.default_rng(number).normal(0, 0.02, truth.shape)).astype(np.float32)


def run_chain(place: Place, addresses: list[str]) -> None:
    """Serve the chain until killed."""
    chain = serve(place.folder / "chain", addresses, port=place.chain_port, tls=place.tls)
    with _spoken(place.folder / "chain.log"), chain:
        signal.pause()


def run_device(place: Place, number: int) -> None:
    """One device until killed, or told to end."""
    learner = Quadratic(optimum(number), 10 + number, 1000 * (10 + number))
    with (
        _spoken(place.folder / f"device-{number}.log"),
        connect(place.network, place.contract, timeout=10) as client,
    ):
        daemon = node_of(client, place, account("device", number)).device(learner)
        signal.signal(signal.SIGTERM, daemon.stop)
        daemon.run()


def run_miner(place: Place, number: int) -> None:
    """One miner until killed, or told to end."""
    learner = Quadratic(optimum(100 + number))
    with (
        _spoken(place.folder / f"miner-{number}.log"),
        connect(place.network, place.contract, timeout=10) as client,
    ):
        stake = client.ledger.terms.min_stake * 2 - 1
        options = MinerOptions(port=place.ports[number], stake=stake, tls=place.tls)
        with node_of(client, place, account("miner", number)).miner(learner, options) as daemon:
            signal.signal(signal.SIGTERM, daemon.stop)
            daemon.run()


def node_of(client: FederationClient, place: Place, account: Account) -> Node:
    store = open_store(place.store, search=client.search_seconds)
    options = NodeOptions(place.folder / "journals", POLL, KEEP, claim_every=2)
    return Node(client, account, place.layout, store, options)


@contextmanager
def _spoken(log: Path) -> Iterator[None]:
    """All that the process says goes into a file, tracebacks included; errors end it as they end `bcfl`."""
    if bind := die_with(os.getppid()):
        bind()  # no process outlives the server that forked it, and that one not the test
    target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(target, stream)
    sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(message)s", force=True)
    try:
        yield
    except BcflError as error:
        print("error:", error, file=sys.stderr)
        sys.exit(USAGE)
