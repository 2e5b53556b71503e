"""Step 7 for a party that runs for long: what it has earned is claimed by itself, many rounds at once."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import islice

from bcfl.errors import LedgerError, Reverted
from bcfl.ports import ContractCall, Ledger
from bcfl.protocol.accounts import Account
from bcfl.protocol.rounds import History
from bcfl.roles.background.claims import Claim, amount, claims

EVERY = 5  # finished rounds between two claims, unless told otherwise
PATIENCE = 2  # times as many: after that, a miner claims for a device that has not
WINDOW = 64  # finished rounds that are looked at again; all of them once, at the start
MOST = 32  # claims at a time
log = logging.getLogger(__name__)


class Claiming:
    """Claims for `account` every `every` finished rounds, where that brings more than it costs.

    With `helps`, as a miner should, also for devices that are bound to it now and have left a share unclaimed
    for long: a device needs no ether, so it may be unable to.
    """

    def __init__(self, account: Account, ledger: Ledger, every: int = EVERY, *, helps: bool = False) -> None:
        self.account, self.ledger, self.every, self.helps = account, ledger, every, helps
        self._looked: int | None = None  # blocks of the model ledger at the last look

    def act(self, history: History) -> str | None:
        """Claim, if enough rounds have ended since the last time; None if there was nothing to claim."""
        height = len(history.blocks) - 1
        if self._looked is not None and height < self._looked + self.every:
            return None
        found = self._found(history)
        self._looked = height
        return self._claim(history, found)

    def end(self, history: History) -> None:
        """Claim what is there before the party goes."""
        self._claim(history, self._found(history, helps=False))

    def _found(self, history: History, *, helps: bool = True) -> list[Claim]:
        """What can be claimed, one's own first, as much as is handed in at a time."""
        rounds = [block.round for block in history.blocks[1:]]
        if self._looked is not None:
            rounds = rounds[-WINDOW:]
        own = claims(history, self.ledger.domain, self.account.address, rounds or [0])
        others = self._others(history, rounds) if self.helps and helps else iter(())
        return list(islice((claim for part in (own, others) for claim in part), MOST))

    def _others(self, history: History, rounds: list[int]) -> Iterator[Claim]:
        """What devices that are bound to this miner have left unclaimed for long."""
        old = rounds[: -PATIENCE * self.every][-WINDOW:]
        if not old:
            return
        me = self.account.address
        for device in history.expected_devices():
            account = history.devices[device]
            if account != me and history.bound(device) == me:
                mine = claims(history, self.ledger.domain, account, old)
                yield from (claim for claim in mine if not claim.as_miner)

    def _claim(self, history: History, found: list[Claim]) -> str | None:
        """Hand in claims together if they are worth it."""
        steps: list[ContractCall] = [claim.step for claim in found]
        if not steps:
            return None
        worth = sum(amount(claim, history, self.ledger.domain, self.ledger.terms) for claim in found)
        try:
            if self.ledger.price(self.account, steps) >= worth:
                return None
            self.ledger.send(self.account, steps)
        except Reverted:
            raise
        except LedgerError as error:
            log.info("shares are left for later: %s", error, extra={"account": self.account.address})
            return None
        return f"claimed {worth} wei for {len(steps)} shares"
