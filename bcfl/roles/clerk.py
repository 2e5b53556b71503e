"""Steps 3 to 7: what a miner has at hand, who brings the others' openings, who does what anybody may do."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bcfl.errors import RelayError
from bcfl.ports import Desk, Ledger, Relay, Step
from bcfl.protocol.accounts import Account
from bcfl.protocol.types import Phase
from bcfl.roles.desk import Inbox
from bcfl.roles.journal import Journal
from bcfl.roles.moment import SHORT, TURN_SECONDS, Moment


@dataclass
class Office:
    """What every part of a miner works with."""

    account: Account
    ledger: Ledger
    relay: Relay
    journal: Journal
    inbox: Inbox
    _handed: tuple[int, Phase, int] | None = field(default=None, init=False)

    @property
    def address(self) -> str:
        """The miner's address."""
        return self.account.address

    def send(self, *steps: Step) -> None:
        """Take steps on chain; raises Reverted if they are not due any more."""
        self.ledger.send(self.account, steps)

    def hand(self, clerk: str, moment: Moment, message: Callable[[Desk], None]) -> bool | None:
        """Give the clerk a message, and again each quarter of the phase in case it has lost it.

        True if it takes it now, None if it had taken it, False if it refuses or does not answer.
        """
        key = moment.round, moment.clock.phase, int(moment.share / SHORT)
        if self._handed == key:
            return None
        try:
            message(self.relay.desk(clerk))
        except RelayError:
            self._handed = None
            return False
        self._handed = key
        return True

    def my_turn(self, moment: Moment) -> bool:
        """Whether this miner's turn has come to do what anybody may do: one after the other."""
        seats = moment.history.voters()
        place = next(i for i, member in enumerate(seats) if member.account == self.address)
        wait = (place - moment.round) % len(seats) * TURN_SECONDS
        return moment.now >= moment.current.latest + wait


def clerk_of(moment: Moment, accounts: Iterable[str]) -> str | None:
    """The miner that brings the openings of `accounts` this round: they take turns."""
    wanted = set(accounts)
    members = [member.account for member in moment.history.voters() if member.account in wanted]
    return members[moment.round % len(members)] if members else None
