"""Connect to a deployed federation, by the name of its record or by its contract's address.

    with connect(networks.resolve("local"), "federation") as client:
        client.ledger.history()

The code at the address is compared with this version's before anything is read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from bcfl.errors import ConfigError, LedgerError
from bcfl.federation.daemon import RETRY_SECONDS
from bcfl.federation.layouts import KindOfTask, recorded_task
from bcfl.ledger.artifact import artifact, federation_at
from bcfl.ledger.chain import code_at
from bcfl.ledger.deployment import networks, records
from bcfl.ledger.deployment.addresses import parse_address
from bcfl.ledger.live import LiveLedger
from bcfl.protocol import payload
from bcfl.protocol.hashing import keccak
from bcfl.protocol.types import Mode
from bcfl.relay.client import EXCHANGE_SECONDS, PRIVATE_VARIABLE
from bcfl.roles.common.archive import Archive
from bcfl.storage.address import SEARCH_SECONDS
from bcfl.storage.directory import DirectoryStore
from bcfl.transport.client import is_private_host

if TYPE_CHECKING:
    from bcfl.ledger.rpc import RpcChain
    from bcfl.ports import Store
    from bcfl.protocol.types import Layout

DEVELOPMENT_CHAINS: Final = frozenset({31337, 1337})  # of `bcfl chain up` and anvil; of geth --dev
READERS: Final = 16  # updates that are read side by side from a store across a network
SHARE: Final = 8  # of a phase: what is waited for takes no more than one part in so many


@dataclass(frozen=True)
class FederationClient:
    """A federation on a network; `options`: what its owner made the terms from, where the record says so."""

    name: str
    network: networks.Network
    chain: RpcChain
    ledger: LiveLedger
    options: Mapping[str, Any]
    block: int  # of the deployment

    @cached_property
    def is_public(self) -> bool:
        """Return whether endpoints of private networks are refused: unless the network's settings allow them.

        A development chain that has a node in a private network is no public one. Of another chain the node
        tells nothing: many run one of their own beside a public chain.
        """
        if self.network.private_endpoints or os.environ.get(PRIVATE_VARIABLE):
            return False
        if self.chain.chain_id not in DEVELOPMENT_CHAINS:
            return True
        hosts = [urlsplit(url.strip()).hostname for url in self.network.rpc.split(",")]
        return all(host is not None and not is_private_host(host) for host in hosts)

    @property
    def address(self) -> str:
        """Return the address of the contract."""
        return self.ledger.contract.address

    def task(self, task: KindOfTask, store: Store) -> KindOfTask:
        """Return the task with the federation's exponents, from a model on the store.

        Raises ConfigError for a task that is not the federation's, StoreError where no model is there.
        """
        terms, blocks = self.ledger.terms, self.ledger.history().blocks
        return recorded_task(task, store, terms, [block.cid for block in blocks])

    def archive(self, layout: Layout, store: Store) -> Archive:
        """Return the federation's vectors on a store; raises ConfigError for a model of another shape."""
        terms = self.ledger.terms
        if payload.layout_digest(layout) != terms.layout:
            raise ConfigError(
                f"this model has {layout.parameters:,} parameters and another layout than the federation's "
                f"({terms.parameters:,} parameters): use the task and model that it was deployed with"
            )
        return Archive(store, layout, terms, readers=1 if isinstance(store, DirectoryStore) else READERS)

    @property
    def is_full(self) -> bool:
        """Whether every device is a miner too."""
        return self.ledger.terms.mode == Mode.FULL

    @property
    def exchange_seconds(self) -> float:
        """Return how long a message may take: a share of the shortest phase, no longer than is sensible."""
        return min(EXCHANGE_SECONDS, self._shortest_share)

    @property
    def search_seconds(self) -> float:
        """Return how long to look for an update's bytes: a share of the phase in which they are judged."""
        return min(SEARCH_SECONDS, max(1.0, self.ledger.terms.vote_seconds / SHARE))

    @property
    def retry_seconds(self) -> float:
        """Return the most between two tries while something is away, so that it makes nobody miss a phase."""
        return min(RETRY_SECONDS, self._shortest_share)

    @property
    def _shortest_share(self) -> float:
        terms = self.ledger.terms
        shortest = min(terms.commit_seconds, terms.reveal_seconds, terms.vote_seconds, terms.unveil_seconds)
        return max(1.0, min(shortest, terms.propose_seconds, terms.attest_seconds) / SHARE)


@contextmanager
def connect(
    network: networks.Network, deployment: str, folder: Path = records.FOLDER, **options: float
) -> Iterator[FederationClient]:
    """Connect to the federation of that name in `folder`, or at that address; `options`: as of RpcChain.

    Raises ConfigError for a name that is not there, LedgerError for a contract that is not this version's.
    """
    chain = networks.connect(network, **options)
    try:
        if deployment.startswith("0x"):
            yield _by_address(network, chain, parse_address(deployment, "--deployment"))
        else:
            yield _by_name(network, chain, records.read(folder, network.name, deployment))
    finally:
        chain.close()


def _by_name(network: networks.Network, chain: RpcChain, record: records.Deployment) -> FederationClient:
    """Return a recorded federation; raises LedgerError unless its code is the record's and this version's."""
    if record.chain_id != chain.chain_id:
        raise ConfigError(
            f"{record.name} is on chain {record.chain_id}, and network {network.name} is chain "
            f"{chain.chain_id}: name another --network"
        )
    if record.sources_sha256 != artifact()["sources_sha256"]:
        raise LedgerError(f"{record.name} was deployed by another version of bcfl: use that one")
    code = "0x" + keccak(code_at(chain, record.address)).hex()
    if code != record.code_keccak256["Federation"]:
        raise LedgerError(f"the code at {record.address} is not what {record.name} recorded: do not trust it")
    ledger = LiveLedger(federation_at(chain, record.address), record.block)
    return FederationClient(record.name, network, chain, ledger, record.options, record.block)


def _by_address(network: networks.Network, chain: RpcChain, address: str) -> FederationClient:
    """Return the federation at an address, once its code has been compared with this version's."""
    from bcfl.ledger.deployment.inspection import inspect

    contract = inspect(chain, address)
    ledger = LiveLedger(federation_at(chain, contract.address), contract.block)
    return FederationClient(contract.address, network, chain, ledger, {}, contract.block)
