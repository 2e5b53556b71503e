"""The world of one episode: virtual time, whose turn it is, deaths and returns, blocks that are taken back.

One thread plays all processes. A process that waits in a delivery sleeps: meanwhile the others have their
turns, inside of its own, and nobody reaches it.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from bcfl.errors import BcflError, DiskError
from bcfl.ledger.live import LiveLedger
from bcfl.protocol.rounds import History
from bcfl.protocol.types import Phase
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.snapshot import RoundSnapshot, next_change, take_snapshot
from bcfl.roles.common.vault import Vault
from tests.simulation.dice import RandomBits
from tests.simulation.disk import DiskCalls
from tests.simulation.faults import ROUGH_SEEDS
from tests.simulation.members import change_members
from tests.simulation.network import Network
from tests.simulation.observer import ObserverLedger
from tests.simulation.outsider import OldMessage, repeat_old
from tests.simulation.process import Killed, Process
from tests.simulation.relay import PartyRelay
from tests.simulation.store import Contents, ObserverStore

if TYPE_CHECKING:
    from bcfl.ports import ContractCall
    from bcfl.protocol.accounts import Account
    from tests.simulation.chain import EpisodeChain
    from tests.simulation.dice import Dice, Fault
    from tests.simulation.faults import Weather
    from tests.simulation.invariants import Invariants
    from tests.simulation.setup import Plan

ACTED_SECONDS = (0.05, 1.5)  # until a process that did something looks again
NOTICE_SECONDS = (0.1, 3.0)  # until a process notices a new block
IDLE_SECONDS = 2.0  # between two looks where something is due
WAITING_SECONDS = 4.0  # between two looks of a device that waits for its miner
AWAY_SECONDS = 20.0  # the same where it waits for nobody
AGAIN_SECONDS = 4.0  # until a process is started again that has ended at its start
DEPTH = 5  # blocks that a reorganisation takes back at most
REORGANISATION_SECONDS = 30.0  # in which nobody is blamed after one
WATCHED = (Phase.COMMIT, Phase.REVEAL)  # in which a device has to look at every block


class World:
    """All processes, the time, and what happens next."""

    poll = 0.5

    def __init__(
        self,
        plan: Plan,
        dice: Dice,
        weather: Weather,
        chain: EpisodeChain,
        owner: Account,
        miners: Sequence[Account] = (),
    ) -> None:
        self.plan, self.dice, self.weather, self.owner = plan, dice, weather, owner
        self.layout, self.devices, self.miners = plan.layout, plan.devices, miners
        self.is_rough = dice.seed >= ROUGH_SEEDS
        self.time = float(chain.now())
        self.keeps_clocks = "node-lags" in weather.kinds
        self.contents, self.calls = Contents(), DiskCalls()
        self.network = Network(chain, self)
        self.processes: list[Process] = []
        self.by_address: dict[str, Process] = {}
        self.place = (0, "start")
        self.reorganisations = 0
        self.reorganised_rounds: set[int] = set()  # of which blocks were taken back
        self.old_messages: list[OldMessage] = []
        self.places: Counter[tuple[int, str]] = Counter()
        terms = plan.terms
        shortest = min(terms.commit_seconds, terms.reveal_seconds, terms.vote_seconds, terms.unveil_seconds)
        self.shortest_phase = shortest
        self.retry_seconds = min(15.0, shortest / 8)
        self.invariants: Invariants | None = None
        self._roots: dict[bytes, bytes] = {}  # by the digest of the content
        self.observer = ObserverLedger(self.network)
        self.observer_archive = self.archive_on(ObserverStore(self.contents), self.observer)
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._stack: list[Process] = []
        self._wake_times: dict[Process, float] = {}
        self._marks: list[tuple[object, int, int]] = []
        self._newest = (-1, 0)  # version of the chain, and its latest round
        self._snapshot: tuple[tuple[int, int], RoundSnapshot | None] = ((-1, -1), None)

    # Time.

    def later(self, seconds: float, action: Callable[[], object]) -> None:
        """Have something happen after so many seconds."""

        def happen() -> None:
            action()

        heapq.heappush(self._heap, (self.time + seconds, next(self._numbers), happen))

    def run(self, until: float, is_over: Callable[[], bool] = lambda: False) -> None:
        """Let happen what is due until a time, or until something is so."""
        while self._heap and self._heap[0][0] <= until and not is_over():
            time, _, action = heapq.heappop(self._heap)
            self.time = max(self.time, time)
            action()
        if not is_over():
            self.time = max(self.time, until)

    def sleep(self, seconds: float) -> None:
        """Let the others go on while the process whose turn it is waits; note how much too long that takes.

        Who has its turn inside of this one and waits too has to be back first: no real party waits for it.
        """
        process, place, end = self.current, self.place, self.time + seconds
        self.run(end)
        if process is not None:
            process.held[place] = process.held.get(place, 0.0) + self.time - end

    def monotonic(self) -> float:
        """Return the clock of the process whose turn it is."""
        return self.time * self._stack[-1].rate if self._stack else self.time

    # Processes.

    def add(self, process: Process) -> None:
        """Take in a process, which starts at once."""
        self.processes.append(process)
        self.by_address[process.account.address] = process
        self.start(process)

    def start(self, process: Process) -> None:
        """Start a process, or try again later where it ends at once."""
        if process.is_up:
            return
        with self.turn_of(process):
            try:
                process.start()
            except Killed:
                return
            except DiskError:  # `bcfl up` starts again what has ended with an error
                process.stop()
                process.trouble(AGAIN_SECONDS)
                self.later(AGAIN_SECONDS, lambda: self.start(process))
                return
            except BcflError as error:
                self.blame("died", f"{process.name} does not start: {error}", process)
                return
        self._schedule(process, self._jitter(ACTED_SECONDS, process.name, "start"))

    def kill(self, process: Process, fault: Fault) -> None:
        """End a process; it comes back after a while, with the disk that the fault leaves."""
        process.stop()
        process.full_until = 0.0
        name = fault.name
        if fault.kind == "power":
            process.disk.cut_power(lambda most, what: self.dice.number(0, most, "disk", name, what))
        if rot := process.strike("record-rots"):
            record = process.disk.rot(lambda most, what: self.dice.number(0, most, "rot", rot.name, what))
            if record is not None:
                self.excuse(process)
        seconds = process.seconds(fault)
        process.trouble(seconds)
        self.later(seconds, lambda: self.start(process))

    def excuse(self, process: Process) -> None:
        """Blame a process for nothing any more: its disk has lied to it."""
        process.is_deceived = True
        process.troubles.append((0.0, float("inf")))

    def calm(self) -> None:
        """Let nothing go wrong from now on, and everybody come back."""
        self.dice.is_quiet = True
        self._marks.clear()
        for process in self.processes:
            process.away.clear()
            process.full_until = 0.0
            if not process.is_up:
                self.start(process)

    def turn(self, process: Process) -> None:
        """Let a process act once, and plan its next turn."""
        pause: float | None = None
        with self.turn_of(process):
            try:
                assert process.act is not None
                pause = process.act()
            except Killed:
                return
            except Exception as error:
                self.blame("died", f"{process.name} ends: {type(error).__name__}: {error}", process)
        if not process.is_up:
            return
        if pause is None:
            process.stop()
            self.later(10.0, lambda: self.start(process))
        elif pause == 0.0:
            self._schedule(process, self._jitter(ACTED_SECONDS, process.name, "acted", self.network.version))
        elif pause <= self.poll:
            self._idle(process)
        else:
            self._schedule(process, pause)

    @contextmanager
    def turn_of(self, process: Process) -> Iterator[None]:
        """Make it a process's turn."""
        process.is_busy = True
        self._stack.append(process)
        before, self.calls.disk = self.calls.disk, process.disk
        try:
            yield
        finally:
            self.calls.disk = before
            self._stack.pop()
            process.is_busy = False

    @property
    def current(self) -> Process | None:
        """Return the process whose turn it is."""
        return self._stack[-1] if self._stack else None

    def _idle(self, process: Process) -> None:
        """Plan the next look of a process that had nothing to do."""
        delay = max(IDLE_SECONDS, self._next_change(process.skew) - self.time)
        if process.role in ("device", "peer") and Phase[self.place[1]] in WATCHED:
            delay = min(delay, WAITING_SECONDS)
        elif process.role == "device":
            delay = max(delay, AWAY_SECONDS)
        self._schedule(process, delay + self._jitter((0.0, 1.0), process.name, "idle", self.network.version))

    def newest_round(self) -> int:
        """Return the number of the latest round."""
        self.network.sync_time()
        if self._newest[0] != self.network.version:
            self._newest = self.network.version, max(self.observer.history().rounds)
        return self._newest[1]

    def _next_change(self, skew: int) -> float:
        """Return when who sees the clock `skew` s ahead may have something to do without a new block."""
        key = self.network.version, self.network.now()
        if self._snapshot[0] != key:
            with self.observer.turn():
                self._snapshot = key, take_snapshot(self.observer)
        now = self._snapshot[1]
        if now is None:
            return self.time + 1
        seen = RoundSnapshot(now.clock, now.history, now.current, now.terms, now.now + skew)
        return float(next_change(seen) - skew)

    def _schedule(self, process: Process, delay: float) -> None:
        """Plan the next turn of a process, in place of what was planned."""
        process.wake += 1
        number = process.wake
        self._wake_times[process] = self.time + delay

        def act() -> None:
            if process.wake == number and process.is_up and not process.is_busy:
                self.turn(process)

        self.later(delay, act)

    def _jitter(self, span: tuple[float, float], *name: object) -> float:
        low, high = span
        return low + (high - low) * self.dice.share("jitter", *name)

    # What happens.

    def blame(self, rule: str, text: str, process: Process | None = None) -> None:
        """Report that something is not as it should be."""
        assert self.invariants is not None
        self.invariants.report(rule, text, process)

    def on_calls(self, process: Process, calls: tuple[ContractCall, ...], history: History) -> None:
        """Take note of what a process signs."""
        if self.invariants is not None:
            self.invariants.check_signed(process, calls, history)

    def on_refused(self, process: Process, calls: tuple[ContractCall, ...]) -> None:
        """Take note of what the contract refuses of a process."""
        if self.invariants is not None and any(call.function == "unveil" for call in calls):
            self.invariants.check_refused(process)

    def on_start(self) -> None:
        """See where the chain stands at first."""
        clock = self.observer.clock()
        self.observer.history()
        self.place = (clock.round, clock.phase.name)

    def on_block(self) -> None:
        """Wake everybody up, check what is cheap, and perhaps prepare to take blocks back."""
        with self.observer.turn():
            history, clock, before = self.observer.history(), self.observer.clock(), self.place[0]
        self.place = (clock.round, clock.phase.name)
        if clock.round > before and self.invariants is not None:
            change_members(self, history)
            repeat_old(self)
        self.places[self.place] += 1
        for process in self.processes:
            if process.is_busy or not process.is_up:
                continue
            number = self.network.head
            if process.role == "device" and clock.phase not in WATCHED and (number + process.index) % 8:
                continue
            wake_time = self._wake_times.get(process, 0.0)
            if self.time >= wake_time:
                continue
            delay = self._jitter(NOTICE_SECONDS, process.name, "block", number)
            if self.time + delay < wake_time:
                self._schedule(process, delay)
        if self.invariants is not None:
            self.invariants.after_block()
            self._strike_chain()

    def _strike_chain(self) -> None:
        """Let blocks be taken back soon, or the store drop what nobody pins."""
        if self.strike("store", "collection"):
            self.contents.collect()
        if not self.network.chain.can_reorganise or self._marks:
            return
        fault = self.strike("chain", "reorganisation")
        if fault is None and self.is_rough and Phase[self.place[1]] in WATCHED:
            fault = self.strike("chain", "reveals-undone")
        if fault is not None:
            mark = self.network.chain.mark(), self.network.head, len(self.network.order)
            self._marks.append(mark)
            depth = self.dice.number(1, DEPTH, "depth", fault.name)
            self.later(1.0, lambda: self._reorganise(fault, depth, 60))

    def strike(self, party: str, *kinds: str) -> Fault | None:
        """Return the fault that hits somebody who is no process, or None."""
        return self.dice.fault(kinds, self.weather.chances(kinds), party, *self.place)

    def _reorganise(self, fault: Fault, depth: int, tries: int) -> None:
        """Take back the blocks since the mark, once there are enough, or time is up."""
        if not self._marks:
            return
        mark, head, mined = self._marks[0]
        if self.network.head - head < depth and tries:
            self.later(1.0, lambda: self._reorganise(fault, depth, tries - 1))
            return
        self._marks.clear()
        lost = self.network.take_back(mark, head, mined)
        self.reorganisations += 1
        self.reorganised_rounds |= {self.place[0], self.place[0] - 1, self.place[0] + 1}
        for process in self.processes:
            # What it takes back may be too late to be made again: it counts from then on.
            process.troubles.append((self.time - REORGANISATION_SECONDS, self.time + self.retry_seconds))
        for transaction in lost:
            name = fault.name, transaction.name
            if self.dice.share("again", *name) < 0.6:
                self.network.waiting[transaction.name] = transaction
                seconds = 8.0 * self.dice.share("order", *name)
                self.later(seconds, lambda transaction=transaction: self.network.mine(transaction))  # type: ignore[misc]
        for process in self.processes:
            if process.is_up and not process.is_busy:
                self._schedule(process, self._jitter(NOTICE_SECONDS, process.name, fault.name))

    # What processes use.

    def relay_of(self, process: Process) -> PartyRelay:
        """Return a process's way to the inboxes of the others."""
        return PartyRelay(self, process)

    def archive_on(self, store: Any, ledger: LiveLedger) -> Archive:
        """Return an archive on a store, with the keys of all miners."""
        vault = Vault(ledger.domain, ledger.history, self.miners)
        return self.sharing(Archive(store, self.layout, self.plan.terms, vault=vault))

    def sharing(self, archive: Archive) -> Archive:
        """Let an archive share the roots that any has computed: they follow from the content alone."""
        archive._memory._roots = self._roots
        return archive

    @contextmanager
    def patched(self) -> Iterator[None]:
        """Put the time, the disk and the chance of this world in the place of the machine's."""
        random = RandomBits(self.dice)
        with (
            patch("bcfl.federation.daemon.time", self),
            patch("bcfl.ledger.delivery.time", self),
            patch("bcfl.ledger.live.time", self),
            patch("bcfl.roles.background.claiming.time", self),
            patch("bcfl.roles.miner.keyholder.time", self),
            self.calls.beneath_journals(),
            patch("bcfl.roles.miner.sketches.secrets", random),
        ):
            yield
