"""Steps 3 to 7: what a miner has at hand, who brings the others' openings, who does what anybody may do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bcfl.errors import RelayError
from bcfl.ports import ContractCall, Inbox, Ledger, Relay
from bcfl.protocol.accounts import Account
from bcfl.protocol.types import Phase
from bcfl.roles.common.journal import Journal
from bcfl.roles.common.snapshot import SHORT, TURN_SECONDS, RoundSnapshot
from bcfl.roles.miner.inbox import MinerInbox


@dataclass
class MinerContext:
    """What every part of a miner works with."""

    account: Account
    ledger: Ledger
    relay: Relay
    journal: Journal
    inbox: MinerInbox
    _handed: tuple[int, Phase, int] | None = field(default=None, init=False)

    @property
    def address(self) -> str:
        """The miner's address."""
        return self.account.address

    def send(self, *steps: ContractCall) -> None:
        """Take steps on chain; raises Reverted if they are not due any more."""
        self.ledger.send(self.account, steps)

    def hand(self, batcher: str, snapshot: RoundSnapshot, message: Callable[[Inbox], None]) -> bool | None:
        """Give the clerk a message, and again each quarter of the phase in case it has lost it.

        True if it takes it now, None if it had taken it, False if it refuses or does not answer.
        """
        key = snapshot.round, snapshot.clock.phase, int(snapshot.share / SHORT)
        if self._handed == key:
            return None
        try:
            message(self.relay.inbox(batcher))
        except RelayError:
            self._handed = None
            return False
        self._handed = key
        return True

    def my_turn(self, snapshot: RoundSnapshot) -> bool:
        """Whether this miner's turn has come to do what anybody may do: one after the other."""
        seats = snapshot.history.voters()
        place = next(i for i, member in enumerate(seats) if member.account == self.address)
        wait = (place - snapshot.round) % len(seats) * TURN_SECONDS
        return snapshot.now >= snapshot.current.latest + wait


def batcher_of(snapshot: RoundSnapshot, accounts: Iterable[str]) -> str | None:
    """The miner that brings the openings of `accounts` this round: they take turns."""
    wanted = set(accounts)
    members = [member.account for member in snapshot.history.voters() if member.account in wanted]
    return members[snapshot.round % len(members)] if members else None
