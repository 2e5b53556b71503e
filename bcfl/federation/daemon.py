"""Run one party as a process: follow the chain and do what is due, until asked to end.

Everything that a party does follows from the chain and its journal. So whatever goes wrong (a node or a store
is away, another party was quicker) is tried again from where the chain stands then.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Protocol

from bcfl.errors import (
    BcflError,
    CidError,
    ConfigError,
    DiskError,
    PayloadError,
    Reverted,
    RunError,
    StoreError,
    Unfinished,
)
from bcfl.ports import ContractCall, Ledger
from bcfl.protocol.accounts import Account
from bcfl.protocol.rounds import History
from bcfl.relay.mailbox import Mailbox
from bcfl.relay.server import Counters
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.snapshot import TURN_SECONDS

POLL: Final = 0.5  # seconds between two snapshots of the chain
RETRY_SECONDS: Final = 15.0  # the most between two tries while something is away
GAUGE_SECONDS: Final = 2.0  # between two looks at the phase, for the gauges
COUNTERS: Final = ("acts_total", "failures_total", "reverted_total", "rounds_total")
WEI: Final = 10**18
STALL_SECONDS: Final = 120.0  # without a turn, after which a party is not well
FROZEN_SECONDS: Final = 300.0  # without a new block, after which the node is not well
log = logging.getLogger(__name__)


class Party(Protocol):
    """A device or a miner."""

    def act(self) -> str | None:
        """Do what is due and return what that was; None if nothing is."""
        ...


class BackgroundTask(Protocol):
    """Work that a party does when nothing is due, and once more when it ends."""

    def act(self, history: History) -> str | None:
        """Do a part of it and return what that was; None if there is nothing to do."""
        ...

    def end(self, history: History) -> None:
        """Do what should not be left undone."""
        ...


class Daemon:
    """Lets `party` act and processes `mailbox` between its acts, all in the thread that calls `run`.

    `advances`: whether it also ends phases whose time is over, as a miner should. `poll`: seconds between two
    snapshots of the chain. `retry_seconds`: the most between two tries while something is away.
    `head_seconds`: how long ago the node has told of a new block, None where that says nothing.
    `scope`: what surrounds a turn, as `LiveLedger.turn`, which reads the head once for all of it.
    """

    def __init__(
        self,
        party: Party,
        account: Account,
        ledger: Ledger,
        archive: Archive,
        *,
        mailbox: Mailbox | None = None,
        counters: Counters | None = None,
        poll: float = POLL,
        advances: bool = False,
        background: Sequence[BackgroundTask] = (),
        retry_seconds: float = RETRY_SECONDS,
        head_seconds: Callable[[], float | None] = lambda: None,
        scope: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.party, self.account, self.ledger, self.archive = party, account, ledger, archive
        self.mailbox, self.counters = mailbox or Mailbox(), counters or Counters()
        self._poll, self._advances, self._retry_seconds = poll, advances, retry_seconds
        self._head_seconds, self._scope = head_seconds, scope
        self._background = dict.fromkeys(background, 0.0)  # each with the time before which it has to wait
        self._has_ended, self._failures = False, 0
        self._round, self._phase, self._finished = 0, "", 0
        self._rounds: int | None = None
        self._last_round = 0  # after which to end
        self._overdue_since: float | None = None  # when the phase was first seen to be over
        self._last_turn = time.monotonic()
        self._last_gauges = -GAUGE_SECONDS
        self.notices: Callable[[], Mapping[str, Any]] = dict  # what else belongs to its health
        self.counters.declare(*COUNTERS)
        self.counters.refreshers.append(self._set_ages)

    def run(self, rounds: int | None = None) -> None:
        """Follow the chain until `stop`, or until so many rounds have ended since the first turn.

        Raises ConfigError or RunError for what trying again cannot mend.
        """
        self._rounds = rounds
        while not self._has_ended:
            self.mailbox.process(self.turn())
        self._finish()
        log.info("ended", extra={"account": self.account.address, "round": self._round})

    def stop(self, *_: object) -> None:
        """End after the act that is going on; can be a signal handler."""
        self._has_ended = True
        self.mailbox.wake()

    def turn(self) -> float:
        """Read the chain and do what is due; returns the seconds until the next turn is worth while."""
        try:
            with self._scope():
                history = self.ledger.history()
                self._follow(history)
                self._set_gauges(history)
                act = None if self._has_ended else self._act() or self._run_background(history)
        except Reverted as reverted:
            self._record("reverted", f"not due any more: {reverted}", logging.INFO)
            act = None
        except Unfinished as progress:  # no failure, however often it comes
            log.info("%s", progress, extra={"account": self.account.address, "round": self._round})
            self._failures, self._last_turn = 0, time.monotonic()
            return 0.0
        except Exception as error:
            if _is_final(error):
                raise
            if not isinstance(error, BcflError):  # a fault of bcfl, or of code that a party brought
                log.exception("a turn failed", extra={"account": self.account.address, "round": self._round})
            return self._back_off(error)
        self._failures = 0
        self._last_turn = time.monotonic()
        if act is None:
            return self._poll
        self._record("acts", act, logging.INFO)
        return 0.0

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        """Return whether the party follows the chain, and where it stands; from any thread."""
        age, head = time.monotonic() - self._last_turn, self._head_seconds()
        is_well = age < STALL_SECONDS and (head is None or head < FROZEN_SECONDS)
        return is_well, {
            "account": self.account.address,
            "round": self._round,
            "phase": self._phase,
            "seconds_since_turn": round(age, 1),
            "seconds_since_block": None if head is None else round(head, 1),
            "failures": self._failures,
            **self.notices(),
        }

    def _follow(self, history: History) -> None:
        """Notice a new round, and what became of the previous one."""
        current = history.current
        if current is None:
            return
        self._finished = current.number - (current.closed is None)
        self._last_round = self._last_round or self._finished + (self._rounds or 0)
        if self._rounds and self._finished >= self._last_round:
            self.stop()
        if current.number == self._round:
            return
        previous = history.rounds.get(self._round)
        if previous is not None and previous.closed is not None:
            reason = f" ({previous.void.name.lower()})" if previous.void is not None else ""
            self._record("rounds", f"round {previous.number} {previous.status}{reason}", logging.INFO)
        self._round = current.number
        self.archive.forget()

    def _set_gauges(self, history: History) -> None:
        """Set what the process shows of its party and of the round."""
        if time.monotonic() - self._last_gauges < GAUGE_SECONDS:
            return
        self._last_gauges = time.monotonic()
        member = history.miners.get(self.account.address)
        self.counters.set("round", self._round)
        self.counters.set("model_ledger_blocks", len(history.blocks))
        self.counters.set("phase", self.ledger.clock().phase)
        self.counters.set("stake_ether", 0.0 if member is None else member.stake / WEI)
        self.counters.set("weight", 0 if member is None else member.weight)

    def _set_ages(self) -> None:
        """Set how long ago the last turn and the node's last block are; from any thread."""
        head = self._head_seconds()
        self.counters.set("turn_age_seconds", time.monotonic() - self._last_turn)
        self.counters.set("head_age_seconds", math.nan if head is None else head)

    def _act(self) -> str | None:
        """Do what is due; a phase is ended even where the party's own store is away."""
        try:
            return self.party.act() or self._advance()
        except (StoreError, PayloadError, CidError):  # it is away, or holds what is no model
            self._advance()
            raise

    def _advance(self) -> str | None:
        """End a phase whose time is over; the miners take turns, so that one of them pays for it."""
        if not self._advances:
            return None
        clock = self.ledger.clock()
        self._phase = clock.phase.name.lower()
        if not self.ledger.overdue():
            self._overdue_since = None
            return None
        self._overdue_since = self._overdue_since or time.monotonic()
        if time.monotonic() - self._overdue_since < self._position(clock.round) * TURN_SECONDS:
            return None
        self.ledger.send(self.account, [ContractCall("advance")])
        self._overdue_since = None
        return "wrote down that a phase is over"

    def _run_background(self, history: History) -> str | None:
        """Do a part of one background task; one that fails does not hold the party up, and waits a while."""
        for task, not_before in self._background.items():
            if time.monotonic() < not_before:
                continue
            try:
                if act := task.act(history):
                    return act
            except Exception as error:
                if _is_final(error):
                    raise
                self._background[task] = time.monotonic() + self._retry_seconds
                self._leave(task, "left for later", error)
        return None

    def _finish(self) -> None:
        """End the background tasks, as far as that is possible."""
        for task in self._background:
            try:
                task.end(self.ledger.history())
            except Exception as error:
                self._leave(task, "left undone", error)

    def _leave(self, task: BackgroundTask, words: str, error: Exception) -> None:
        """Record that a background task has failed, with the place of a fault that nobody foresaw."""
        if not isinstance(error, BcflError):
            log.error("%s failed", type(task).__name__, exc_info=error)
        self._record("failures", f"{words}: {_words(error)}", logging.WARNING)

    def _position(self, round_: int) -> int:
        """Return how many miners go first, in turns that change every round; those without a vote go last."""
        history = self.ledger.history()
        seats = [member.account for member in history.voters() or history.miners.values()]
        if self.account.address not in seats:
            return len(seats)
        return (seats.index(self.account.address) - round_) % len(seats)

    def _back_off(self, error: Exception) -> float:
        """Record what is away; returns the seconds to wait, more each time."""
        self._failures += 1
        pause = min(self._retry_seconds, self._poll * 2.0 ** min(self._failures, 10))
        self._record("failures", f"{_words(error)}; the next try is in {pause:g} s", logging.WARNING)
        return pause

    def _record(self, name: str, text: str, level: int) -> None:
        self.counters.count(f"{name}_total")
        log.log(level, text, extra={"account": self.account.address, "round": self._round})


def _is_final(error: Exception) -> bool:
    """Return whether no other try mends an error: a ConfigError, or a RunError but for a disk that refuses.

    All others may be of what another party, its store or its node has given, which is another thing later.
    """
    return isinstance(error, (ConfigError, RunError)) and not isinstance(error, DiskError)


def _words(error: Exception) -> str:
    return str(error) if isinstance(error, BcflError) else f"{type(error).__name__}: {error}"
