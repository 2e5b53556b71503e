"""Join a deployed federation as a device, a miner or both in one, each a process that runs for long.

    with connect(networks.resolve("local"), "federation") as client:
        node = Node(client, account, layout, store, NodeOptions(Path("journal")))
        node.device(learner).run()

The roles are those of a simulation, on a node, a store and inboxes behind sockets.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from bcfl.errors import ConfigError, RelayError
from bcfl.federation import metrics
from bcfl.federation.daemon import POLL, BackgroundTask, Daemon, Party
from bcfl.federation.registration import register_miner, warn_of_endpoint, with_own_key
from bcfl.federation.twins import Twins
from bcfl.folders import disk_error, private_file, private_folder
from bcfl.protocol.hashing import keccak
from bcfl.protocol.noise import Noise
from bcfl.protocol.types import Mode
from bcfl.protocol.wishes import Wish, engine_after
from bcfl.relay.book import StatementBook
from bcfl.relay.client import Endpoint, HttpRelay
from bcfl.relay.mailbox import Mailbox
from bcfl.relay.server import Counters, InboxServer
from bcfl.roles.background.claiming import CLAIM_EVERY, Claiming
from bcfl.roles.background.pinning import KEEP_ROUNDS, Pinning
from bcfl.roles.background.stating import Deliver, Stating
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.journal import Journal
from bcfl.roles.common.vault import Vault
from bcfl.roles.device.device import Device
from bcfl.roles.device.noising import Noising
from bcfl.roles.miner.miner import Miner
from bcfl.roles.miner.verifier import Checks, Verifier
from bcfl.roles.peer import OwnInbox, Peer
from bcfl.storage.address import Pins
from bcfl.transport.tls import TlsFiles

if TYPE_CHECKING:
    from bcfl.federation.client import FederationClient
    from bcfl.ports import Allowance, Learner, Relay, Store
    from bcfl.protocol.accounts import Account
    from bcfl.protocol.rounds import History
    from bcfl.protocol.types import Layout

LOCK: Final = "lock"
FEDERATION: Final = "federation.json"  # of which a journal is
SPREAD: Final = 0.5  # of a phase, in which the claims of all parties are spread
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NodeOptions:
    """How a party of any role runs."""

    journal: Path | None  # a folder; None only where a crash costs nothing
    poll: float = POLL  # seconds between two snapshots of the chain
    keep: int = KEEP_ROUNDS  # rounds after which its store may drop what it has pinned; 0: never
    claim_every: int = CLAIM_EVERY  # finished rounds between two claims of what it has earned; 0: never
    caps_samples: bool = False  # whether a device may have more samples than it may claim
    states: bool | None = None  # how good each model is on its own data; None: as a miner, not as a device
    allowance: Allowance | None = None  # what a device's updates may tell of its data


@dataclass(frozen=True)
class MinerOptions:
    """How a miner is reached, with what it joins, and what it votes for.

    `endpoint` is the URL under which others reach its inbox, announced on chain where that differs; None: the
    socket's own. Port 0 is the one announced before, if it is free, else any.
    """

    host: str = "127.0.0.1"
    port: int = 0
    endpoint: str | None = None
    stake: int | None = None  # wei; needed by an account that is no miner yet
    checks: Checks = field(default_factory=Checks)
    wishes: Sequence[Wish] = ()  # engines, in mode hybrid
    tls: TlsFiles | None = None  # the certificate of its inbox; None: connections are not encrypted


class Node:
    """One account's part in a federation; its archive, journal and relay are opened when first used."""

    def __init__(
        self, client: FederationClient, account: Account, layout: Layout, store: Store, options: NodeOptions
    ) -> None:
        self.client, self.account, self.options = client, account, options
        self._layout, self._store = layout, store
        self._lock: int | None = None  # of the journal
        if options.journal is not None:
            client.ledger.keep_in(options.journal)

    def close(self) -> None:
        """Let another process, or the next try of this one, have the journal."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def device(self, learner: Learner) -> Daemon:
        """Return a device that is ready to run; raises ConfigError in mode `full`, where it is a `peer`."""
        if self.client.is_full:
            raise ConfigError(
                f"{self.client.name} is of mode full, where every device is a miner too: join as both"
            )
        device = self._device(learner, self.relay)
        counters = Counters()
        states = self._stating("device", learner, self._hand_over, counters) if self.options.states else []
        twins = Twins(self.account, self.client.ledger, device)
        daemon = self._daemon(device, [twins, *self._background(), *states], counters=counters)
        daemon.notices = twins.notices
        return daemon

    @contextmanager
    def miner(self, learner: Learner, options: MinerOptions = MinerOptions()) -> Iterator[Daemon]:
        """Serve the inbox of a miner that is ready to run, and is registered if it was not.

        A miner also claims what its devices leave unclaimed. Raises ConfigError when nothing can listen
        there, no stake is named, or the federation's mode does not fit.
        """
        if self.client.is_full:
            raise ConfigError(
                f"{self.client.name} is of mode full, where every miner is a device too: join as both"
            )
        miner = self._miner(learner, options)
        with self._serve(miner, miner, options, learner) as daemon:
            yield daemon

    @contextmanager
    def peer(
        self, learner: Learner, judge: Learner, options: MinerOptions = MinerOptions()
    ) -> Iterator[Daemon]:
        """Serve device and miner in one, as mode `full` wants them: one key, stake, journal and inbox.

        `learner` trains, `judge` holds data to verify with. Raises ConfigError as `miner` does, and for an
        account that the owner has not registered as a device.
        """
        if not self.client.is_full:
            raise ConfigError(f"{self.client.name} is not of mode full: join as a device or as a miner")
        if self.client.ledger.history().device_index(self.account.address) is None:
            address, name = self.account.address, self.client.name
            raise ConfigError(f"{address} is no device of {name}: its owner registers devices first")
        miner = self._miner(judge, options)
        device = self._device(learner, OwnInbox(self.relay, miner))
        with self._serve(Peer(device, miner), miner, options, judge) as daemon:
            yield daemon

    @cached_property
    def archive(self) -> Archive:
        """Return the federation's vectors on the store, with the account's keys for what is sealed.

        Raises ConfigError for a model of another shape.
        """
        ledger = self.client.ledger
        vault = Vault(ledger.domain, ledger.history, [self.account], self.relay)
        return self.client.archive(self._layout, self._store).of_party(vault)

    @cached_property
    def journal(self) -> Journal:
        """Return the records of the account, held until `close`; raises ConfigError while another has them.

        Those of another federation are refused: its update of a round may have no noise, or less, and its
        residual would be added to updates of this one. A chain that was begun anew has the same contract
        again, so that the layout tells them apart, which names the noise.
        """
        path = None if self.options.journal is None else self.options.journal / self.account.address
        if path is not None and self._lock is None:
            self._lock = _lock_journal(path, self.account)
        journal, ledger = Journal(path), self.client.ledger
        name = keccak(ledger.domain.separator + ledger.terms.layout).hex()
        record = journal.read_json(FEDERATION) or {"federation": name}
        if record.get("federation") != name:
            raise ConfigError(
                f"the journal {path} is of another federation than {self.client.name}: name another --journal"
            )
        journal.write_json(FEDERATION, record)
        return journal

    @cached_property
    def relay(self) -> HttpRelay:
        """Return what sends messages to miners."""
        return HttpRelay(
            self.account, self.client.ledger, self.client.exchange_seconds, self.mailbox,
            only_public=self.client.is_public,
        )  # fmt: skip

    @cached_property
    def mailbox(self) -> Mailbox:
        """Return the queue of the messages that others send; empty for a device, which nobody writes to."""
        return Mailbox()

    def _device(self, learner: Learner, relay: Relay) -> Device:
        archive = self.archive
        self._check_samples(learner.samples)
        journal = self.journal
        device = Device(self.account, learner, self.client.ledger, relay, archive, journal)
        device.trainer.hide(allowance=self.options.allowance)
        return device

    def _check_samples(self, samples: int) -> None:
        """Raise ConfigError for a device that has more samples than it may claim, unless that is agreed.

        With noise it cannot be: such a device would sit out every round.
        """
        terms, most = self.client.ledger.terms, self.client.ledger.terms.max_samples
        Noising(Noise.of(self._layout), b"").check(samples, terms)
        if samples > most and not self.options.caps_samples:
            raise ConfigError(
                f"{samples:,} training samples are more than the {most:,} that a device of "
                f"{self.client.name} may claim: --cap-samples trains on all of them and claims {most:,}, "
                "or hold fewer"
            )

    def _miner(self, learner: Learner, options: MinerOptions) -> Miner:
        ledger, archive, journal = self.client.ledger, self.archive, self.journal
        if options.wishes and ledger.terms.mode != Mode.HYBRID:
            mode = Mode(ledger.terms.mode).name.lower()
            raise ConfigError(
                f"{self.client.name} is of mode {mode}: only hybrid changes its engine, leave wish out"
            )
        verifier = Verifier(learner, ledger, archive, options.checks)
        engines = partial(engine_after, options.wishes)
        return Miner(self.account, ledger, self.relay, archive, verifier, journal, engines)

    @contextmanager
    def _serve(
        self, party: Miner | Peer, inbox: Miner, options: MinerOptions, judge: Learner
    ) -> Iterator[Daemon]:
        """Serve the inbox behind a socket; register the miner and announce the socket's URL."""
        address, ledger, endpoint = self.account.address, self.client.ledger, options.endpoint
        mailbox, counters = self.mailbox, Counters()
        book = StatementBook(ledger.domain, self.journal)
        twins = Twins(self.account, ledger, party)
        background = [twins, *self._background(helps=True)]
        if self.options.states is not False:
            background += self._stating("miner", judge, partial(_keep, book), counters)
        daemon = self._daemon(party, background, mailbox=mailbox, counters=counters, advances=True)
        daemon.notices = twins.notices
        make = partial(
            InboxServer, address, inbox, ledger, mailbox,
            health=daemon.health, counters=counters, tls=options.tls, refresh=ledger.refresh, book=book,
            ready=inbox.keyholder.answer_known,
        )  # fmt: skip
        announced_url = None if endpoint else ledger.history().endpoints.get(address)
        server = _make_server(make, options, announced_url)
        try:
            server.start()
            url, is_sealed = _announcement(server, endpoint), self.archive.privacy.confidential
            warn_of_endpoint(self.client, url)
            register_miner(self.client, self.account, url, options.stake, reads=is_sealed)
            twins.endpoint = partial(self._endpoint, url)
            yield daemon
        finally:
            server.stop()

    def _endpoint(self, url: str, history: History) -> str:
        """Return what a miner that is reached at `url` announces now."""
        if not self.archive.privacy.confidential:
            return url
        return with_own_key(self.client.ledger.domain, self.account, url, history)

    def _background(self, *, helps: bool = False) -> list[BackgroundTask]:
        """Return the tasks beside the rounds: have the own store keep what is needed, and claim."""
        store, tasks = self.archive.store, list[BackgroundTask]()
        if isinstance(store, Pins):
            tasks.append(Pinning(self.archive, self.journal, store.pin, store.unpin, self.options.keep))
        if self.options.claim_every:
            interval = self.options.claim_every
            ledger = self.client.ledger
            spread = ledger.terms.commit_seconds * SPREAD
            tasks.append(Claiming(self.account, ledger, interval, helps=helps, spread=spread))
        return tasks

    def _stating(
        self, role: str, learner: Learner, deliver: Deliver, counters: Counters
    ) -> list[BackgroundTask]:
        """Return what states how good each new model is on the data of `learner`."""
        ledger, archive, report = self.client.ledger, self.archive, partial(metrics.show, counters)
        return [Stating(self.account, role, learner, ledger, archive, self.journal, deliver, report)]

    def _hand_over(self, statement: bytes, history: History) -> None:
        """Have the miner that serves this device list a statement; raises RelayError."""
        index = history.device_index(self.account.address)
        miner = None if index is None else history.binding(index)
        if miner is None:
            raise RelayError("no miner serves this device now")
        self.relay.inbox(miner).take_statement(statement)

    def _daemon(self, party: Party, background: list[BackgroundTask], **options: Any) -> Daemon:
        return Daemon(
            party, self.account, self.client.ledger, self.archive, poll=self.options.poll,
            background=background, retry_seconds=self.client.retry_seconds,
            head_seconds=self.client.ledger.head_seconds, scope=self.client.ledger.turn, **options,
        )  # fmt: skip


