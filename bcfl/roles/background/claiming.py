"""Claim what a party that runs for long has earned, many rounds at once."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from itertools import islice

from bcfl.errors import LedgerError, Reverted
from bcfl.ports import ContractCall, Ledger
from bcfl.protocol.accounts import Account
from bcfl.protocol.rounds import History
from bcfl.protocol.types import Phase
from bcfl.roles.background.claims import Claim, amount, claims, forfeit

CLAIM_EVERY = 5  # finished rounds between two claims by default
OVERDUE_INTERVALS = 2  # after which a miner claims for a device that has not
WINDOW_ROUNDS = 64  # finished rounds that are looked at again; all of them once, at the start
MAX_CLAIMS = 32  # at a time
SLOTS = 2**16  # moments among which accounts are spread
PATIENCE = 4  # spreads after which a claim no longer waits for what else is due
DUTIES = frozenset({Phase.COMMIT, Phase.REVEAL, Phase.VOTE, Phase.UNVEIL, Phase.ATTEST})
log = logging.getLogger(__name__)


class Claiming:
    """Claims for `account` every `interval` finished rounds, where they bring more than they cost.

    A claim that pays nothing and gives a part back to the pool costs no transaction of its own.

    With `spread` seconds, parties do not all claim at once when a block has just made claims due: each has
    rounds and a moment of its own, by its account, and a miner does first what is due in the phase.

    With `helps`, as a miner should, also claims for devices that are bound to it now and have left a share
    unclaimed for long: a device needs no ether, so it may be unable to.
    """

    def __init__(
        self,
        account: Account,
        ledger: Ledger,
        interval: int = CLAIM_EVERY,
        *,
        helps: bool = False,
        spread: float = 0.0,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.account, self.ledger, self.interval, self.helps = account, ledger, interval, helps
        self._spread, self._clock = spread, clock or time.monotonic
        self._height: int | None = None  # blocks of the model ledger when it was last looked at
        self._due_since: float | None = None
        number = int(account.address, 16)
        self._offset = number % interval if spread else 0  # rounds by which it claims later than others
        self._delay = spread * (number // interval % SLOTS) / SLOTS

    def act(self, history: History) -> str | None:
        """Claim, if enough rounds have ended since the last time; None if there was nothing to claim."""
        height = len(history.blocks) - 1
        if (self._height is not None and height < self._height + self.interval) or self._waits(history):
            return None
        due = self._due(history)
        self._height = height - (height - self._offset) % self.interval if self._spread else height
        self._due_since = None
        return self._claim(history, *due)

    def _waits(self, history: History) -> bool:
        """Return whether a claim that is due waits for its moment, or for what the miner has to do first."""
        if not self._spread:
            return False
        now = self._clock()
        self._due_since = now if self._due_since is None else self._due_since
        if now < self._due_since + self._delay:
            return True
        return now < self._due_since + PATIENCE * self._spread and self._has_duty(history)

    def _has_duty(self, history: History) -> bool:
        """Return whether the account is a miner that has not done its part in this phase."""
        member, clock = history.miners.get(self.account.address), self.ledger.clock()
        if member is None or not member.weight or member.suspended or clock.phase not in DUTIES:
            return False
        return not clock.acted >> member.index & 1

    def end(self, history: History) -> None:
        """Claim what is there before the party goes."""
        self._claim(history, *self._due(history, helps=False))

    def _due(self, history: History, *, helps: bool = True) -> tuple[list[Claim], list[Claim]]:
        """Return what pays, the party's own first, and what only gives a part back to the pool.

        Together they are as much as is handed in at a time; what gives back takes the room that is left.
        """
        rounds = [block.round for block in history.blocks[1:]]
        if self._height is not None:
            rounds = rounds[-WINDOW_ROUNDS:]
        context = history, self.ledger.terms
        paying: list[Claim] = []
        giving: list[Claim] = []
        for claim in claims(history, self.ledger.domain, self.account.address, rounds or [0]):
            if amount(claim, *context):
                paying.append(claim)
            elif forfeit(claim, *context):
                giving.append(claim)
            if len(paying) == MAX_CLAIMS:
                break
        if self.helps and helps:
            paying += islice(self._device_claims(history, rounds), MAX_CLAIMS - len(paying))
        return paying, giving[: MAX_CLAIMS - len(paying)]

    def _device_claims(self, history: History, rounds: list[int]) -> Iterator[Claim]:
        """Yield what devices that are bound to this miner have left unclaimed for long."""
        overdue = rounds[: -OVERDUE_INTERVALS * self.interval][-WINDOW_ROUNDS:]
        if not overdue:
            return
        address = self.account.address
        for device in history.expected_devices():
            account = history.devices[device]
            if account != address and history.binding(device) == address:
                account_claims = claims(history, self.ledger.domain, account, overdue)
                yield from (claim for claim in account_claims if not claim.as_miner)

    def _claim(self, history: History, paying: list[Claim], giving: list[Claim]) -> str | None:
        """Hand in claims together if they are worth it, and what gives back if they are worth that too."""
        if not paying:
            return None
        calls: list[ContractCall] = [claim.call for claim in paying]
        others: list[ContractCall] = [claim.call for claim in giving]
        worth = sum(amount(claim, history, self.ledger.terms) for claim in paying)
        try:
            if others and self.ledger.price(self.account, calls + others) < worth:
                calls += others
            elif self.ledger.price(self.account, calls) >= worth:
                return None
            self.ledger.send(self.account, calls)
        except Reverted:
            raise
        except LedgerError as error:
            log.info("shares are left for later: %s", error, extra={"account": self.account.address})
            return None
        return f"claimed {worth} wei for {len(paying)} shares"
