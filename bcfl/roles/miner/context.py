"""Hold what a miner works with; tell which miner is the batcher, and whose turn it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bcfl.errors import RelayError
from bcfl.ports import ContractCall, Inbox, Ledger, Relay
from bcfl.protocol.accounts import Account
from bcfl.protocol.types import Phase
from bcfl.roles.common.journal import Journal
from bcfl.roles.common.snapshot import SHORT_SHARE, TURN_SECONDS, RoundSnapshot
from bcfl.roles.miner.inbox import MinerInbox


@dataclass
class MinerContext:
    """What every part of a miner works with."""

    account: Account
    ledger: Ledger
    relay: Relay
    journal: Journal
    inbox: MinerInbox
    _delivery: tuple[int, Phase, int] | None = field(default=None, init=False)  # round, phase and quarter

    @property
    def address(self) -> str:
        """Return the miner's address."""
        return self.account.address

    def send(self, *calls: ContractCall) -> None:
        """Send calls to the contract; raises Reverted if they are not due any more."""
        self.ledger.send(self.account, calls)

    def deliver(self, batcher: str, snapshot: RoundSnapshot, message: Callable[[Inbox], None]) -> bool | None:
        """Give the batcher a message, and again each quarter of the phase in case it has lost it.

        Return True if the batcher takes it now, None if it had taken it, False if it refuses or is silent.
        """
        key = snapshot.round, snapshot.clock.phase, int(snapshot.share / SHORT_SHARE)
        if self._delivery == key:
            return None
        try:
            message(self.relay.inbox(batcher))
        except RelayError:
            self._delivery = None
            return False
        self._delivery = key
        return True

    def my_turn(self, snapshot: RoundSnapshot) -> bool:
        """Return whether it is this miner's turn to do what anybody may do: one miner after the other."""
        seats = snapshot.history.voters()
        place = next(i for i, member in enumerate(seats) if member.account == self.address)
        wait = (place - snapshot.round) % len(seats) * TURN_SECONDS
        return snapshot.now >= snapshot.current.latest_time + wait


def batcher_of(snapshot: RoundSnapshot, accounts: Iterable[str]) -> str | None:
    """Return the miner that brings the openings of `accounts` in this round; miners take turns."""
    candidates = set(accounts)
    members = [member.account for member in snapshot.history.voters() if member.account in candidates]
    return members[snapshot.round % len(members)] if members else None
