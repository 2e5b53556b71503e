"""One party as a process: its disk outlives it, everything else is made anew when it comes back.

It is built by the `Node` of `bcfl start`, on a disk, a store, a node and inboxes that fail as the dice say.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bcfl.adversaries.attack import AttackContext, DeviceParts, MinerParts
from bcfl.errors import BcflError, Reverted, StoreError
from bcfl.federation.daemon import Daemon
from bcfl.federation.node import Node, NodeOptions
from bcfl.ledger.live import LiveLedger
from bcfl.protocol.types import Mode
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.journal import DAMAGED, Journal
from bcfl.roles.common.vault import Vault
from bcfl.roles.device.device import Device
from bcfl.roles.miner.miner import Miner
from bcfl.roles.miner.verifier import Checks, Verifier
from bcfl.roles.peer import OwnInbox, Peer
from bcfl.roles.watchtower.watchtower import Watchtower
from tests.simulation.disk import Disk, DiskPath
from tests.simulation.faults import (
    DEADLINE_SHARE,
    KILLS,
    LASTING,
    LONG_SECONDS,
    LONG_SHARE,
    RESTART_SECONDS,
    SHORT_SECONDS,
    UNTIL_RESTART_SECONDS,
)
from tests.simulation.network import PartyContract
from tests.simulation.store import PartyStore

if TYPE_CHECKING:
    from bcfl.adversaries.attack import DeviceAttack, MinerAttack
    from bcfl.ports import ContractCall, Learner
    from bcfl.protocol.accounts import Account
    from tests.simulation.dice import Fault, Stream
    from tests.simulation.world import World

KEEP_ROUNDS, CLAIM_EVERY = 3, 2


class Killed(BaseException):
    """The process is dead: nothing in it catches this."""


@dataclass(frozen=True)
class Client:
    """What a node needs of the federation that it has reached."""

    name: str
    ledger: LiveLedger
    retry_seconds: float

    @property
    def is_full(self) -> bool:
        """Return whether every miner is a device too."""
        return self.ledger.terms.mode == Mode.FULL


class PartyLedger(LiveLedger):
    """The ledger of a process, which tells the world what the process signs."""

    def __init__(self, contract: PartyContract, process: Process) -> None:
        super().__init__(contract)  # type: ignore[arg-type]
        self._process = process

    def send(self, account: Account, calls: Sequence[ContractCall]) -> int:
        """Make calls, as any ledger does."""
        world = self._process.world
        if self._history is not None:
            world.on_calls(self._process, tuple(calls), self._history)
        try:
            if world.is_rough:
                self._process.plan_restart()
            return super().send(account, calls)
        except Reverted:
            world.on_refused(self._process, tuple(calls))
            raise


class PartyNode(Node):
    """The node of `bcfl start` with the adapters of the simulation."""

    def __init__(self, process: Process, client: Client) -> None:
        options = NodeOptions(None, keep=KEEP_ROUNDS, claim_every=CLAIM_EVERY)
        super().__init__(client, process.account, process.world.layout, process.store, options)  # type: ignore[arg-type]
        self.process = process

    @cached_property
    def archive(self) -> Archive:
        """Return the vectors on the simulated store."""
        ledger = self.client.ledger
        vault = Vault(ledger.domain, ledger.history, [self.account], self.relay)
        return self.process.world.sharing(Archive(self._store, self._layout, ledger.terms, vault=vault))

    @cached_property
    def journal(self) -> Journal:
        """Return the records on the simulated disk."""
        return Journal(DiskPath(self.process.disk))  # type: ignore[arg-type]

    @cached_property
    def relay(self) -> Any:
        """Return the way to the inboxes of the other processes."""
        return self.process.world.relay_of(self.process)

    def start(self) -> Daemon:
        """Return the daemon of the party, as `device`, `miner` and `peer` of the node make it."""
        process = self.process
        if process.role == "device":
            return self._daemon(self._device_of(process.learner), self._background())
        miner = process.inbox = self._miner_of(process.judge)
        party: Miner | Peer = miner
        if process.role == "peer":
            party = Peer(self._device_of(process.learner, OwnInbox(self.relay, miner)), miner)
        return self._daemon(party, self._background(helps=True), advances=True)

    def _device_of(self, learner: Learner, relay: Any = None) -> Device:
        if self.process.device_attack is None:
            return self._device(learner, relay or self.relay)
        parts = DeviceParts(
            self.account, learner, self.client.ledger, relay or self.relay, self.archive, self.journal
        )
        return self.process.device_attack.device(parts, self.process.attack_context())

    def _miner_of(self, judge: Learner) -> Miner:
        ledger = self.client.ledger
        verifier = Verifier(judge, ledger, self.archive, Checks())
        parts = MinerParts(self.account, ledger, self.relay, self.archive, verifier, self.journal)
        if self.process.miner_attack is None:
            return parts.miner()
        return self.process.miner_attack.miner(parts, self.process.attack_context())


@dataclass(eq=False)
class Process:
    """A party: up or down, and what may go wrong for it."""

    name: str
    role: str  # device, miner, peer or watchtower
    index: int
    account: Account
    world: World
    learner: Any
    judge: Any
    disk: Disk = field(default_factory=Disk)
    device_attack: DeviceAttack | None = None
    miner_attack: MinerAttack | None = None
    skew: int = 0  # seconds that its node's clock is ahead
    rate: float = 1.0  # of its own clock
    inbox: Miner | None = None
    daemon: Daemon | None = None
    act: Callable[[], float] | None = None
    is_busy: bool = False  # waits in a delivery, or is in its turn
    wake: int = 0  # number of the wake-up that counts
    away: dict[str, float] = field(default_factory=dict)  # what is away until when
    troubles: list[tuple[float, float]] = field(default_factory=list)  # spans in which something was amiss
    held: dict[tuple[int, str], float] = field(default_factory=dict)  # in waits: seconds, by round and phase
    full_until: float = 0.0
    unanswered: float = float("-inf")  # when nobody was there for a message of its last
    is_deceived: bool = False  # its disk has changed what was on it
    _place: tuple[int, str] = (-1, "")  # of the streams
    _streams: dict[tuple[str, ...], Stream] = field(default_factory=dict)  # of faults, by their kinds

    def __post_init__(self) -> None:
        self.disk.before = self._before_disk
        self.store = PartyStore(self.world.contents, self.name, self._struck, self._before_store)

    @property
    def is_up(self) -> bool:
        """Return whether the process runs."""
        return self.act is not None

    @property
    def is_honest(self) -> bool:
        """Return whether the party keeps the rules."""
        return self.device_attack is None and self.miner_attack is None

    def start(self) -> None:
        """Begin with what the disk has; raises BcflError where the product's party would end."""
        contract = PartyContract(self.world.network, self)
        ledger = PartyLedger(contract, self)
        client = Client("simulation", ledger, self.world.retry_seconds)
        if self.role == "watchtower":
            archive = self.world.archive_on(self.store, ledger)
            self.act = self._watch(Watchtower(self.account, ledger, archive))
        else:
            self.daemon = PartyNode(self, client).start()
            self.act = self.daemon.turn

    def stop(self) -> None:
        """Drop all that was in memory."""
        self.daemon = self.inbox = self.act = None
        self.wake += 1

    def _watch(self, tower: Watchtower) -> Callable[[], float]:
        """Return the turn of a watchtower, as `bcfl watch --challenge` takes it."""

        def turn() -> float:
            try:
                return 0.0 if tower.act() is not None else self.world.poll
            except Reverted:
                return self.world.poll
            except BcflError:
                return self.world.retry_seconds

        return turn

    def attack_context(self) -> AttackContext:
        """Return what an adversary knows."""
        return AttackContext(self.world.dice.seed, self.index, self.world.devices, 1)

    # Faults.

    def plan_restart(self) -> None:
        """Let the process perhaps be restarted some time after a transaction, between two steps."""

        def restart() -> None:
            if self.is_up and not self.is_busy and (fault := self.strike("restart")):
                self.world.kill(self, fault)

        name = "until restart", self.name, self.world.network.version
        self.world.later(self.world.dice.number(*UNTIL_RESTART_SECONDS, *name), restart)

    def strike(self, *kinds: str) -> Fault | None:
        """Return the fault of one of some kinds that happens here and now, or None."""
        world = self.world
        if world.place != self._place:
            self._place, self._streams = world.place, {}
        stream = self._streams.get(kinds)
        if stream is None:
            chances = world.weather.chances(kinds)
            stream = self._streams[kinds] = world.dice.stream(kinds, chances, self.name, *world.place)
        stream.count += 1
        return world.dice.hit(stream) if stream.count >= stream.next else None

    def _struck(self, *kinds: str) -> str | None:
        fault = self.strike(*kinds)
        return None if fault is None else fault.kind

    def pass_point(self, place: str, *kinds: str) -> str | None:
        """Go past a place at which the process may die; return the fault of `kinds` that happens there."""
        fault = self.strike(*KILLS, *kinds)
        if fault is not None and fault.kind in KILLS:
            self.world.kill(self, fault)
            raise Killed(place)
        return self.suffer(fault)

    def suffer(self, fault: Fault | None) -> str | None:
        """Let what lasts begin; return the kind of any other fault, which is up to the place."""
        if fault is not None and fault.kind in LASTING:
            self.lose(LASTING[fault.kind], self.seconds(fault))
            return None
        return None if fault is None else fault.kind

    def seconds(self, fault: Fault) -> float:
        """Return how long a death or an outage lasts."""
        dice = self.world.dice
        if fault.kind == "restart":
            return dice.number(*RESTART_SECONDS, "seconds", fault.name)
        if self.world.is_rough and dice.share("deadline", fault.name) < DEADLINE_SHARE:
            left = self.world.observer.clock().deadline - self.world.time
            if 1 <= left <= LONG_SECONDS[1]:
                return left
        is_long = dice.share("long", fault.name) < LONG_SHARE
        return dice.number(*(LONG_SECONDS if is_long else SHORT_SECONDS), "seconds", fault.name)

    def lose(self, thing: str, seconds: float) -> None:
        """Let something be away for a while."""
        self.away[thing] = max(self.away.get(thing, 0.0), self.world.time + seconds)
        self.trouble(seconds)

    def is_away(self, thing: str) -> bool:
        """Return whether something is away now."""
        return bool(self.away) and self.world.time < self.away.get(thing, 0.0)

    def lag(self) -> int:
        """Return how many blocks the node is behind."""
        return 1 + self.index % 4 if self.is_away("lag") else 0

    def trouble(self, seconds: float) -> None:
        """Note that something is amiss for so many seconds from now on, and for a retry after it."""
        self.troubles.append((self.world.time, self.world.time + seconds + self.world.retry_seconds))

    def held_seconds(self, round_: int) -> float:
        """Return for how long waits of others held it up in the phases of a round that devices act in."""
        return sum(self.held.get((round_, phase), 0.0) for phase in ("COMMIT", "REVEAL"))

    def _before_disk(self, operation: str, name: str) -> None:
        """Let the process die or the disk be full at an operation."""
        if operation == "rename" and name.endswith(DAMAGED) and not self.is_deceived:
            self.world.blame("journal", f"{self.name} finds {name} on a disk that keeps what is synced", self)
        if self.pass_point(f"{operation} {name}", "disk-full"):
            seconds = self.world.dice.number(1, 20, "full", self.world.dice.faults[-1].name)
            self.full_until = self.world.time + seconds
            self.trouble(seconds)
        if operation in ("write", "open", "fsync") and self.world.time < self.full_until:
            raise OSError(28, "No space left on device")

    def _before_store(self, operation: str) -> None:
        """Let the process die or the store be away at an operation."""
        self.pass_point(operation, "store-away")
        if self.is_away("store"):
            raise StoreError("the store does not answer")