def _keep(book: StatementBook, statement: bytes, history: History) -> None:
    """List a miner's own statement."""
    book.take(statement, history)


def _make_server(
    make: Callable[..., InboxServer], options: MinerOptions, announced_url: str | None
) -> InboxServer:
    """Return the server of an inbox; port 0 is the one announced for this host, if it is still free.

    So a party that starts again is reached where it was, and a port that another program has taken since does
    no harm.
    """
    host, is_secure = options.host, options.tls is not None
    if options.port == 0 and announced_url:
        with suppress(RelayError):
            endpoint = Endpoint.parse(announced_url)
            if (endpoint.is_secure, endpoint.host, endpoint.path) == (is_secure, host, ""):
                with suppress(ConfigError):
                    return make(host=host, port=endpoint.port)
    return make(host=host, port=options.port)


def _announcement(server: InboxServer, endpoint: str | None) -> str:
    """Return the URL that a miner announces: with the pin of its certificate, unless the endpoint has one.

    Raises ConfigError where its inbox is encrypted and the endpoint is not.
    """
    if endpoint is None or server.certificate is None:
        return endpoint or server.pinned_url
    if not Endpoint.parse(endpoint).is_secure:
        raise ConfigError(f"--endpoint {endpoint} is not https://, and --tls-cert encrypts: say https://")
    return endpoint if "#" in endpoint else endpoint + server.certificate.fragment


def _lock_journal(path: Path, account: Account) -> int:
    """Return a lock on the folder of an account's records; it ends with the process, however that ends.

    Two processes with one journal would each believe that the other's records are their own.
    """
    try:
        private_folder(path)
        lock = os.open(private_file(path / LOCK), os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise disk_error(f"the journal {path} cannot be written", error) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if not isinstance(error, BlockingIOError):
            raise disk_error(f"the journal {path} cannot be written", error) from None
        raise ConfigError(
            f"the journal {path} is in use: {account.address} runs already, or name another --journal"
        ) from None
    return lock
