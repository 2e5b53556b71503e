"""How a device or a miner joins a deployed federation (steps 1 to 8): what it reaches, what it brings.

    with reach(networks.resolve("local"), "federation") as site:
        device(site, account, learner, layout, store, Path("journal")).run()

The same roles as in a simulation, on a node, a store and desks behind sockets.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from eth_utils.crypto import keccak

from bcfl.errors import ConfigError, LedgerError, RelayError, RunError
from bcfl.federation.daemon import LONGEST, POLL, Chore, Daemon
from bcfl.ledger.artifact import artifact, federation_at
from bcfl.ledger.chain import code_at
from bcfl.ledger.deployment import networks, records
from bcfl.ledger.deployment.addresses import parse_address
from bcfl.ledger.deployment.deploy import ether
from bcfl.ledger.live import LiveLedger
from bcfl.protocol import payload
from bcfl.protocol.beacon import chain_tail
from bcfl.protocol.types import Mode
from bcfl.protocol.wishes import said
from bcfl.relay.client import EXCHANGE_SECONDS, Endpoint, HttpRelay
from bcfl.relay.mailbox import Mailbox
from bcfl.relay.server import Counters, InboxServer
from bcfl.roles.background.claiming import CLAIM_EVERY, Claiming
from bcfl.roles.background.pinning import KEEP_ROUNDS, Pinning
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.journal import Journal
from bcfl.roles.device.device import Device
from bcfl.roles.miner.miner import Miner
from bcfl.roles.miner.verifier import Checks, Verifier
from bcfl.roles.peer import OwnInbox, Peer
from bcfl.storage.directory import DirectoryStore
from bcfl.storage.address import SEARCH_SECONDS, Pins

if TYPE_CHECKING:
    from bcfl.ledger.rpc import RpcChain
    from bcfl.ports import Learner, Store
    from bcfl.protocol.accounts import Account
    from bcfl.protocol.types import Layout
    from bcfl.protocol.wishes import Wish

LOCK: Final = "lock"
READERS: Final = 16  # updates that are read side by side from a store across a network
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FederationClient:
    """A federation that was reached; `options`: what its owner made the terms from, if that is known."""

    name: str
    network: networks.Network
    chain: RpcChain
    ledger: LiveLedger
    options: Mapping[str, Any]
    block: int  # of the deployment

    @property
    def address(self) -> str:
        """The contract."""
        return self.ledger.contract.address

    def archive(self, layout: Layout, store: Store) -> Archive:
        """The federation's vectors on a store; raises ConfigError for a model of another shape."""
        terms = self.ledger.terms
        if payload.layout_digest(layout) != terms.layout:
            raise ConfigError(
                f"this model has {layout.parameters:,} parameters and another layout than the federation's "
                f"({terms.parameters:,} parameters): use the task and model that it was deployed with"
            )
        return Archive(store, layout, terms, readers=1 if isinstance(store, DirectoryStore) else READERS)

    @property
    def full(self) -> bool:
        """Whether every device is a miner too."""
        return self.ledger.terms.mode == Mode.FULL

    @property
    def patience(self) -> float:
        """Seconds that a message may take: an eighth of the shortest phase, no longer than is sensible."""
        return min(EXCHANGE_SECONDS, self._eighth)

    @property
    def search(self) -> float:
        """The most seconds to look for an update's bytes: an eighth of the phase in which they are judged."""
        return min(SEARCH_SECONDS, max(1.0, self.ledger.terms.vote_seconds / 8))

    @property
    def longest(self) -> float:
        """The most seconds between two tries while something is away, so that no phase is missed by it."""
        return min(LONGEST, self._eighth)

    @property
    def _eighth(self) -> float:
        terms = self.ledger.terms
        shortest = min(terms.commit_seconds, terms.reveal_seconds, terms.vote_seconds, terms.unveil_seconds)
        return max(1.0, min(shortest, terms.propose_seconds, terms.attest_seconds) / 8)


