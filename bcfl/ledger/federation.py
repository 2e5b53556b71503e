"""A deployed federation as the roles and the queries see it: terms, clock, history, steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from typing import Any

from bcfl.errors import Reverted
from bcfl.ledger.contract import Contract
from bcfl.ports import ContractCall
from bcfl.protocol.accounts import Account
from bcfl.protocol.events import take_in
from bcfl.protocol.rounds import History
from bcfl.protocol.submissions import Domain
from bcfl.protocol.types import Clock, Phase, Terms

MAX_CALLDATA = 16_384  # of one multicall
MAX_STEPS = 32


class FederationLedger:
    """The ledger port on a contract; what it has read of the chain it does not read again."""

    def __init__(self, contract: Contract, from_block: int = 0) -> None:
        self.contract = contract
        self._next_block = from_block
        self._history: History | None = None
        self._clock: tuple[tuple[int, int], Clock] | None = None

    @cached_property
    def terms(self) -> Terms:
        """What the parties agreed on."""
        return Terms(*self.contract.call("agreed"))

    @cached_property
    def domain(self) -> Domain:
        """What signatures are bound to."""
        return Domain(self.contract.chain.chain_id, self.contract.address)

    def now(self) -> int:
        """The time of the chain, in seconds."""
        return self.contract.chain.now()

    def clock(self) -> Clock:
        """Where the round stands, with everything that is due counted in."""
        key = (self._head(), self.now())
        if self._clock is None or self._clock[0] != key:
            phase, *rest = self.contract.call("round_clock")
            self._clock = (key, Clock(Phase(phase), *rest))
        return self._clock[1]

    def overdue(self) -> bool:
        """Whether time has brought about something that nobody has written down yet."""
        with suppress(Reverted):
            self.contract.call("advance")
            return True
        return False

    def target(self) -> int:
        """What a proof of work has to stay under."""
        return int(self.contract.call("target"))

    def history(self) -> History:
        """All that has happened, up to the last block."""
        if self._history is None:
            self._history = History(self.terms.min_stake)
        head = self._head()
        if head >= self._next_block:
            events = list(self.contract.events(self._next_block, head))  # all, or none if the node fails
            take_in(self._history, events)
            self._next_block = head + 1
        return self._history

    def send(self, account: Account, steps: Sequence[ContractCall]) -> int:
        """Take steps in as few transactions as their size allows; returns the gas."""
        return sum(self._send(account, part) for part in self._parts(steps))

    def price(self, account: Account, steps: Sequence[ContractCall]) -> int:
        """The most that steps would cost now, in wei; raises Reverted where one would fail."""
        return sum(self.contract.price(account, *_call(part)) for part in self._parts(steps))

    def _send(self, account: Account, part: Sequence[tuple[ContractCall, bytes]]) -> int:
        """One transaction; ether goes along with a step on its own."""
        value = part[0][0].value if len(part) == 1 else 0
        return self.contract.send(account, *_call(part), value=value).gas_used

    def _parts(self, steps: Sequence[ContractCall]) -> Iterator[list[tuple[ContractCall, bytes]]]:
        """The steps with their calldata, cut where one transaction is full."""
        part: list[tuple[ContractCall, bytes]] = []
        for step in steps:
            data = self.contract.encode(step.function, *step.args)
            size = sum(len(known) for _, known in part) + len(data)
            alone = step.value or (part and part[-1][0].value)
            if part and (alone or size > MAX_CALLDATA or len(part) == MAX_STEPS):
                yield part
                part = []
            part.append((step, data))
        if part:
            yield part

    def _head(self) -> int:
        return int(self.contract.chain.request("eth_blockNumber"), 16)


def _call(part: Sequence[tuple[ContractCall, bytes]]) -> tuple[Any, ...]:
    """Function and arguments of one transaction; a lone step may be larger than what a multicall takes."""
    if len(part) == 1:
        return part[0][0].function, *part[0][0].args
    calls = [data for _, data in part]
    return "multicall", b"".join(calls), [len(data) for data in calls]
