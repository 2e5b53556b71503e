"""Use a deployed federation as the roles and the queries see it: terms, clock, history, calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from bcfl.errors import LedgerError, Reverted, Unreachable
from bcfl.ledger.contract import Contract, Event
from bcfl.protocol.accounts import Account
from bcfl.protocol.events import take_in
from bcfl.protocol.limits import MAX_CALLS, MULTICALL_BYTES
from bcfl.protocol.rounds import History
from bcfl.protocol.submissions import Domain
from bcfl.protocol.types import Clock, Phase, Terms

if TYPE_CHECKING:
    from bcfl.ports import ContractCall

    Batch = Sequence[tuple[ContractCall, bytes]]  # calls of one transaction, with their calldata

# What events of two chains, or of a hostile node, can raise where they are taken in.
SENSELESS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    StopIteration,
    TypeError,
    ValueError,
)
PHASES = {int(phase): phase for phase in Phase}
View = tuple[str, int]  # a block, and the time in seconds


class FederationLedger:
    """The ledger port on a contract; what it has read of the chain it does not read again."""

    def __init__(self, contract: Contract, from_block: int = 0) -> None:
        self.contract = contract
        self._first = self._next_block = from_block
        self._history: History | None = None
        self._views: tuple[View, dict[str, Any]] | None = None  # what calls gave at the last view

    @cached_property
    def terms(self) -> Terms:
        """What the parties agreed on."""
        return Terms(*self.contract.call("agreed"))

    @cached_property
    def domain(self) -> Domain:
        """What signatures are bound to."""
        return Domain(self.contract.chain.chain_id, self.contract.address)

    def now(self) -> int:
        """Return the time of the chain, in seconds since 1970."""
        return self.contract.chain.now()

    def clock(self) -> Clock:
        """Return where the round stands, with everything that is due counted in."""
        return cast(Clock, self._seen("clock", self._read_clock))

    def overdue(self) -> bool:
        """Return whether time has brought about something that is not on chain yet."""
        return bool(self._seen("overdue", self._can_advance))

    def target(self) -> int:
        """Return what a proof of work has to stay under."""
        return int(self._seen("target", lambda: self.contract.call("target")))

    def dispute_price(self) -> int:
        """Return what the next dispute of the proposal that stands costs, in wei, in the next block."""
        return int(self._seen("dispute_price", lambda: self.contract.call("dispute_price")))

    def history(self) -> History:
        """Return the history up to the last block."""
        return self._read(self._head())

    def _seen(self, name: str, read: Callable[[], Any]) -> Any:
        """Return what a call gives, read once for each block and time that calls are made at."""
        view = self._view()
        if self._views is None or self._views[0] != view:
            self._views = view, {}
        results = self._views[1]
        if name not in results:
            results[name] = read()
        return results[name]

    def _view(self) -> View:
        """Return what decides what calls give: the last block, and the time."""
        return str(self._head()), self.now()

    def _read_clock(self) -> Clock:
        phase, *values = self.contract.call("round_clock")
        if phase not in PHASES:
            raise LedgerError(f"the contract is in phase {phase}, which there is not: is it this contract?")
        return Clock(PHASES[phase], *values)

    def _can_advance(self) -> bool:
        with suppress(Reverted):
            self.contract.call("advance")
            return True
        return False

    def _read(self, head: int) -> History:
        """Take in the events up to the block `head`; what is read stays read where the node fails.

        Raises Unreachable for events that are no history, and forgets all.
        """
        if self._history is not None and head < self._next_block:
            return self._history
        history = self._history = self._history or self._begin()
        for end, events in self.contract.pieces(self._next_block, head):
            try:
                take_in(history, events)
            except SENSELESS:
                self._reject()
                raise Unreachable("the node's events are those of no chain: they are read again") from None
            self._next_block = end + 1
            self._took(end, events)
        return history

    def _begin(self) -> History:
        """Return the history before the block that is read next."""
        return History.under(self.terms)

    def _took(self, end: int, events: Sequence[Event]) -> None:
        """Do nothing with events that were taken in, up to the block `end`; for subclasses that keep them."""

    def _reject(self) -> None:
        """Forget events that are no history."""
        self._forget()

    def _forget(self) -> None:
        """Let everything be read again."""
        self._history, self._views, self._next_block = None, None, self._first

    def send(self, account: Account, calls: Sequence[ContractCall]) -> int:
        """Make calls in as few transactions as their size allows; returns the gas."""
        return sum(self._send(account, batch) for batch in self._batches(calls))

    def price(self, account: Account, calls: Sequence[ContractCall]) -> int:
        """Return the most that calls would cost now, in wei; raises Reverted where one would fail."""
        return sum(self.contract.price(account, *_merge(batch)) for batch in self._batches(calls))

    def _send(self, account: Account, batch: Batch) -> int:
        """Send one transaction; a call with ether is alone in its batch."""
        value = batch[0][0].value if len(batch) == 1 else 0
        gas = self._gas(account, batch)
        return self.contract.send(account, *_merge(batch), value=value, gas=gas).gas_used

    def _gas(self, account: Account, batch: Batch) -> int | None:
        """Return the gas for calls of which some may fail as if none might; None where that is not needed.

        A node may estimate what suffices for the transaction although calls in it run short: anvil does.
        """
        if len(batch) == 1 or not any(call.optional for call, _ in batch):
            return None
        with suppress(Reverted):  # somebody else was quicker
            required = [(replace(call, optional=False), data) for call, data in batch]
            return self.contract.gas(account, *_merge(required))
        return None

    def _batches(self, calls: Sequence[ContractCall]) -> Iterator[list[tuple[ContractCall, bytes]]]:
        """Yield the calls with their calldata, cut where one transaction is full; a lone one needs none."""
        if len(calls) == 1:
            yield [(calls[0], b"")]
            return
        batch: list[tuple[ContractCall, bytes]] = []
        for call in calls:
            data = self.contract.encode(call.function, *call.args)
            size = sum(len(calldata) for _, calldata in batch) + len(data)
            has_ether = call.value or (batch and batch[-1][0].value)
            if batch and (has_ether or size > MULTICALL_BYTES or len(batch) == MAX_CALLS):
                yield batch
                batch = []
            batch.append((call, data))
        if batch:
            yield batch

    def _head(self) -> int:
        return int(self.contract.chain.request("eth_blockNumber"), 16)


def _merge(batch: Batch) -> tuple[Any, ...]:
    """Return function and arguments of one transaction; a lone call may be larger than a multicall takes."""
    if len(batch) == 1:
        return batch[0][0].function, *batch[0][0].args
    calldata = [data for _, data in batch]
    optional = sum(1 << place for place, (call, _) in enumerate(batch) if call.optional)
    return "multicall", b"".join(calldata), [len(data) for data in calldata], optional
