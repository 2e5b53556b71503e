"""Notice another process that uses a party's key: by what the chain shows of the account.

The journal keeps two processes apart only where they share it. On another machine, or with another
`--journal`, each finds commitments and votes made that are the other's, and devices the other's endpoint.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from bcfl.ports import ContractCall, Ledger
from bcfl.protocol.accounts import Account
from bcfl.protocol.readers import without_key
from bcfl.protocol.rounds import History, Round
from bcfl.roles.common.snapshot import RoundSnapshot, take_snapshot

MAX_REST_ROUNDS: Final = 16  # between two announcements against another process
log = logging.getLogger(__name__)


class Role(Protocol):
    """A device, a miner, or both in one."""

    def unknown_acts(self, snapshot: RoundSnapshot) -> list[str]:
        """Return what the chain shows of the account in this round, and its journal does not know."""
        ...


class Twins:
    """Warns of acts of `account` that are not of this process, and announces a miner's endpoint again.

    Of two processes each announces its own at once when it sees the other's, then after one round, two, four,
    and so on: a fight costs few transactions, and a miner whose rival has ended is found again.
    """

    def __init__(self, account: Account, ledger: Ledger, role: Role) -> None:
        self._account, self._ledger, self._role = account, ledger, role
        self.endpoint: Callable[[History], str] | None = None  # what a miner has announced
        self._has_announced = False  # whether the chain, as this node has it, knows the own endpoint
        self._first_round: int | None = None
        self._next_round, self._rest_rounds = 0, 1
        self._warned_of: str | None = None  # the endpoint
        self._place: tuple[Any, ...] | None = None  # of what the chain showed last
        self._sign: tuple[int, str] | None = None  # the round, and what it shows of another process

    def act(self, history: History) -> str | None:
        """Look for another process; announce the own endpoint in place of its, where it is time to."""
        if self._sign is not None and history.number > self._sign[0] + 1:
            self._sign = None
        self._look_at_acts(history)
        return None if self.endpoint is None else self._look_at_endpoint(history, self.endpoint(history))

    def end(self, history: History) -> None:
        """Do nothing: whoever ends leaves the account to the other process."""

    def notices(self) -> Mapping[str, Any]:
        """Return what this round, or the one before, shows of another process; from any thread."""
        sign = self._sign
        return {"other_process": None if sign is None else sign[1]}

    def _look_at_acts(self, history: History) -> None:
        """Warn once of each act that the journal does not know."""
        current, address = history.current, self._account.address
        if current is None or self._place == (place := _place(current, address)):
            return
        snapshot = take_snapshot(self._ledger)
        if snapshot is None or _place(snapshot.current, address) != place:
            return
        self._place = place
        for act in self._role.unknown_acts(snapshot):
            text = f"the chain shows {act} of {address} in round {snapshot.round}, and its journal does not"
            self._warn(snapshot.round, text, ", or the journal is not the one it had")

    def _look_at_endpoint(self, history: History, own: str) -> str | None:
        address, number = self._account.address, history.number
        if self._first_round is None:
            self._first_round = number
        member, announced = history.miners.get(address), history.endpoints.get(address)
        if announced is not None and without_key(announced) == without_key(own):
            self._has_announced, self._warned_of = True, None
            if number >= self._next_round + MAX_REST_ROUNDS:
                self._rest_rounds = 1  # nobody else announces any more
            return None
        if member is None or member.exit_round or (not self._has_announced and number == self._first_round):
            return None  # it has left, or the node has not caught up yet
        if announced is not None:
            self._note(history, announced, own)
        if number < self._next_round:
            return None
        self._ledger.send(self._account, [ContractCall("announce", (own,))])
        self._next_round = number + self._rest_rounds
        self._rest_rounds = min(2 * self._rest_rounds, MAX_REST_ROUNDS)
        return "announced its endpoint again"

    def _note(self, history: History, announced: str, own: str) -> None:
        """Warn of an endpoint that is not the own one, once as long as it stands."""
        other, address = without_key(announced), self._account.address
        text = f"the chain names {other!r} as the endpoint of {address}, and not {without_key(own)!r}"
        if self._warned_of == other:
            self._sign = history.number, text
        else:
            self._warned_of = other
            self._warn(history.number, text)

    def _warn(self, number: int, text: str, otherwise: str = "") -> None:
        self._sign = number, text
        extra = {"account": self._account.address, "round": number}
        words = "%s: another process seems to use this key, and one of the two has to end%s"
        log.warning(words, text, otherwise, extra=extra)


def _place(current: Round, address: str) -> tuple[Any, ...]:
    """Return what changes when a round shows an act of an account more than before."""
    commits = current.commits.get(address), current.device_commits.get(address)
    return current.number, commits, len(current.submissions), current.vote_commits.get(address)