@contextmanager
def reach(
    network: networks.Network, deployment: str, folder: Path = records.FOLDER, **options: float
) -> Iterator[FederationClient]:
    """The federation of that name in `folder`, or at that address; `options` are those of RpcChain.

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


def device(
    client: FederationClient,
    account: Account,
    learner: Learner,
    layout: Layout,
    store: Store,
    journal: Path | None,
    *,
    poll: float = POLL,
    keep: int = KEEP_ROUNDS,
    claim_every: int = CLAIM_EVERY,
) -> Daemon:
    """A device that is ready to run; `journal` is a folder, None only where a crash costs nothing.

    `keep`: rounds after which its store may drop what it has pinned; `claim_every`: finished rounds between
    two claims of what it has earned; 0 for never. Raises ConfigError in a federation of mode `full`, where
    every device is a `peer`.
    """
    if client.full:
        raise ConfigError(f"{client.name} is of mode full, where every device is a miner too: join as both")
    archive, records = client.archive(layout, store), Journal(_own(journal, account))
    relay = HttpRelay(account, client.ledger, client.patience)
    made = Device(account, learner, client.ledger, relay, archive, records)
    chores = _chores(account, client.ledger, archive, records, keep, claim_every)
    return Daemon(made, account, client.ledger, archive, poll=poll, chores=chores, longest=client.longest)


@contextmanager
def miner(
    client: FederationClient,
    account: Account,
    learner: Learner,
    layout: Layout,
    store: Store,
    journal: Path | None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    endpoint: str | None = None,
    stake: int | None = None,
    checks: Checks | None = None,
    wishes: Sequence[Wish] = (),
    poll: float = POLL,
    keep: int = KEEP_ROUNDS,
    claim_every: int = CLAIM_EVERY,
) -> Iterator[Daemon]:
    """A miner that is ready to run, with its desk behind a socket; registered with `stake` if it is not yet.

    `endpoint` is the URL under which others reach the desk (None: the socket's own). It is announced on chain
    where that differs; port 0 is the one announced before, if it is free, else any. `wishes` are the engines
    that it votes for. `keep` and `claim_every` are as for a device; a miner also claims what its devices
    leave unclaimed. Raises ConfigError when nothing can listen there, no stake is named, or the federation's
    mode does not fit.
    """
    if client.full:
        raise ConfigError(f"{client.name} is of mode full, where every miner is a device too: join as both")
    archive, records = client.archive(layout, store), Journal(_own(journal, account))
    relay = HttpRelay(account, client.ledger, client.patience)
    verifier = Verifier(learner, client.ledger, archive, checks or Checks())
    engines = partial(said, _fitting(client, wishes))
    made = Miner(account, client.ledger, relay, archive, verifier, records, engines)
    chores = _chores(account, client.ledger, archive, records, keep, claim_every, helps=True)
    with _served(client, made, made, archive, chores, (host, port), endpoint, stake, poll) as daemon:
        yield daemon


@contextmanager
def peer(
    client: FederationClient,
    account: Account,
    learner: Learner,
    judge: Learner,
    layout: Layout,
    store: Store,
    journal: Path | None,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    endpoint: str | None = None,
    stake: int | None = None,
    checks: Checks | None = None,
    poll: float = POLL,
    keep: int = KEEP_ROUNDS,
    claim_every: int = CLAIM_EVERY,
) -> Iterator[Daemon]:
    """Device and miner in one, as mode `full` wants them: one key, one stake, one journal, one desk.

    `learner` trains, `judge` holds data to verify with; the rest as with `miner`. Raises ConfigError for a
    federation of another mode, and for an account that its owner has not registered as a device.
    """
    if not client.full:
        raise ConfigError(f"{client.name} is not of mode full: join as a device or as a miner")
    if client.ledger.history().device_index(account.address) is None:
        raise ConfigError(
            f"{account.address} is no device of {client.name}: its owner registers devices first"
        )
    archive, records = client.archive(layout, store), Journal(_own(journal, account))
    relay = HttpRelay(account, client.ledger, client.patience)
    verifier = Verifier(judge, client.ledger, archive, checks or Checks())
    miner = Miner(account, client.ledger, relay, archive, verifier, records)
    device = Device(account, learner, client.ledger, OwnInbox(relay, miner), archive, records)
    chores = _chores(account, client.ledger, archive, records, keep, claim_every, helps=True)
    with _served(
        client, Peer(device, miner), miner, archive, chores, (host, port), endpoint, stake, poll
    ) as daemon:
        yield daemon


@contextmanager
def _served(
    client: FederationClient,
    party: Miner | Peer,
    inbox: Miner,
    archive: Archive,
    chores: list[Chore],
    listen: tuple[str, int],
    endpoint: str | None,
    stake: int | None,
    poll: float,
) -> Iterator[Daemon]:
    """A party with its miner's desk behind a socket; the miner registered and announced."""
    account, ledger, mailbox, counters = inbox.account, client.ledger, Mailbox(), Counters()
    daemon = Daemon(
        party, account, ledger, archive, mailbox=mailbox, counters=counters, poll=poll, pushes=True,
        chores=chores, longest=client.longest,
    )  # fmt: skip
    make = partial(
        InboxServer, account.address, inbox, ledger, mailbox, health=daemon.health, counters=counters
    )
    server = _listening(make, *listen, None if endpoint else ledger.history().endpoints.get(account.address))
    try:
        server.start()
        enrol(client, account, endpoint or server.url, stake)
        yield daemon
    finally:
        server.stop()


def _listening(make: Callable[..., InboxServer], host: str, port: int, announced: str | None) -> InboxServer:
    """The server of a desk; port 0 is the one that was announced for this host, if it is still free.

    So whoever starts again is reached where it was, and a port that somebody else has taken since is no harm.
    """
    if port == 0 and announced:
        with suppress(RelayError, ConfigError):
            known = Endpoint.parse(announced)
            if (known.is_secure, known.host, known.path) == (False, host, ""):
                return make(host=host, port=known.port)
    return make(host=host, port=port)


def enrol(client: FederationClient, account: Account, endpoint: str, stake: int | None) -> None:
    """Register a miner that is not registered yet, and announce where it is reached if that is new."""
    Endpoint.parse(endpoint)
    contract, history = client.ledger.contract, client.ledger.history()
    member = history.miners.get(account.address)
    if member is None:
        if stake is None:
            least = ether(client.ledger.terms.min_stake)
            raise ConfigError(f"{account.address} is no miner yet: join with --stake, at least {least}")
        tail = chain_tail(account, client.ledger.domain, history.chains.get(account.address, 0))
        contract.send(account, "register_miner", tail, value=stake)
        log.info("registered with a stake of %s", ether(stake), extra={"account": account.address})
    elif member.exit_round:
        raise ConfigError(f"{account.address} has left the federation as a miner: take another account")
    if history.endpoints.get(account.address) != endpoint:
        contract.send(account, "announce", endpoint)


def _fitting(client: FederationClient, wishes: Sequence[Wish]) -> Sequence[Wish]:
    """The wishes of a miner, where its votes may carry them; raises ConfigError elsewhere."""
    if wishes and client.ledger.terms.mode != Mode.HYBRID:
        mode = Mode(client.ledger.terms.mode).name.lower()
        raise ConfigError(f"{client.name} is of mode {mode}: only hybrid changes its engine, leave wish out")
    return wishes


def open_first_round(client: FederationClient, owner: Account) -> bool:
    """Open round 1 as the owner; False if that has been done. Raises ConfigError while nobody takes part."""
    history = client.ledger.history()
    if history.rounds:
        return False
    if not history.miners or not history.devices:
        who = "device is registered" if history.miners else "miner has joined"
        raise ConfigError(f"no {who} yet: the first round would come to nothing")
    client.ledger.contract.send(owner, "start")
    return True


def _by_name(network: networks.Network, chain: RpcChain, record: records.Deployment) -> FederationClient:
    """A recorded federation, whose code is what the record says, by the version that this one is."""
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
    from bcfl.ledger.deployment.inspection import inspect

    found = inspect(chain, address)
    ledger = LiveLedger(federation_at(chain, found.address), found.block)
    return FederationClient(found.address, network, chain, ledger, {}, found.block)


def _chores(
    account: Account,
    ledger: LiveLedger,
    archive: Archive,
    journal: Journal,
    keep: int,
    claim_every: int,
    *,
    helps: bool = False,
) -> list[Chore]:
    """What a party does beside its rounds: have its own store keep what the federation needs, and claim."""
    store, chores = archive.store, list[Chore]()
    if isinstance(store, Pins):
        chores.append(Pinning(archive, journal, store.pin, store.unpin, keep))
    if claim_every:
        chores.append(Claiming(account, ledger, claim_every, helps=helps))
    return chores


def _own(journal: Path | None, account: Account) -> Path | None:
    """The folder of an account's records, taken for as long as the process lives.

    Two processes with one journal would each believe that the other's steps are their own.
    """
    if journal is None:
        return None
    path = journal / account.address
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise ConfigError(
            f"the journal {path} is in use: {account.address} runs already, or name another --journal"
        ) from None
    except OSError as error:
        raise RunError(f"the journal {path} cannot be written: {error.strerror}") from None
    return path
