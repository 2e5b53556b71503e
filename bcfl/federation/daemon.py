"""One party as a process (steps 2 to 8): it follows the chain and does what is due, until told to end.

Everything that a party does follows from the chain and its journal. So whatever goes wrong, a node or a store
that is away, a step that somebody else took first, is tried again from where the chain stands then.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from bcfl.errors import LedgerError, RelayError, Reverted, StoreError
from bcfl.ports import ContractCall, Ledger
from bcfl.protocol.accounts import Account
from bcfl.protocol.rounds import History
from bcfl.relay.mailbox import Mailbox
from bcfl.relay.server import Counters
from bcfl.roles.common.archive import Archive
from bcfl.roles.common.snapshot import TURN_SECONDS

POLL: Final = 0.5  # seconds between two looks at the chain
LONGEST: Final = 15.0  # seconds between two tries while something is away
STALLED: Final = 120.0  # seconds without a turn after which a party is not well
log = logging.getLogger(__name__)


class Party(Protocol):
    """A device or a miner."""

    def act(self) -> str | None:
        """Do what is due and say what it was; None if nothing is."""
        ...


class Chore(Protocol):
    """Something that a party does when nothing is due, and once more when it ends."""

    def act(self, history: History) -> str | None:
        """Do a bit of it and say what it was; None if there is nothing to do."""
        ...

    def end(self, history: History) -> None:
        """Do what should not be left undone."""
        ...


class Daemon:
    """Lets `party` act, and `mailbox` be attended between its acts; all in the thread that calls `run`.

    `pushes`: whether it also writes down what time alone has brought about, as a miner should. `longest`: the
    most seconds between two tries while something is away.
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
        pushes: bool = False,
        chores: Sequence[Chore] = (),
        longest: float = LONGEST,
    ) -> None:
        self.party, self.account, self.ledger, self.archive = party, account, ledger, archive
        self.mailbox, self.counters = mailbox or Mailbox(), counters or Counters()
        self._poll, self._pushes, self._longest = poll, pushes, longest
        self._chores = dict.fromkeys(chores, 0.0)  # each with the time before which it is left alone
        self._ended, self._failures = False, 0
        self._round, self._phase, self._finished = 0, "", 0
        self._rounds: int | None = None
        self._last = 0  # the number of ended rounds after which to end
        self._since: float | None = None  # when something was first seen to be overdue
        self._turned = time.monotonic()

    def run(self, rounds: int | None = None) -> None:
        """Follow the chain until `stop`, or until so many rounds have ended since the first look.

        Raises ConfigError or RunError for what trying again cannot mend.
        """
        self._rounds = rounds
        while not self._ended:
            self.mailbox.process(self.turn())
        self._finish()
        log.info("ended", extra={"account": self.account.address, "round": self._round})

    def stop(self, *_: object) -> None:
        """End after the act that is going on; a signal handler."""
        self._ended = True
        self.mailbox.wake()

    def turn(self) -> float:
        """One look at the chain and what is due; returns the seconds until the next one is worth while."""
        try:
            history = self.ledger.history()
            self._look(history)
            did = None if self._ended else self._act() or self._do_chores(history)
        except Reverted as reverted:
            self._note("reverted", f"not due any more: {reverted}", logging.INFO)
            did = None
        except (LedgerError, StoreError, RelayError) as error:
            return self._failed(error)
        self._failures = 0
        self._turned = time.monotonic()
        if did is None:
            return self._poll
        self._note("acts", did, logging.INFO)
        return 0.0

    def health(self) -> tuple[bool, Mapping[str, Any]]:
        """Whether the party follows the chain, and where it stands; from any thread."""
        age = time.monotonic() - self._turned
        shown = {"account": self.account.address, "round": self._round, "phase": self._phase}
        return age < STALLED, {**shown, "seconds_since_turn": round(age, 1), "failures": self._failures}

    def _look(self, history: History) -> None:
        """Notice a new round, and what became of the one before."""
        current = history.current
        if current is None:
            return
        self._finished = current.number - (current.closed is None)
        self._last = self._last or self._finished + (self._rounds or 0)
        if self._rounds and self._finished >= self._last:
            self.stop()
        if current.number == self._round:
            return
        before = history.rounds.get(self._round)
        if before is not None and before.closed is not None:
            reason = f" ({before.void.name.lower()})" if before.void is not None else ""
            self._note("rounds", f"round {before.number} {before.status}{reason}", logging.INFO)
        self._round = current.number
        self.archive.forget()
        self.counters.set("round", current.number)
        self.counters.set("model_ledger_blocks", len(history.blocks))

    def _act(self) -> str | None:
        """What is due; time is pushed on even where the party's own store is away."""
        try:
            return self.party.act() or self._push()
        except StoreError:
            self._push()
            raise

    def _push(self) -> str | None:
        """Write down what time has brought about; the miners take turns, so that one of them pays for it."""
        if not self._pushes:
            return None
        clock = self.ledger.clock()
        self._phase = clock.phase.name.lower()
        if not self.ledger.overdue():
            self._since = None
            return None
        self._since = self._since or time.monotonic()
        if time.monotonic() - self._since < self._place(clock.round) * TURN_SECONDS:
            return None
        self.ledger.send(self.account, [ContractCall("advance")])
        self._since = None
        return "wrote down that a phase is over"

    def _do_chores(self, history: History) -> str | None:
        """One chore; what ails it does not hold the party up, and it is left alone for a while."""
        for chore, not_before in self._chores.items():
            if time.monotonic() < not_before:
                continue
            try:
                if did := chore.act(history):
                    return did
            except (LedgerError, StoreError) as error:
                self._chores[chore] = time.monotonic() + self._longest
                self._note("failures", f"left for later: {error}", logging.WARNING)
        return None

    def _finish(self) -> None:
        """The ends of the chores, as far as they can be done."""
        for chore in self._chores:
            try:
                chore.end(self.ledger.history())
            except (LedgerError, StoreError) as error:
                self._note("failures", f"left undone: {error}", logging.WARNING)

    def _place(self, round_: int) -> int:
        """How many go before this party, who take turns from round to round; those without a vote go last."""
        history = self.ledger.history()
        seats = [member.account for member in history.voters() or history.miners.values()]
        if self.account.address not in seats:
            return len(seats)
        return (seats.index(self.account.address) - round_) % len(seats)

    def _failed(self, error: Exception) -> float:
        """Note what is away; returns the seconds to wait, more each time."""
        self._failures += 1
        pause = min(self._longest, self._poll * 2.0 ** min(self._failures, 10))
        self._note("failures", f"{error}; the next try is in {pause:g} s", logging.WARNING)
        return pause

    def _note(self, name: str, text: str, level: int) -> None:
        self.counters.count(f"{name}_total")
        log.log(level, text, extra={"account": self.account.address, "round": self._round})
